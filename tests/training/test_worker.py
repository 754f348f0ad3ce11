import subprocess
import sys
from pathlib import Path

import pytest

from serving.offline.sample import draw
from serving.runtime import manifest
from training.worker import write_alone

ROOT = Path(__file__).parents[2]


def test_a_worker_writes_what_the_command_writes(artifacts, tmp_path):
    draw(artifacts / "classes", 30, 5, tmp_path / "one.tar", label="B")
    version = manifest.read(artifacts / "classes").version
    for name in ("two.tar", "again.tar"):
        write_alone(artifacts / "classes", version, range(5, 35), 1, tmp_path / name)
        assert (tmp_path / name).read_bytes() == (tmp_path / "one.tar").read_bytes()


def test_an_artifact_that_was_exchanged_is_told(artifacts, tmp_path):
    with pytest.raises(ValueError, match="now, and was 0123456789ab"):
        write_alone(artifacts / "pictures", "0123456789ab", range(3), None, tmp_path / "one.tar")
    assert list(tmp_path.iterdir()) == []


def test_it_does_not_load_torch():
    code = "import sys, training.worker\nprint({'torch', 'onnx', 'zoo'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
