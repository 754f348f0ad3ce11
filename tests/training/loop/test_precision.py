"""The choice of a precision: by the device and by measured steps, once, and without a trace in the run."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from tests.conftest import small_config
from tests.training.loop.test_train import final
from training.data.dataset import open_data
from training.loop import precision
from training.loop.distributed import SINGLE
from training.loop.precision import has_bf16, measure, with_chosen_precision
from training.loop.state import TrainState
from training.loop.train import train
from training.run.config import RunConfig
from zoo.adversarial import TwoPlayer

CPU = torch.device("cpu")

needs_bf16 = pytest.mark.skipif(not has_bf16(CPU), reason="the CPU has no bf16 instructions")


def auto(folder, name="dcgan", **run) -> RunConfig:
    return small_config(name, folder, **{"precision": "auto"} | run)


class Clock:
    """A clock by which steps in fp32 and in bf16 take these seconds in turns; between steps, none passes."""

    def __init__(self, *seconds: float) -> None:
        self.now = 0.0
        self._seconds = itertools.cycle(seconds)
        self._reads = self._times()

    def __call__(self) -> float:
        return next(self._reads)

    def _times(self) -> Iterator[float]:
        yield self.now  # the beginning
        for number in itertools.count():
            if number:
                yield self.now  # whether another round begins
            for _ in range(2):
                yield self.now
                self.now += next(self._seconds)
                yield self.now


def chosen(config: RunConfig, clock=None, supported=True) -> str:
    data = open_data(config.train.data, config.entry.sample_shape, config.train.seed)
    clock = clock or Clock(2.0, 1.0)
    found = with_chosen_precision(config, SINGLE, data, clock, lambda device: supported)
    assert found.train.precision in ("fp32", "bf16")
    return found.train.precision


@pytest.mark.parametrize(
    ("low", "expected", "said"),
    [
        (0.5, "bf16", "note: precision bf16: steps are 2.00 times as fast as in fp32\n"),
        (0.97, "fp32", "note: precision fp32: steps in bf16 are 1.03 times as fast\n"),
        (4.0, "fp32", "note: precision fp32: steps in bf16 are 0.25 times as fast\n"),
    ],
)
def test_the_faster_precision_is_chosen(low, expected, said, tmp_path, capsys):
    assert chosen(auto(tmp_path), Clock(1.0, low)) == expected
    assert capsys.readouterr().err == said


def test_a_device_without_bf16_trains_in_fp32_and_says_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "_measured", None)
    assert chosen(auto(tmp_path), supported=False) == "fp32"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("named", ["fp32", "bf16"])
def test_a_named_precision_is_taken(named, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "_measured", None)
    assert chosen(auto(tmp_path, precision=named), supported=named == "fp32") == named
    assert capsys.readouterr().err == ""


def test_a_cpu_has_bf16_by_either_instruction_and_versions_may_not_tell(monkeypatch):
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for has in names:
        for name in names:
            monkeypatch.setattr(torch.cpu, name, lambda name=name, has=has: name == has)
        assert has_bf16(CPU)
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert not has_bf16(CPU)
    assert not has_bf16(torch.device("meta"))


@pytest.mark.gpu
def test_a_gpu_has_bf16_if_it_does_not_emulate_it():
    capability = torch.cuda.get_device_capability()
    assert has_bf16(torch.device("cuda")) == (capability >= (8, 0))


def test_the_first_round_counts_only_if_it_is_the_only_one():
    steps = {"fp32": lambda: None, "bf16": lambda: None}
    assert measure(steps, Clock(9.0, 8.0)) == {"fp32": 9.0, "bf16": 8.0}
    assert measure(steps, Clock(5.0, 4.0, 3.0, 1.0, 0.5, 0.5)) == {"fp32": 3.0, "bf16": 1.0}
    assert measure(steps, Clock(0.5, 0.5, 0.25, 0.125, 0.125, 0.25)) == {"fp32": 0.125, "bf16": 0.125}


def test_rounds_end_by_their_number_and_by_the_time():
    count = {"fp32": 0, "bf16": 0}
    steps = {name: lambda name=name: count.update({name: count[name] + 1}) for name in count}
    for seconds, rounds in ((2**-10, precision.MOST_ROUNDS), (0.25, 3), (2.0, 2), (precision.LONG, 1)):
        count.update(fp32=0, bf16=0)
        measure(steps, Clock(seconds))
        assert count == {"fp32": rounds, "bf16": rounds}, seconds


@pytest.mark.parametrize("trouble", ["an error", "a scalar", "a weight"])
def test_trouble_in_bf16_means_fp32(trouble, tmp_path, capsys, monkeypatch):
    step = TrainState.step

    def poor(self, data):
        scalars = step(self, data)
        if self.config.train.precision == "bf16" and self.done == 2:  # the last one by the clock
            match trouble:
                case "an error":
                    raise RuntimeError("no kernel\nfor bf16")
                case "a scalar":
                    scalars["loss"] = torch.tensor(float("nan"))
                case "a weight":
                    with torch.no_grad():
                        next(self.trainer.generators.parameters()).fill_(float("inf"))
        return scalars

    monkeypatch.setattr(TrainState, "step", poor)
    assert chosen(auto(tmp_path)) == "fp32"
    said = capsys.readouterr().err
    assert said.startswith("note: precision fp32: steps in bf16 could not be measured: ")
    assert {"an error": "no kernel for bf16", "a scalar": "loss is nan", "a weight": "is not finite"}[
        trouble
    ] in said
    assert said.count("\n") == 1


def is_untouched(config: RunConfig) -> bool:
    """Whether torch's random state is that of before the measurement."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    chosen(config)
    return torch.equal(before, torch.get_rng_state())


