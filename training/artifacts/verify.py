"""An artifact checked again, by nothing but its own folder: hashes, graphs, and what they give."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.artifact import read_file, read_manifest
from serving.runtime.engine import must_match
from serving.runtime.manifest import MANIFEST_FILE, Graph, Variant
from serving.runtime.sessions import open_session
from training.artifacts.writer import EXPECTED
from training.graphs import parity
from training.graphs.parity import Case, ParityError
from training.graphs.trace import check

SPREAD = 10.0
"""dB that a few examples may lie below all those that a smaller type was measured with."""


class VerifyError(UserError):
    """An artifact is not what its manifest says; the file and what is wrong with it are named."""


def verify(artifact: Path) -> Iterator[str]:
    """Check every graph of an artifact; say of each what was found.

    A graph must be the file that was hashed, sound ONNX, have the ends that the manifest names, and give for
    the golden examples what PyTorch gave when it was exported, in every batch that the manifest names. All of
    them are run on the CPU provider, those for CUDA too.

    Raises:
        ManifestError: there is no artifact, or it is of another format.
        VerifyError: something is not as the manifest says.
    """
    manifest = read_manifest(artifact)
    yield f"{MANIFEST_FILE}: format {manifest.format}, version {manifest.version}"
    for name, graph in manifest.graphs.items():
        file = graph.golden.file
        try:
            case = _golden(read_file(artifact, graph.golden))
            yield f"{file}: {case}"
            batches = {size for each in graph.variants if each.parity for size in each.parity.batches}
            for variant in graph.variants:
                file = variant.file
                yield f"{file}: {_check(read_file(artifact, variant), name, graph, variant, case, batches)}"
        except Exception as error:  # readers of foreign files raise whatever they stumble over
            raise VerifyError(f"{artifact / file}: {error}") from error


def _golden(data: bytes) -> Case:
    arrays = safetensors.numpy.load(data)
    case = Case(arrays, arrays.pop(EXPECTED))
    if not np.isfinite(case.expected).all():
        raise ParityError("PyTorch's own output is not finite")
    return case


def _check(data: bytes, name: str, graph: Graph, variant: Variant, case: Case, batches: set[int]) -> str:
    """Check one file, and put in words how near it is."""
    model = onnx.load_from_string(data)
    check(model)
    session = open_session(data, "cpu")
    must_match(session, name, graph)
    rows = [
        {key: value[row : row + 1] for key, value in case.inputs.items()} for row in range(len(case.expected))
    ]
    alone = np.concatenate([session.run(None, row)[0] for row in rows])
    for size in sorted(batches):
        order = np.arange(size)[::-1] % len(rows)
        (many,) = session.run(None, {key: value[order] for key, value in case.inputs.items()})
        _must_be_equal(many, alone[order])
    if alone.dtype != np.uint8:
        return f"{parity.float_error(alone, case, model):.1e} from PyTorch, the same in any batch"
    if variant.loss is None:
        return f"within {parity.level_error(alone, case)} levels of PyTorch, the same in any batch"
    parity.must_be_near(variant.loss, variant.precision)
    psnr = parity.psnr(case.pixels - alone)
    if psnr < variant.loss.psnr - SPREAD:
        raise ParityError(f"{psnr:.1f} dB to PyTorch; it was {variant.loss.psnr:.1f} dB at export")
    return f"{psnr:.1f} dB to PyTorch, the same in any batch"


def _must_be_equal(many: Array, alone: Array) -> None:
    """Hold a batch against its rows alone: pixels to the bit, numbers up to rounding."""
    if many.shape != alone.shape:
        raise ParityError(f"a batch comes out as {many.shape}; it should be {alone.shape}")
    if many.dtype == np.uint8:
        parity.must_not_depend_on_batch(alone, many)
    elif not np.abs(many - alone).max() <= parity.MAX_ABS_ERROR:
        raise ParityError(f"rows differ between a batch of {len(many)} and alone")
