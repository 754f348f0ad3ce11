"""The notebook docs/quickstart.ipynb, run as a newcomer runs it."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"

RUN = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[1])
"""


def shown(notebook: dict) -> list[tuple[str, object]]:
    """What the cells show, in order: texts, and the sizes of pictures."""
    found = []
    for output in (each for cell in notebook["cells"] for each in cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/png" in data:
            found.append(("image", Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size))
        elif "text/html" in data:
            found.append(("html", "".join(data["text/html"]).count("<img")))
        elif output.get("name") != "stderr":
            found.append(("text", "".join(output.get("text", data.get("text/plain", "")))))
    return found


def shortened(source: str) -> str:
    return source.replace("steps=600, sheet_every=200", "steps=30, sheet_every=10")


@pytest.mark.parametrize(
    "as_run", [shortened, pytest.param(str, marks=pytest.mark.slow)], ids=["short", "whole"]
)
def test_it_runs_and_shows_what_it_was_saved_with(as_run, tmp_path):
    saved = json.loads(NOTEBOOK.read_text())
    copy = tmp_path / "quickstart.ipynb"
    copy.write_text(as_run(NOTEBOOK.read_text()))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, copy]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = json.loads(copy.read_text())
    kinds = [kind for kind, _ in shown(saved)]
    assert [kind for kind, _ in shown(again)] == kinds
    assert kinds.count("image") == 6
    assert kinds.count("html") == 1
    assert [size for kind, size in shown(again) if kind == "image"] == [
        size for kind, size in shown(saved) if kind == "image"
    ]
    assert sorted(path.name for path in (tmp_path / "artifacts").iterdir()) == ["quickstart"]


def test_its_saved_outputs_are_small_and_name_no_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < 300_000
    for word in ("Traceback", "stderr", "image/jpeg", "/tmp", "/home", "/work"):
        assert word not in text