def test_the_random_state_stays_as_it_is(tmp_path, monkeypatch):
    assert is_untouched(auto(tmp_path))
    monkeypatch.setattr(precision.checkpoint, "restore_random_state", lambda state, device: None)
    assert not is_untouched(auto(tmp_path)), "the control"


@pytest.mark.parametrize("name", ["dcgan", "cyclegan", "sngan"])
@pytest.mark.parametrize("low", [0.5, 2.0])
def test_a_measured_run_is_the_run_of_the_precision_that_it_chose(name, low, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    config = auto(tmp_path / "auto", name, steps=3)
    train_with_clock(config, monkeypatch, Clock(1.0, low))
    found = RunConfig.read(tmp_path / "auto").train.precision
    assert found == ("bf16" if low < 1 else "fp32")
    train(auto(tmp_path / "named", name, steps=3, precision=found))
    assert final(tmp_path / "auto") == final(tmp_path / "named")


def train_with_clock(config: RunConfig, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Train, with a measurement by this clock."""
    choose = with_chosen_precision
    with monkeypatch.context() as patched:
        patched.setattr(
            "training.loop.train.with_chosen_precision",
            lambda config, world, data: choose(config, world, data, clock),
        )
        train(config)


@needs_bf16
def test_a_run_keeps_the_precision_that_was_really_measured(tmp_path, capsys, monkeypatch):
    options = {"checkpoint_every": 2, "steps": 4, "schedule_steps": 4}
    train(auto(tmp_path / "run", **options | {"steps": 2}))
    found = RunConfig.read(tmp_path / "run").train.precision
    assert f"note: precision {found}: steps " in capsys.readouterr().err

    monkeypatch.setattr(precision, "_measured", None)
    train(auto(tmp_path / "run", **options))
    assert RunConfig.read(tmp_path / "run").train.precision == found
    assert "precision" not in capsys.readouterr().err
    train(auto(tmp_path / "named", **options, precision=found))
    assert final(tmp_path / "run") == final(tmp_path / "named")

    other = {"fp32": "bf16", "bf16": "fp32"}[found]
    with pytest.raises(ValueError, match=rf"precision is {found} in its run\.json; got {other}"):
        train(auto(tmp_path / "run", **options, precision=other))
    train(auto(tmp_path / "run", **options), restart=True)
    assert RunConfig.read(tmp_path / "run").train.precision == found


def test_a_fine_tuned_run_is_measured_with_its_frozen_layers(tmp_path, monkeypatch):
    train(small_config("dcgan", tmp_path / "parent"))
    frozen = []
    step = TwoPlayer.step

    def noted(self, batch):
        frozen.append(any(not weight.requires_grad for weight in self.discriminators.parameters()))
        return step(self, batch)

    monkeypatch.setattr(TwoPlayer, "step", noted)
    assert (
        chosen(auto(tmp_path / "run", start_from=str(tmp_path / "parent"), freeze_discriminator=1)) == "bf16"
    )
    assert frozen
    assert all(frozen)


def test_a_state_without_a_choice_says_that_it_is_in_fp32(tmp_path):
    assert TrainState(auto(tmp_path)).config.train.precision == "fp32"
