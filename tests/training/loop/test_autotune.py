"""The choice of a precision and a memory format by measured steps, once, and without a trace in the run."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from tests.conftest import small_config
from tests.training.loop.test_train import final
from training.data.dataset import open_data
from training.loop import autotune as module
from training.loop.autotune import Way, autotune, has_bf16, measure
from training.loop.distributed import SINGLE
from training.loop.state import TrainState
from training.loop.train import train
from training.run.config import RunConfig
from zoo.adversarial import TwoPlayer

CPU = torch.device("cpu")

needs_bf16 = pytest.mark.skipif(not has_bf16(CPU), reason="the CPU has no bf16 instructions")


FULL, LOW = Way("fp32", "contiguous"), Way("bf16", "contiguous")
FULL_LAST, LOW_LAST = Way("fp32", "channels_last"), Way("bf16", "channels_last")


def auto(folder, name="dcgan", **run) -> RunConfig:
    return small_config(name, folder, **{"precision": "auto", "memory_format": "auto"} | run)


class Clock:
    """A clock by which steps take these seconds in turns; between steps, none passes.

    Args:
        seconds: of the steps of all ways, round by round.
        ways: number of ways.
    """

    def __init__(self, *seconds: float, ways: int = 2) -> None:
        self.now = 0.0
        self._seconds = itertools.cycle(seconds)
        self._reads = self._times(ways)

    def __call__(self) -> float:
        return next(self._reads)

    def _times(self, ways: int) -> Iterator[float]:
        yield self.now  # the beginning
        for number in itertools.count():
            if number:
                yield self.now  # whether another round begins
            for _ in range(ways):
                yield self.now
                self.now += next(self._seconds)
                yield self.now


def chosen(config: RunConfig, clock=None, supported=True) -> Way:
    data = open_data(config.train.data, config.entry.sample_shape, config.train.seed)
    clock = clock or Clock(2.0, 2.0, 1.0, 1.5, ways=4)
    run = autotune(config, SINGLE, data, clock, lambda device: supported).train
    return Way(run.precision, run.memory_format)


@pytest.mark.parametrize(
    ("seconds", "expected", "said"),
    [
        ((1.0, 1.0, 0.5, 1.0), LOW, "bf16, contiguous: steps are 2.00 times as fast as in fp32, contiguous"),
        ((1.0, 1.0, 0.5, 0.25), LOW_LAST, "bf16, channels_last: steps are 4.00 times as fast as in fp32, "),
        ((1.0, 0.5, 0.75, 2.0), FULL_LAST, "fp32, channels_last: steps are 2.00 times as fast as in fp32, "),
        ((1.0, 1.0, 0.5, 0.49), LOW, "bf16, contiguous: steps are 2.00 times as fast as in fp32, contiguous"),
        ((1.0, 0.98, 0.97, 4.0), FULL, "fp32, contiguous: no other steps are 1.05 times as fast"),
    ],
)
def test_the_fastest_way_is_chosen(seconds, expected, said, tmp_path, capsys):
    assert chosen(auto(tmp_path), Clock(*seconds, ways=4)) == expected
    written = capsys.readouterr().err
    assert written.startswith(f"note: precision {said}")
    assert written.count("\n") == 1


def test_a_device_without_bf16_trains_in_fp32_in_the_faster_format(tmp_path):
    assert chosen(auto(tmp_path), Clock(1.0, 0.5), supported=False) == FULL_LAST
    assert chosen(auto(tmp_path), Clock(0.5, 1.0), supported=False) == FULL


def test_vectors_have_one_memory_format(tmp_path, capsys):
    config = auto(tmp_path, "mlp-gan-vector", data="ring8")
    assert chosen(config, Clock(1.0, 0.5)) == LOW
    assert capsys.readouterr().err
    assert chosen(config, supported=False) == FULL
    assert capsys.readouterr().err == "", "there is nothing to choose from"


def test_a_named_memory_format_is_taken(tmp_path):
    assert chosen(auto(tmp_path, memory_format="channels_last"), Clock(1.0, 0.5)) == LOW_LAST


@pytest.mark.parametrize("named", ["fp32", "bf16"])
def test_with_a_named_precision_nothing_is_measured(named, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "_fastest", None)
    assert chosen(auto(tmp_path, precision=named), supported=named == "fp32") == (named, "auto")
    assert capsys.readouterr().err == ""
    assert TrainState(auto(tmp_path, precision=named)).config.train.memory_format == "contiguous"


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


class Step:
    """A step that counts how often it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def step(self) -> None:
        self.taken += 1


def test_the_first_round_counts_only_if_it_is_the_only_one():
    trials = {FULL: Step(), LOW: Step()}
    assert measure(trials, Clock(9.0, 8.0)) == {FULL: 9.0, LOW: 8.0}
    assert measure(trials, Clock(5.0, 4.0, 3.0, 1.0, 0.5, 0.5)) == {FULL: 3.0, LOW: 1.0}
    assert measure(trials, Clock(0.5, 0.5, 0.25, 0.125, 0.125, 0.25)) == {FULL: 0.125, LOW: 0.125}


