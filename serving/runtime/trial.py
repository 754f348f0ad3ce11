"""The trial of an artifact: every graph draws real samples or translates real images before it is used."""

from collections.abc import Callable, Mapping

import numpy as np

from serving.arrays import Array
from serving.errors import EngineError
from serving.runtime.latents import draw_inputs
from serving.runtime.manifest import Graph, Manifest
from serving.runtime.tensor import Tensor

Inputs = Mapping[str, Array]
Run = Callable[[str, Inputs], Array]
"""A function that runs a graph by name."""

ROWS = 3
"""Rows of the larger batch; the smaller one has one row."""

MAX_DIFFERENCE = 1e-3
"""Maximum difference of a vector's numbers between batches, absolute and relative; pixels may differ by one
level."""


def must_work(manifest: Manifest, run: Run) -> None:
    """Try every graph of an artifact.

    Raises:
        EngineError: a graph can't be run, or its output is not as it must be.
    """
    for name, graph in manifest.graphs.items():
        try_out(name, graph, lambda inputs, name=name: run(name, inputs))  # type: ignore[misc]


def try_out(name: str, graph: Graph, run: Callable[[Inputs], Array]) -> None:
    """Run a graph on inputs that its manifest describes, in batches of two sizes.

    A graph that samples gets the latents of seeds, and its first and last class. A graph that translates gets
    noise, which is higher than wide. The outputs must have the type and the shape in the manifest, be finite,
    and be the same in both batches.

    Raises:
        EngineError: the graph can't be run, or its output is not as it must be.
    """
    inputs = real_inputs(graph, ROWS)
    many = _output(name, graph, run, inputs)
    for row in (0, ROWS - 1):
        alone = _output(name, graph, run, {key: array[row : row + 1] for key, array in inputs.items()})
        if not _is_same(many[row], alone[0]):
            raise EngineError(
                f"the graph {name} must give a row the same output in every batch; got different ones"
            )


def real_inputs(graph: Graph, rows: int) -> dict[str, Array]:
    """Return inputs as requests have them: latents and classes of seeds, or images of noise."""
    if "image" in graph.inputs:
        return {"image": _noise(graph.inputs["image"], rows)}
    inputs = draw_inputs(graph.inputs, list(range(rows)))
    if "label" in inputs:
        inputs["label"][-1] = graph.classes - 1
    return inputs


def _noise(image: Tensor, rows: int) -> Array:
    multiple, least = image.grid
    shape = (rows, least + multiple, least, image.size)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _output(name: str, graph: Graph, run: Callable[[Inputs], Array], inputs: Inputs) -> Array:
    """Run a graph and check the type and the shape of its output.

    Raises:
        EngineError: the graph can't be run, or its output is not as the manifest says.
    """
    try:
        output = run(inputs)
    except Exception as error:  # ONNX Runtime's own errors share no class
        raise EngineError(f"the graph {name} can't be run: {error}") from error
    rows, *sizes = next(iter(inputs.values())).shape
    sides = [graph.scale * side for side in sizes[:2]] if graph.any_size else graph.output.shape[1:3]
    wanted = (rows, *sides, *graph.output.shape[3:])
    if output.shape != wanted or output.dtype != graph.output.dtype:
        raise EngineError(
            f"the output of the graph {name} must be {graph.output.dtype} {wanted}; "
            f"got {output.dtype} {output.shape}"
        )
    if not np.isfinite(output).all():
        raise EngineError(f"the output of the graph {name} must be finite; got NaN or infinity")
    return output


def _is_same(one: Array, other: Array) -> bool:
    if one.dtype == np.uint8:
        return int(np.abs(one.astype(np.int16) - other).max()) <= 1
    return np.allclose(one, other, MAX_DIFFERENCE, MAX_DIFFERENCE)
