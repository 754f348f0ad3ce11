import numpy as np
import pytest

from serving.errors import EngineError
from serving.offline.verify import VerifyError, verify
from serving.runtime.artifact import read_manifest
from serving.runtime.engine import Engine
from serving.runtime.trial import must_work
from tests.reliability.crafted import crafted_graphs, with_graph

CRAFTED = crafted_graphs(8, [16, 16, 1])


@pytest.mark.parametrize("name", ["pictures", "classes", "points", "styles", "pairs"])
def test_artifacts_work(name, artifacts):
    engine = Engine(artifacts / name, "cpu")
    must_work(engine.manifest, engine.run)


@pytest.mark.parametrize("name", CRAFTED)
def test_graphs_that_can_not_work_are_refused(name, artifacts, tmp_path):
    crafted = with_graph(artifacts / "pictures", CRAFTED[name].SerializeToString(), tmp_path / "crafted")
    with pytest.raises(EngineError):
        must_work(read_manifest(crafted), Engine(crafted, "cpu").run)
    with pytest.raises(VerifyError, match=r"generator\.onnx"):
        list(verify(crafted))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda output: output[:1], "must be uint8"),
        (lambda output: output.astype(np.float32), "must be uint8"),
        (lambda output: output[:, :8], "must be uint8"),
        (lambda output: output + np.uint8(9 * len(output)), "in every batch"),
    ],
)
def test_outputs_are_held_against_the_manifest(spoil, said, artifacts):
    engine = Engine(artifacts / "pictures", "cpu")
    with pytest.raises(EngineError, match=said):
        must_work(engine.manifest, lambda graph, inputs: spoil(engine.run(graph, inputs)))


def test_an_output_that_is_not_finite_is_refused(artifacts):
    engine = Engine(artifacts / "points", "cpu")
    with pytest.raises(EngineError, match="finite"):
        must_work(engine.manifest, lambda graph, inputs: engine.run(graph, inputs) * np.nan)
