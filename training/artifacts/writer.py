"""Writing of an artifact: graphs, golden examples, manifest, model card and sample sheets."""

import dataclasses
import hashlib
import math
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serving.errors import UserError
from serving.imaging import codec
from serving.imaging.provenance import is_wanted
from serving.imaging.values import ValueRange
from serving.runtime.artifact import must_be_a_name
from serving.runtime.engine import Engine
from serving.runtime.golden import EXPECTED, Case
from serving.runtime.load import pipeline_of
from serving.runtime.manifest import MANIFEST_FILE, Golden, Graph, Manifest, Variant
from serving.runtime.tensor import Tensor as TensorSpec
from serving.runtime.trial import must_work
from serving.system.files import new_folder
from training.artifacts.model_card import describe
from training.graphs import parity
from training.graphs.pixels import all_as_served
from training.graphs.reach import reach
from training.graphs.torch_pipeline import describe_inputs
from training.graphs.trace import OPSET, finish
from training.graphs.variants import Proven, Smaller, variants
from training.run.software import software
from zoo.entry import Entry, Inputs

EXPORTERS = ("onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")
"""Distribution names of the packages that export graphs; their versions go into the manifest."""

GOLDEN = 2
"""Number of golden examples of each graph, for later verification."""


class Exportable(NamedTuple):
    """Generators to export, and their metadata."""

    name: str
    """Name or import path of the entry."""

    entry: Entry

    data: str
    """Name of the training data."""

    generators: nn.ModuleDict
    """Generators by name, in evaluation mode, on the CPU."""

    preview: Inputs
    """Inputs of each generator, for the parity checks and the sample sheet."""

    columns: int
    """Number of examples in a row of the sample sheet."""

    value_range: ValueRange | None = None
    """Values that became 0 and 255, for images with more than 8 bits per channel; None for the default."""

    smaller: Smaller | None = None
    """Additional variants in smaller precisions, if any."""


def write_artifact(artifact: Path, source: Exportable, about: dict[str, Any]) -> Manifest:
    """Write generators as an artifact.

    Args:
        artifact: absolute path of its folder.
        source: the generators to export.
        about: additional fields of the manifest.

    Raises:
        UserError: a generator can't be exported (`GraphError`), or a graph differs from it by more than its
            bound (`ParityError`).
    """
    with new_folder(artifact) as folder:
        manifest = Manifest(
            name=artifact.name,
            entry=source.name,
            hyperparameters=dataclasses.asdict(source.entry),
            task=source.entry.task,
            software=software() | _exporters(),
            graphs={name: _write_graph(name, source, folder) for name in source.generators},
            **about,
        )
        (folder / MANIFEST_FILE).write_bytes(manifest.to_json())
        _accept(folder, source)
        (folder / "README.md").write_text(describe(manifest), encoding="utf-8")
    return manifest


def _exporters() -> dict[str, str]:
    """Return the versions of the installed exporters."""
    found = {}
    for package in EXPORTERS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def must_be_replaceable(artifact: Path) -> None:
    """Check that an artifact can be written to a path.

    Raises:
        UserError: the name is not valid, or the path exists and is not an artifact.
    """
    must_be_a_name(artifact.name)
    if artifact.exists() and not (artifact / MANIFEST_FILE).exists():
        raise UserError(f"{artifact} exists and is not an artifact; choose another path")


def _write_graph(name: str, source: Exportable, folder: Path) -> Graph:
    generator = source.generators[name]
    inputs = describe_inputs(source.entry, source.preview[name], source.value_range)
    tried = list(parity.cases(inputs, source.preview[name]))
    *cases, golden = parity.solve(generator, [*tried, _some(source.preview[name])])
    example = _example(inputs, tried[0])
    files = list(variants(name, generator, example, source.entry.multiple, cases, source.smaller))
    if "image" in inputs:
        inputs["image"] = inputs["image"].model_copy(update={"reach": reach(files[0].model)})
    return Graph(
        opset=OPSET,
        inputs=inputs,
        output=_describe_output(torch.from_numpy(cases[0].expected), "image" in inputs, source.entry.scale),
        golden=_write_golden(f"{name}.golden.safetensors", golden, folder),
        variants=[_write_variant(name, proven, source, folder) for proven in files],
    )


def _write_variant(name: str, proven: Proven, source: Exportable, folder: Path) -> Variant:
    data = finish(proven.model, {"entry": source.name, "graph": name, "data": source.data})
    kind = "" if proven.provider == "any" else f".{proven.provider}.{proven.precision}"
    (folder / f"{name}{kind}.onnx").write_bytes(data)
    return Variant(
        file=f"{name}{kind}.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        provider=proven.provider,
        precision=proven.precision,
        parity=proven.parity,
        loss=proven.loss,
    )


def _write_golden(file: str, case: Case, folder: Path) -> Golden:
    """Write example inputs with the generator's output, for later verification of the artifact."""
    arrays = {**case.inputs, EXPECTED: case.expected}
    data = safetensors.numpy.save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
    (folder / file).write_bytes(data)
    return Golden(file=file, sha256=hashlib.sha256(data).hexdigest())


def _some(preview: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the first GOLDEN inputs of a generator in its graph's format."""
    return {key: torch.from_numpy(array[:GOLDEN]) for key, array in all_as_served(preview).items()}


def _example(specs: dict[str, TensorSpec], case: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs to trace a graph with.

    An image's height and width differ and exceed the minimum; otherwise the exporter would fix them.
    """
    if "image" not in specs:
        return case
    _, least = specs["image"].grid
    return {"image": torch.zeros(2, 2 * least, 3 * least, specs["image"].size, dtype=torch.uint8)}


def _describe_output(output: Tensor, any_size: bool, scale: int) -> TensorSpec:
    shape: list[int | str]
    if output.ndim == 4:
        _, channels, height, width = output.shape
        shape = ["batch", *(("height", "width") if any_size else (height, width)), channels]
        return TensorSpec(
            dtype="uint8",
            shape=shape,
            meaning="image",
            range=(0, 255),
            scale=scale if scale > 1 else None,
        )
    low, high = float(math.floor(output.min().item())), float(math.ceil(output.max().item()))
    shape = ["batch", *output.shape[1:]]
    return TensorSpec(dtype="float32", shape=shape, meaning="vector", range=(low, max(high, low + 1)))


def _accept(folder: Path, source: Exportable) -> None:
    """Open the artifact with the serving engine, try it, and render its sample sheets."""
    engine = Engine(folder, "cpu")
    must_work(engine.manifest, engine.run)
    pipeline = pipeline_of(engine, provenance=is_wanted())
    for name, graph in engine.manifest.graphs.items():
        inputs = all_as_served(source.preview[name])
        picture = pipeline.picture(name, inputs, source.columns, graph.output.range)
        (folder / f"{name}.png").write_bytes(codec.encode_png(picture, pipeline.provenance))


def example_images(channels: int, size: int) -> Tensor:
    """Draw two smooth random images, (2, channels, size, size) in [-1, 1], for weights without data."""
    coarse = torch.rand(2, channels, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False).clamp(-1, 1)
