import torch

from zoo.crops import random_crop


def test_crops_are_parts_of_the_image_and_reach_every_place():
    image, seen = torch.arange(30).reshape(1, 5, 6), set()
    torch.manual_seed(0)
    for _ in range(200):
        crop = random_crop(image, 3, 4)
        top, left = divmod(int(crop[0, 0, 0]), 6)
        assert torch.equal(crop, image[:, top : top + 3, left : left + 4])
        seen.add((top, left))
    assert seen == {(top, left) for top in range(3) for left in range(3)}


def test_a_crop_of_the_whole_is_the_image():
    image = torch.rand(3, 8, 8)
    assert torch.equal(random_crop(image, 8, 8), image)
