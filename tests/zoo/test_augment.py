import pytest
import torch
from torch import nn

from zoo.adversarial import TransformName
from zoo.augment import (
    DEFAULTS,
    INTERVAL,
    MOST,
    TRANSFORMS,
    Adaptive,
    Augmented,
    Fixed,
    colour,
    cutout,
    flip,
    open_augment,
    rotation,
    scale,
    translation,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(size: int = 256) -> torch.Tensor:
    return torch.rand(size, 3, 16, 24) + 0.5


def test_every_transform_has_a_flag():
    assert set(TRANSFORMS) == set(TransformName.__args__)


@pytest.mark.parametrize("transform", TRANSFORMS.values())
def test_shapes_stay_gradients_flow_and_every_image_has_its_own_draw(transform):
    one = images(1)[..., :16].expand(64, -1, -1, -1).clone().requires_grad_(True)
    out = transform(one)
    assert out.shape == one.shape
    assert len(out.detach().flatten(1).unique(dim=0)) > 1
    out.sum().backward()
    assert torch.isfinite(one.grad).all()
    assert one.grad.abs().sum() > 0


def test_flip_mirrors_about_half():
    original = images()
    out = flip(original)
    mirrored = (out == original.flip(3)).flatten(1).all(1)
    assert ((out == original).flatten(1).all(1) ^ mirrored).all()
    assert 0.35 < mirrored.float().mean() < 0.65


def test_rotation_takes_every_quarter_turn_about_equally_often():
    original = images(400)[..., :16]
    out = rotation(original)
    turned = [(out == original.rot90(number, (2, 3))).flatten(1).all(1) for number in range(4)]
    assert torch.stack(turned).sum(0).tolist() == [1] * 400
    assert all(0.15 < each.float().mean() < 0.35 for each in turned)


def test_scale_keeps_the_centre_and_the_ratio_of_the_sides(monkeypatch):
    """A white rectangle in the middle, at double and at half its size, with grey around it."""
    original = torch.zeros(2, 1, 16, 24)
    original[:, :, 6:10, 8:16] = 1
    monkeypatch.setattr(torch, "randn", lambda *size, device: torch.tensor([5.0, -5.0]).reshape(size))
    double, half = (each.squeeze(0) > 0.5 for each in scale(original))
    for scaled, (rows, columns) in ((double, (8, 16)), (half, (2, 4))):
        assert (scaled.any(1).sum(), scaled.any(0).sum()) == (rows, columns)
        assert torch.equal(scaled, scaled.flip(0, 1)), "about the centre"


def test_scale_by_one_is_nothing(monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda *size, device: torch.zeros(size))
    original = images(4)
    assert torch.allclose(scale(original), original)


def test_translation_moves_what_is_there():
    dot = torch.zeros(400, 1, 16, 24)
    dot[:, :, 8, 12] = 1
    rows, columns = translation(dot).nonzero()[:, 2:].unbind(1)
    assert len(rows) == 400, "nothing is lost or doubled away from the edge"
    assert set((rows - 8).tolist()) == set(range(-2, 3))
    assert set((columns - 12).tolist()) == set(range(-3, 4))


def test_translation_brings_in_mid_grey():
    out = translation(images())
    assert (out == 0).any()
    assert ((out == 0) | (out >= 0.5)).all()


def test_cutout_hides_up_to_a_quarter():
    out = cutout(images())
    hidden = (out == 0).float().mean((1, 2, 3))
    assert hidden.min() > 0
    assert hidden.max() == pytest.approx(0.25)
    assert ((out == 0) == (out[:, :1] == 0)).all(), "in every channel alike"


def test_colour_changes_brightness_saturation_and_contrast_and_no_place():
    flat = torch.full((256, 3, 4, 4), 0.2)
    out = colour(flat)
    assert (out.flatten(1).std(1) < 1e-6).all()
    assert out.std() > 0.2
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    coloured = colour(grey)
    assert torch.allclose(coloured[:, 0], coloured[:, 2], atol=1e-5), "grey stays grey"


def test_no_transform_is_the_discriminator_itself():
    discriminator, batch = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 24, 1)), images(4)
    assert torch.equal(Augmented(discriminator, Fixed(()))(batch), discriminator(batch))


