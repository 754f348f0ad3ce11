import copy
import dataclasses

import pytest
import torch
from torch import nn

from zoo.adversarial import DISTRIBUTIONS, SCHEDULES, ScheduleName, TwoPlayer, descend, frozen
from zoo.augment import TRANSFORMS
from zoo.entry import split
from zoo.models.dcgan import DCGAN
from zoo.models.mlp_gan import MLPGAN
from zoo.objectives import OBJECTIVES
from zoo.regularizers import REGULARIZERS


def small(**fields: object) -> TwoPlayer:
    torch.manual_seed(0)
    sizes = {"shape": (2,), "latent_size": 3, "generator_widths": (8,), "discriminator_widths": (8,)}
    return MLPGAN(**sizes | fields).build()


def test_the_discriminator_moves_by_its_own_gradient_alone():
    """The generator's backward pass leaves nothing behind that leaks into the discriminator's next update."""
    trainer, batch = small(), {"real": torch.randn(16, 2)}
    trainer.step(batch)
    twin = copy.deepcopy(trainer)

    torch.manual_seed(1)
    trainer.step(batch)

    torch.manual_seed(1)
    fake = twin.generator(**twin.inputs(batch)["generator"]).detach()
    fresh = [torch.zeros_like(parameter) for parameter in twin.discriminator.parameters()]
    loss = twin.objective.discriminator(twin.discriminator(batch["real"]), twin.discriminator(fake))
    fresh = torch.autograd.grad(loss, list(twin.discriminator.parameters()))
    for parameter, gradient in zip(twin.discriminator.parameters(), fresh, strict=True):
        parameter.grad = gradient
    twin.optimizers["discriminator"].step()
    for mine, theirs in zip(trainer.discriminator.parameters(), twin.discriminator.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_leak_would_be_seen():
    """The control: the same update with the generator's leftovers in it differs."""
    trainer, batch = small(), {"real": torch.randn(16, 2)}
    trainer.step(batch)
    twin = copy.deepcopy(trainer)
    for player in (trainer, twin):
        torch.manual_seed(1)
        fake = player.generator(**player.inputs(batch)["generator"])
        player.optimizers["discriminator"].zero_grad()
        if player is twin:
            player.objective.generator(player.discriminator(fake), lambda: None).backward(retain_graph=True)
        scores = player.discriminator(batch["real"]), player.discriminator(fake.detach())
        player.objective.discriminator(*scores).backward()
        player.optimizers["discriminator"].step()
    pairs = zip(trainer.discriminator.parameters(), twin.discriminator.parameters(), strict=True)
    assert not all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_generators_step_leaves_the_discriminator_without_gradients():
    trainer = small()
    trainer.optimizers["discriminator"].zero_grad()
    with frozen(trainer.discriminator):
        latent = trainer.inputs({"real": torch.zeros(4, 2)})["generator"]
        score = trainer.discriminator(trainer.generator(**latent)).mean()
        descend(score, trainer.optimizers["generator"])
    assert all(parameter.grad is None for parameter in trainer.discriminator.parameters())
    assert all(parameter.grad is not None for parameter in trainer.generator.parameters())
    assert all(parameter.requires_grad for parameter in trainer.discriminator.parameters())


def test_frozen_thaws_after_an_error():
    player = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), frozen(player):
        raise RuntimeError
    assert player.weight.requires_grad


def test_both_players_move_and_scalars_are_detached():
    trainer = small()
    before = copy.deepcopy(trainer.generators), copy.deepcopy(trainer.discriminators)
    scalars = trainer.step({"real": torch.randn(16, 2)})
    for old, new in zip(before, (trainer.generators, trainer.discriminators), strict=True):
        assert all(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert set(scalars) == {
        "generator_loss",
        "discriminator_loss",
        "penalty",
        "saturation",
        "real_score",
        "fake_score",
    }
    assert not any(scalar.requires_grad for scalar in scalars.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("latent_size", -1),
        ("learning_rate", 0.0),
        ("discriminator_steps", 0),
        ("objective", "spite"),
        ("regularizer", "r3"),
        ("schedule", "steep"),
        ("optimizer", "newton"),
        ("latent_distribution", "cauchy"),
        ("augment", ("blur",)),
        ("label_smoothing", 0.5),
        ("augment_target", 1.0),
        ("augment_target", -0.1),
        ("augment_ramp", 0.0),
    ],
)
def test_impossible_hyperparameters_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        MLPGAN(**{field: value})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"objective": "hinge", "label_smoothing": 0.1}, "label_smoothing needs .* got hinge"),
        ({"objective": "softmax", "regularizer": "r1"}, "softmax, which has 2 scores .* got r1"),
        ({"objective": "wasserstein"}, "bounded gradients"),
        ({"shape": (2,), "augment": ("flip",)}, "vectors"),
        ({"shape": (2,), "augment_target": 0.6}, "vectors"),
        ({"shape": (1, 4, 6), "augment": ("rotation",)}, r"square images; got the shape \(1, 4, 6\)"),
    ],
)
def test_combinations_that_mean_nothing_are_refused_with_the_reason(fields, reason):
    with pytest.raises(ValueError, match=reason):
        MLPGAN(**fields)


