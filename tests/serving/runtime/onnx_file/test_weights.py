import contextlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from serving.errors import EngineError
from serving.runtime import sessions
from serving.runtime.onnx_file.weights import must_be_inside
from serving.runtime.sessions import open_session
from tests.reliability.crafted import SECRET, crafted_graphs

GRAPHS = crafted_graphs(8, [4, 4, 1])
OUTSIDE = [name for name in GRAPHS if "outside" in name]


@pytest.mark.parametrize("name", OUTSIDE)
def test_weights_outside_of_the_file_are_refused_wherever_they_are(name):
    with pytest.raises(EngineError, match="external data"):
        must_be_inside(GRAPHS[name].SerializeToString())


@pytest.mark.parametrize("name", sorted(GRAPHS.keys() - set(OUTSIDE)))
def test_weights_in_the_file_are_taken(name):
    must_be_inside(GRAPHS[name].SerializeToString())


def test_a_location_without_external_data_and_the_reverse_are_refused():
    for field in ("data_location", "external_data"):
        graph = GRAPHS["an initializer outside"].__deepcopy__()
        graph.graph.initializer[-1].ClearField(field)
        with pytest.raises(EngineError, match="external data"):
            must_be_inside(graph.SerializeToString())


@pytest.mark.parametrize("data", [b"\xff", b"ORTM" * 9, b"\x3a\x7f"])
def test_what_is_no_onnx_is_refused(data):
    with pytest.raises(EngineError):
        open_session(data, "cpu")


def test_the_runtime_by_itself_has_nowhere_to_look(tmp_path, monkeypatch):
    """Even if the reading of the graph missed it, ONNX Runtime would find no file."""
    monkeypatch.setattr(sessions, "must_be_inside", lambda model: None)
    data = GRAPHS["an initializer outside"].SerializeToString()
    with contextlib.chdir(tmp_path):
        Path(SECRET).write_bytes(np.ones((8, 16), np.float32).tobytes())
        ort.InferenceSession(data)  # the control
        with pytest.raises(EngineError, match="External data"):
            open_session(data, "cpu")
