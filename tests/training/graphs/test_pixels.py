import torch

from training.data.transforms import normalise
from training.graphs.pixels import as_fed, as_served, from_pixels, to_pixels


def test_pixels_round_half_to_even_and_are_clipped():
    levels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 0.5 / 127.5 - 1, 1.5 / 127.5 - 1]).double()
    pixels = to_pixels(levels.reshape(1, 1, 1, -1).float())
    assert pixels.shape == (1, 1, 7, 1)
    assert pixels.flatten().tolist()[:5] == [0, 0, 128, 255, 255]
    assert pixels.flatten().tolist()[5] in (0, 1)
    assert pixels.flatten().tolist()[6] in (1, 2)


def test_pixels_go_back_and_forth_unchanged():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_pixels(normalise(levels)).permute(0, 3, 1, 2), levels)


def test_what_a_graph_is_fed_is_what_its_generator_is_fed():
    """Both ways into [-1, 1] agree to the bit, so that a run and its artifact see the same."""
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(from_pixels(levels), normalise(levels.permute(0, 3, 1, 2)))
    assert torch.equal(torch.from_numpy(as_served(as_fed(levels))), levels)
    latents = torch.randn(3, 5)
    assert as_fed(latents) is latents
    assert torch.equal(torch.from_numpy(as_served(latents)), latents)