def test_transforms_follow_each_other():
    seen = []

    class Spy(nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return batch.flatten(1)[:, :1]

    Augmented(Spy(), Fixed(("colour", "cutout")))(images(4))
    (batch,) = seen
    assert (batch == 0).any()


def test_fixed_transforms_have_no_state_and_log_nothing():
    """Checkpoints and metrics of runs without a target are as they were before there were targets."""
    augment = open_augment(("flip",), 0.0, 1000.0)
    augment.observe(torch.ones(4))
    assert augment.adapt() == {}
    assert isinstance(augment, Fixed)
    assert augment.state_dict() == {}
    assert [*Augmented(nn.Linear(1, 1), augment).state_dict()] == [
        "discriminator.weight",
        "discriminator.bias",
    ]


def test_adaptive_transforms_are_the_policies_of_zhao_unless_named():
    assert open_augment((), 0.6, 1.0).transforms == [TRANSFORMS[name] for name in DEFAULTS]
    assert open_augment(("flip",), 0.6, 1.0).transforms == [flip]


def after(augment: Adaptive, margins: torch.Tensor, steps: int) -> dict[str, float]:
    """The scalars after so many steps with these margins."""
    for _ in range(steps):
        augment.observe(margins)
        scalars = augment.adapt()
    return {name: value.item() for name, value in scalars.items()}


def test_the_probability_rises_while_the_discriminator_is_sure_and_falls_while_it_is_not():
    """By a fixed amount, every four steps: the ramp is the number of examples from 0 to 1."""
    augment = Adaptive(DEFAULTS, target=0.6, ramp=1000)
    sure, unsure = torch.tensor([0.1, 3.0, 2.0, 9.0]), torch.tensor([0.1, 3.0, 2.0, -9.0])
    assert after(augment, sure, INTERVAL - 1) == {"augment_probability": 0.0, "real_sign": 1.0}
    risen = INTERVAL * len(sure) / 1000
    assert after(augment, sure, 1)["augment_probability"] == pytest.approx(risen)
    assert after(augment, sure, 2 * INTERVAL)["augment_probability"] == pytest.approx(3 * risen)
    assert after(augment, unsure, INTERVAL) == pytest.approx(
        {"augment_probability": 2 * risen, "real_sign": 0.5}
    ), "three of four are above 0: a mean sign of 0.5, below the target"


def test_the_probability_ends_where_transforms_would_leak_and_at_zero():
    augment = Adaptive(DEFAULTS, target=0.6, ramp=20)
    assert after(augment, torch.ones(4), 40)["augment_probability"] == pytest.approx(MOST)
    assert after(augment, -torch.ones(4), 40)["augment_probability"] == 0


def test_the_mean_sign_is_of_all_updates_since_the_last_change():
    """Several updates of the discriminator in a step count each, and older steps no longer."""
    augment = Adaptive(DEFAULTS, target=0.6, ramp=1000)
    after(augment, torch.ones(4), INTERVAL)
    augment.observe(torch.ones(4))
    augment.observe(-torch.ones(4))
    augment.observe(torch.ones(8))
    assert augment.adapt()["real_sign"] == pytest.approx(0.5)


def test_scalars_are_those_of_their_step():
    augment = Adaptive(DEFAULTS, target=0.6, ramp=100)
    augment.observe(torch.ones(4))
    scalars = augment.adapt()
    after(augment, torch.ones(4), 2 * INTERVAL)
    assert scalars["augment_probability"] == 0


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_transform_is_applied_to_each_example_with_the_probability(probability):
    """Alone, and each of two by itself; 1 is what fixed transforms do."""
    augment = Adaptive(("colour", "cutout"), target=0.6, ramp=1)
    augment.probability.fill_(probability)
    original = images(2000)
    out = augment(original)
    hidden = (out == 0).flatten(1).any(1)
    coloured = ((out != original) & (out != 0)).flatten(1).any(1)
    for applied in (hidden, coloured):
        assert applied.float().mean().item() == pytest.approx(probability, abs=0.04)
    both = (hidden & coloured).float().mean().item()
    assert both == pytest.approx(probability**2, abs=0.04), "drawn apart"
    if probability == 0:
        assert torch.equal(out, original)


def test_gradients_reach_examples_with_and_without_their_transforms_twice():
    """R1 and R2 take the gradient at the examples before the transforms, and differentiate it again."""
    augment, batch = (
        Adaptive(tuple(TRANSFORMS), target=0.6, ramp=1),
        images(32)[..., :16].requires_grad_(True),
    )
    augment.probability.fill_(0.5)
    (gradient,) = torch.autograd.grad(augment(batch).square().sum(), batch, create_graph=True)
    (again,) = torch.autograd.grad(gradient.square().sum(), batch)
    for each in (gradient, again):
        assert torch.isfinite(each).all()
        assert (each.flatten(1).abs().sum(1) > 0).all()


def test_compiled_transforms_follow_the_probability_without_compiling_again():
    augment, batch = Adaptive(("colour", "translation"), target=0.6, ramp=16), images(64)
    compilations = []

    def backend(graph, inputs):
        compilations.append(graph)
        return graph.forward

    compiled = torch.compile(augment.forward, backend=backend, dynamic=False)
    assert torch.equal(compiled(batch), batch)
    after(augment, torch.ones(4), INTERVAL)
    changed = (compiled(batch) != batch).flatten(1).any(1).float().mean().item()
    assert augment.probability == pytest.approx(MOST)
    assert changed > 0.8
    assert len(compilations) == 1
