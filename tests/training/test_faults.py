"""What goes wrong outside of the mathematics: a full disk, a second signal, a dead holder."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import small_config
from tests.training.loop.test_train import final
from training.loop.train import train
from training.run import checkpoint


def ganzoo(*arguments: object, room: int) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that can't write a file larger than so many bytes, as on a full disk."""
    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        # Else Python would leave its own files cut short, and believe them.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        timeout=120,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def training_flags(folder: Path, steps: int) -> list[object]:
    """Flags of what `small_config` gives."""
    flags = ["--data", "glyphs", "--batch-size", 4, "--device", "cpu", "--log-every", 1, "--out", folder]
    return ["train", "mlp-gan", *flags, "--precision", "fp32", "--steps", steps]


def test_a_disk_too_full_for_a_checkpoint_leaves_the_one_before(tmp_path):
    train(small_config("mlp-gan", tmp_path / "run", steps=2))
    before = content(tmp_path / "run" / "checkpoints")
    (size,) = map(len, before.values())
    done = ganzoo(*training_flags(tmp_path / "run", 4), room=size // 2)
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if not line.startswith("mlp-gan: ")]
    assert said.startswith("ganzoo: [Errno 27] File too large: ")
    assert "checkpoints/00000004-" in said
    assert content(tmp_path / "run" / "checkpoints") == before, "and nothing half written"
    assert ganzoo(*training_flags(tmp_path / "run", 4), room=2 * size).returncode == 0, "with room it goes on"
    train(small_config("mlp-gan", tmp_path / "whole", steps=4))
    assert final(tmp_path / "run") == final(tmp_path / "whole")


def test_a_disk_too_full_for_the_record_ends_the_run_in_one_line(tmp_path):
    done = ganzoo(*training_flags(tmp_path / "run", 500), "--sheet-every", 1000, room=20_000)
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if not line.startswith("mlp-gan: ")]
    assert said == f"ganzoo: [Errno 27] File too large: '{tmp_path / 'run'}'"
    assert checkpoint.load(tmp_path / "run" / "checkpoints") is None


@pytest.mark.slow
def test_a_disk_too_full_for_an_artifact_leaves_the_one_before(runs, tmp_path):
    artifact = tmp_path / "points"
    assert ganzoo("export", runs / "points", artifact, room=2**30).returncode == 0
    before = content(artifact)
    done = ganzoo("export", runs / "points", artifact, room=max(map(len, before.values())) // 2)
    assert done.returncode == 2
    assert done.stderr == f"ganzoo: [Errno 27] File too large: '{artifact}'\n"
    assert content(artifact) == before
    assert list(tmp_path.iterdir()) == [artifact]


SLOW = """
import sys, time
from training.__main__ import main
from zoo.adversarial import TwoPlayer

def step(self, batch):
    while True:
        print("in a step", flush=True)
        time.sleep(0.1)

TwoPlayer.step = step
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGTERM, signal.SIGINT),
        pytest.param((signal.SIGINT, signal.SIGINT), marks=pytest.mark.slow),
    ],
)
def test_a_second_signal_ends_it_at_once_and_harms_nothing(numbers, tmp_path):
    train(small_config("mlp-gan", tmp_path / "run", steps=2))
    flags = map(str, training_flags(tmp_path / "run", 4))
    with subprocess.Popen([sys.executable, "-c", SLOW, *flags], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in a step\n"
        process.send_signal(numbers[0])
        assert [process.stdout.readline() for _ in range(10)] == ["in a step\n"] * 10, (
            "the first waits for it"
        )
        process.send_signal(numbers[1])
        try:
            status = process.wait(1)
        finally:
            process.kill()
    assert status == -numbers[1], "which a shell calls 128 more than the signal"
    # Its lock went with it, and what it left is what a run goes on from.
    for folder in ("run", "whole"):
        train(small_config("mlp-gan", tmp_path / folder, steps=4))
    assert final(tmp_path / "run") == final(tmp_path / "whole")
