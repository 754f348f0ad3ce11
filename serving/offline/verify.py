"""Verification of an artifact from its folder alone: hashes, graphs and their outputs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime import golden
from serving.runtime.artifact import read_file, read_manifest
from serving.runtime.engine import must_match
from serving.runtime.golden import Case, ParityError, read_golden
from serving.runtime.manifest import MANIFEST_FILE, Graph, Variant
from serving.runtime.sessions import open_session
from serving.runtime.trial import try_out

SPREAD = 10.0
"""Margin in dB: the PSNR of the few golden examples may be this far below the PSNR at export."""


class VerifyError(UserError):
    """An artifact does not match its manifest. The message names the file and the mismatch."""


def verify(artifact: Path) -> Iterator[str]:
    """Check every graph of an artifact and yield a line of results for each file.

    The file must match its hash, and ONNX Runtime must load it. Its inputs and outputs must match the
    manifest, also when it is run. Its outputs for the golden examples must match those of PyTorch at export.
    They must be the same at every batch size in the manifest. All variants run on the CPU provider, including
    those for CUDA.

    Raises:
        ManifestError: there is no artifact, or its format is not supported.
        VerifyError: a file does not match the manifest.
    """
    manifest = read_manifest(artifact)
    yield f"{MANIFEST_FILE}: format {manifest.format}, version {manifest.version}"
    for name, graph in manifest.graphs.items():
        file = graph.golden.file
        try:
            case = read_golden(read_file(artifact, graph.golden))
            yield f"{file}: {case}"
            batches = {size for each in graph.variants if each.parity for size in each.parity.batches}
            for variant in graph.variants:
                file = variant.file
                yield f"{file}: {_check(read_file(artifact, variant), name, graph, variant, case, batches)}"
        except Exception as error:  # readers raise many types of exceptions on malformed files
            raise VerifyError(f"{artifact / file}: {error}") from error


def _check(data: bytes, name: str, graph: Graph, variant: Variant, case: Case, batches: set[int]) -> str:
    """Check one file and return a description of its difference from PyTorch."""
    session = open_session(data, "cpu")
    must_match(session, name, graph)
    try_out(name, graph, lambda inputs: session.run(None, dict(inputs))[0])
    rows = [
        {key: value[row : row + 1] for key, value in case.inputs.items()} for row in range(len(case.expected))
    ]
    alone = np.concatenate([session.run(None, row)[0] for row in rows])
    for size in sorted(batches):
        order = np.arange(size)[::-1] % len(rows)
        (many,) = session.run(None, {key: value[order] for key, value in case.inputs.items()})
        _must_be_equal(many, alone[order])
    if alone.dtype != np.uint8:
        worst = golden.float_error(alone, case, golden.max_abs_error(data))
        return f"{worst:.1e} from PyTorch, the same in any batch"
    if variant.loss is None:
        return f"within {golden.level_error(alone, case)} levels of PyTorch, the same in any batch"
    golden.must_be_near(variant.loss, variant.precision)
    psnr = golden.psnr(case.pixels - alone)
    if psnr < variant.loss.psnr - SPREAD:
        least = variant.loss.psnr - SPREAD
        raise ParityError(f"the PSNR to PyTorch must be at least {least:.1f} dB; got {psnr:.1f} dB")
    return f"{psnr:.1f} dB to PyTorch, the same in any batch"


def _must_be_equal(many: Array, alone: Array) -> None:
    """Check that a batch equals its rows run alone: pixels exactly, floats up to rounding.

    Raises:
        ParityError: they differ.
    """
    if many.shape != alone.shape:
        raise ParityError(f"the output of a batch must have the shape {alone.shape}; got {many.shape}")
    if many.dtype == np.uint8:
        golden.must_not_depend_on_batch(alone, many)
    elif not np.abs(many - alone).max() <= golden.MAX_ABS_ERROR:
        raise ParityError(
            f"a row must be the same in every batch; rows differ between batches of {len(many)} and 1"
        )
