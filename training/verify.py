"""An artifact checked again, by nothing but its own folder: hashes, graphs, and what they give."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy

from serving import manifest
from serving.engine import Engine, read_file
from serving.sessions import open_session
from training import parity
from training.artifact import EXPECTED
from training.graph import check
from training.parity import Case, ParityError

SPREAD = 10.0
"""dB that one example may lie below all those that a smaller type was measured with."""


def verify(artifact: Path) -> Iterator[str]:
    """Check every file of an artifact; say of each what was found.

    A graph must be the file that was hashed, sound ONNX, and give for the golden example what PyTorch gave
    when it was exported, alone and in every batch that the manifest names. All of them are run on the CPU
    provider, those for CUDA too.

    Raises:
        ValueError: something is not as the manifest says (`ManifestError`, `EngineError`, `GraphError`,
            `ParityError`).
    """
    label = manifest.read(artifact)
    yield f"{manifest.FILE}: format {label.format}, version {label.version}"
    for graph in label.graphs.values():
        case = _golden(read_file(artifact, graph.golden))
        yield f"{graph.golden.file}: {case}"
        batches = {size for each in graph.variants if each.parity for size in each.parity.batches}
        for variant in graph.variants:
            try:
                yield f"{variant.file}: {_check(artifact, variant, case, batches)}"
            except ValueError as error:
                raise type(error)(f"{artifact / variant.file}: {error}") from error
    Engine(artifact, "cpu")
    yield f"{', '.join(label.graphs)}: served on the CPU"


def _golden(data: bytes) -> Case:
    arrays = safetensors.numpy.load(data)
    expected = arrays.pop(EXPECTED)
    return Case(arrays, expected)


def _check(artifact: Path, variant: manifest.Variant, case: Case, batches: Iterable[int]) -> str:
    """Check one file, and put in words how near it is."""
    data = read_file(artifact, variant)
    model = onnx.load_from_string(data)
    check(model)
    session = open_session(data, "cpu")
    (alone,) = session.run(None, case.inputs)
    if alone.dtype != np.uint8:
        return f"{parity.float_error(alone, case, model):.1e} from PyTorch"
    for size in batches:
        many = {key: np.repeat(value, size, 0) for key, value in case.inputs.items()}
        parity.must_not_depend_on_batch(np.repeat(alone, size, 0), session.run(None, many)[0])
    if variant.loss is None:
        return f"within {parity.level_error(alone, case)} levels of PyTorch, the same in any batch"
    psnr = parity.psnr(case.pixels - alone)
    if psnr < variant.loss.psnr - SPREAD:
        raise ParityError(f"{psnr:.1f} dB to PyTorch; it was {variant.loss.psnr:.1f} dB at export")
    return f"{psnr:.1f} dB to PyTorch, the same in any batch"