def test_gradient_penalty_and_batch_normalisation_do_not_go_together():
    entry = DCGAN(image_size=16, channels=3, width=2, regularizer="gradient_penalty")
    with pytest.raises(ValueError, match="batch normalisation"):
        entry.build()
    dataclasses.replace(entry, discriminator_norm="none").build()


OBJECTIVE_GRID = [name for name in OBJECTIVES if name not in ("softmax", "wasserstein")]


@pytest.mark.parametrize("augment", [(), tuple(TRANSFORMS)])
@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("objective", OBJECTIVE_GRID)
def test_the_grid_trains(objective, regularizer, augment):
    """Every cell takes two steps, moves both players, and leaves no gradient of one in the other."""
    torch.manual_seed(0)
    entry = DCGAN(
        image_size=16,
        channels=1,
        width=2,
        objective=objective,
        regularizer=regularizer,
        regularizer_interval=1,
        augment=augment,
        spectral_norm=True,
        discriminator_norm="none",
    )
    trainer = entry.build()
    before = copy.deepcopy(trainer.generators), copy.deepcopy(trainer.discriminators)
    for _ in range(2):
        scalars = trainer.step({"real": torch.rand(4, 1, 16, 16) * 2 - 1})
    assert all(torch.isfinite(value) for value in scalars.values())
    assert (scalars["penalty"] > 0) == (regularizer != "none")
    for old, new in zip(before, (trainer.generators, trainer.discriminators), strict=True):
        assert any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))