def test_rounds_end_by_their_number_and_by_the_time():
    for seconds, rounds in ((2**-10, module.MOST_ROUNDS), (0.25, 3), (2.0, 2), (module.LONG, 1)):
        trials = {FULL: Step(), LOW: Step()}
        measure(trials, Clock(seconds))
        assert [trial.taken for trial in trials.values()] == [rounds, rounds], seconds


@pytest.mark.parametrize("trouble", ["an error", "a scalar", "a weight"])
def test_a_way_with_trouble_is_left_out(trouble, tmp_path, capsys, monkeypatch):
    step = TrainState.step

    def poor(self, data):
        scalars = step(self, data)
        if self.config.train.precision == "bf16" and self.done == 1:
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
    assert chosen(auto(tmp_path), itertools.count(0.0, 0.01).__next__) == FULL
    first, second, _ = capsys.readouterr().err.splitlines()
    said = first.removeprefix("note: steps in bf16, contiguous could not be measured: ")
    assert second.startswith("note: steps in bf16, channels_last could not be measured: ")
    assert {"an error": "no kernel for bf16", "a scalar": "loss is nan", "a weight": "is not finite"}[
        trouble
    ] in said


def is_untouched(config: RunConfig) -> bool:
    """Whether torch's random state is that of before the measurement."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    chosen(config)
    return torch.equal(before, torch.get_rng_state())


def test_the_random_state_stays_as_it_is(tmp_path, monkeypatch):
    assert is_untouched(auto(tmp_path))
    monkeypatch.setattr(module.checkpoint, "restore_random_state", lambda state, device: None)
    assert not is_untouched(auto(tmp_path)), "the control"


@pytest.mark.parametrize(
    "name", ["dcgan", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cyclegan", "sngan"))]
)
@pytest.mark.parametrize("way", [FULL, FULL_LAST, LOW, LOW_LAST])
def test_a_measured_run_is_the_run_of_the_way_that_it_chose(name, way, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "has_bf16", lambda device: True)
    seconds = [0.5 if each == way else 1.0 for each in (FULL, FULL_LAST, LOW, LOW_LAST)]
    train_with_clock(auto(tmp_path / "auto", name, steps=3), monkeypatch, Clock(*seconds, ways=4))
    found = RunConfig.read(tmp_path / "auto").train
    assert (found.precision, found.memory_format) == way
    train(auto(tmp_path / "named", name, steps=3, **way._asdict()))
    assert final(tmp_path / "auto") == final(tmp_path / "named")


def train_with_clock(config: RunConfig, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Train, with a measurement by this clock."""
    with monkeypatch.context() as patched:
        patched.setattr(
            "training.loop.train.autotune",
            lambda config, world, data: autotune(config, world, data, clock),
        )
        train(config)


@needs_bf16
def test_a_run_keeps_what_was_really_measured(tmp_path, capsys, monkeypatch):
    def way(folder: str) -> Way:
        run = RunConfig.read(tmp_path / folder).train
        return Way(run.precision, run.memory_format)

    options = {"checkpoint_every": 2, "steps": 4, "schedule_steps": 4}
    train(auto(tmp_path / "run", **options | {"steps": 2}))
    found = way("run")
    assert f"note: precision {found}: " in capsys.readouterr().err

    monkeypatch.setattr(module, "_fastest", None)
    train(auto(tmp_path / "run", **options))
    assert way("run") == found
    assert "precision" not in capsys.readouterr().err
    train(auto(tmp_path / "named", **options, **found._asdict()))
    assert final(tmp_path / "run") == final(tmp_path / "named")

    other = {"fp32": "bf16", "bf16": "fp32"}[found.precision]
    with pytest.raises(ValueError, match=rf"precision is {found.precision} in its run\.json; got {other}"):
        train(auto(tmp_path / "run", **options, precision=other))
    other = {"contiguous": "channels_last", "channels_last": "contiguous"}[found.memory_format]
    with pytest.raises(ValueError, match=rf"memory_format is {found.memory_format} in its"):
        train(auto(tmp_path / "run", **options, memory_format=other))
    train(auto(tmp_path / "run", **options), restart=True)
    assert way("run") == found


def test_a_fine_tuned_run_is_measured_with_its_frozen_layers(tmp_path, monkeypatch):
    train(small_config("dcgan", tmp_path / "parent"))
    frozen = []
    step = TwoPlayer.step

    def noted(self, batch):
        frozen.append(any(not weight.requires_grad for weight in self.discriminators.parameters()))
        return step(self, batch)

    monkeypatch.setattr(TwoPlayer, "step", noted)
    run = auto(tmp_path / "run", start_from=str(tmp_path / "parent"), freeze_discriminator=1)
    assert chosen(run) == LOW
    assert frozen
    assert all(frozen)


def test_a_state_without_a_choice_says_that_it_is_in_fp32(tmp_path):
    run = TrainState(auto(tmp_path)).config.train
    assert (run.precision, run.memory_format) == FULL