def test_label_smoothing_is_the_cross_entropy_of_a_lower_target():
    """One update with smoothing equals one by PyTorch's own binary cross-entropy with the target 1 - s."""
    trainer, real, fake = small(label_smoothing=0.1), torch.randn(16, 2), torch.randn(16, 2)
    twin = copy.deepcopy(trainer)
    trainer._update_discriminator(trainer.discriminator, real, fake)
    scores = twin.discriminator(real), twin.discriminator(fake)
    targets = torch.full((16, 1), 0.9), torch.zeros(16, 1)
    loss = sum(map(nn.functional.binary_cross_entropy_with_logits, scores, targets))
    descend(loss, twin.optimizers["discriminator"])
    for mine, theirs in zip(trainer.discriminator.parameters(), twin.discriminator.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_the_penalty_counts_by_its_weight():
    light, heavy = (small(regularizer="r1", regularizer_weight=weight) for weight in (1.0, 5.0))
    batch = {"real": torch.randn(16, 2)}
    torch.manual_seed(1)
    first = light.step(batch)["penalty"]
    torch.manual_seed(1)
    assert heavy.step(batch)["penalty"].item() == pytest.approx(5 * first.item(), rel=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_penalty_that_is_due_less_often_counts_for_as_many_updates(compiled):
    def penalties(**fields: object) -> list[float]:
        trainer = small(regularizer="r1+r2", learning_rate=1e-12, **fields)
        trainer.double_backward = not compiled
        return [float(trainer.step(batch)["penalty"]) for _ in range(6)]

    batch = {"real": torch.randn(64, 2)}
    always, sometimes = penalties(), penalties(regularizer_interval=3)
    assert [value > 0 for value in sometimes] == [False, False, True, False, False, True]
    assert sometimes[2] == pytest.approx(3 * always[2], rel=1e-3)


def test_when_a_penalty_is_due_is_part_of_the_state():
    trainer, batch = small(regularizer="r1", regularizer_interval=3), {"real": torch.randn(8, 2)}
    trainer.step(batch)
    twin = small(regularizer="r1", regularizer_interval=3)
    twin.load_state_dict(trainer.state_dict())
    assert [bool(twin.step(batch)["penalty"]) for _ in range(3)] == [False, True, False]
    twin.load_state_dict({})  # as older checkpoints have it
    assert [bool(twin.step(batch)["penalty"]) for _ in range(3)] == [False, False, True]


def test_spectral_norm_bounds_every_layer_of_the_discriminator_and_none_of_the_generator():
    trainer = small(spectral_norm=True, discriminator_widths=(8, 8))
    for _ in range(30):
        trainer.step({"real": torch.randn(16, 2)})
    trainer.discriminator.eval()
    layers = [module for module in trainer.discriminator.modules() if isinstance(module, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.05)
    assert not any("parametrizations" in name for name, _ in trainer.generator.named_parameters())


def test_each_of_the_discriminators_steps_sees_its_own_part_of_the_batch():
    trainer, seen = small(discriminator_steps=3, batch_size=4), []
    update = trainer._update_discriminator
    trainer._update_discriminator = lambda judge, real, fake: (seen.append(real), update(judge, real, fake))[
        1
    ]
    batch = torch.randn(trainer.entry.examples_per_step, 2)
    trainer.step({"real": batch})
    assert trainer.entry.examples_per_step == 12
    assert torch.equal(torch.cat(seen), batch)
    assert [len(part) for part in seen] == [4, 4, 4]


def test_the_players_may_have_learning_rates_of_their_own():
    trainer = small(learning_rate=1e-3, discriminator_learning_rate=4e-3)
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in trainer.optimizers.items()}
    assert rates == {"generator": 1e-3, "discriminator": 4e-3}


@pytest.mark.parametrize(
    ("schedule", "factors"), [("constant", (1, 1, 1)), ("linear", (1, 0.5, 0)), ("cosine", (1, 0.5, 0))]
)
def test_schedules(schedule, factors):
    entry = MLPGAN(schedule=schedule)
    assert [entry.learning_rate_at(progress) for progress in (0, 0.5, 1)] == pytest.approx(list(factors))
    assert set(SCHEDULES) == set(ScheduleName.__args__)


def test_descent_with_momentum_is_a_choice():
    """One step of sgd moves every weight by the rate times its gradient; the second adds the momentum's."""
    trainer, batch = small(optimizer="sgd", learning_rate=0.1, betas=(0.5, 0.9)), {"real": torch.randn(16, 2)}
    weight = next(trainer.discriminator.parameters())
    places, gradients = [weight.detach().clone()], []
    for _ in range(2):
        trainer.step(batch)
        places.append(weight.detach().clone())
        gradients.append(weight.grad.clone())
    assert torch.allclose(places[0] - places[1], 0.1 * gradients[0], atol=1e-7)
    assert torch.allclose(places[1] - places[2], 0.1 * (gradients[1] + 0.5 * gradients[0]), atol=1e-7)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_latents_of_every_distribution_have_mean_zero_and_variance_one(name):
    torch.manual_seed(0)
    latent = DISTRIBUTIONS[name]((4000, 10), "cpu")
    assert latent.shape == (4000, 10)
    assert latent.mean().item() == pytest.approx(0, abs=0.02)
    assert latent.var().item() == pytest.approx(1, abs=0.02)


def test_a_batch_is_cut_into_parts_that_belong_together():
    batch = {"real": torch.arange(6.0), "label": torch.arange(6)}
    parts = list(split(batch, 3))
    assert [part["real"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part["label"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


def test_saturation_is_how_far_the_loss_is_from_an_undecided_discriminators():
    trainer, real = small(objective="hinge"), torch.randn(16, 2)
    sure = lambda examples: torch.where(examples[:, :1] > 5, 2.0, -2.0)  # noqa: E731
    undecided = lambda examples: 0 * trainer.discriminator(examples)  # noqa: E731
    judge = lambda examples: sure(examples) + undecided(examples)  # noqa: E731
    assert trainer._update_discriminator(judge, real + 100, real)["saturation"] == 1
    assert trainer._update_discriminator(undecided, real, real)["saturation"] == 0
    assert trainer._update_discriminator(judge, real, real + 100)["saturation"] == 0, "never below"
    critic = small(objective="wasserstein", regularizer="r1")
    assert critic._update_discriminator(judge, real + 100, real)["saturation"] == 0, "a critic has no end"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_augmentation_adapts_to_every_objective(objective):
    """Every objective trains with a target, and its discriminator's certainty raises the probability."""
    torch.manual_seed(0)
    entry = DCGAN(
        image_size=16,
        channels=1,
        width=4,
        batch_size=4,
        objective=objective,
        regularizer="none",
        spectral_norm=True,
        discriminator_norm="none",
        discriminator_steps=2,
        learning_rate=1e-6,
        discriminator_learning_rate=5e-3,
        augment_target=0.6,
        augment_ramp=0.1,
    )
    trainer, real = entry.build(), torch.ones(8, 1, 16, 16)
    for _ in range(40):
        scalars = trainer.step({"real": real})
    assert scalars["augment_probability"] == trainer.augment.probability > 0
    assert scalars["real_sign"] > 0.5


def test_both_players_see_the_same_probability_in_a_step():
    trainer, seen = small(shape=(1, 4, 4), augment_target=0.6, augment_ramp=0.01), []
    forward = trainer.augment.forward
    trainer.augment.forward = lambda examples: (
        seen.append(trainer.augment.probability.item()),
        forward(examples),
    )[1]
    for _ in range(8):
        trainer.step({"real": torch.ones(4, 1, 4, 4)})
    steps = [set(seen[3 * step : 3 * step + 3]) for step in range(8)]
    assert len(seen) == 24, "real and fake for the discriminator, fake for the generator"
    assert all(len(probabilities) == 1 for probabilities in steps)
    assert len(set(seen)) > 1
