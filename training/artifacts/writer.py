"""An artifact written: the graphs of generators, what they are proven by, their label, card and sheets."""

import dataclasses
import hashlib
import math
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor, nn

from serving.errors import UserError
from serving.imaging import codec
from serving.runtime.engine import Engine
from serving.runtime.manifest import MANIFEST_FILE, NAME_PATTERN, Golden, Graph, Manifest, Variant
from serving.runtime.manifest import Tensor as TensorSpec
from serving.runtime.pipeline import pipeline_of
from serving.system.files import new_folder
from training.artifacts.model_card import describe
from training.graphs import parity
from training.graphs.pixels import all_as_served
from training.graphs.torch_pipeline import describe_inputs
from training.graphs.trace import OPSET, finish
from training.graphs.variants import Proven, Smaller, variants
from training.run.config import software
from zoo.entry import Entry, Inputs

EXPORTERS = ("onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")
"""Packages that graphs come out of, by their names where they are got from."""

GOLDEN = 2
"""Examples in an artifact that it can be checked with later."""

EXPECTED = "expected"
"""What a generator gives, among the inputs of a golden example."""


class Exportable(NamedTuple):
    """Generators and what is known of them."""

    name: str
    """The entry's name, or its import path."""

    entry: Entry

    data: str
    """Name of the data that they learned from."""

    generators: nn.ModuleDict
    """In evaluation mode, on the CPU."""

    preview: Inputs
    """What each is fed, to prove its graph by and to draw its sheet of."""

    columns: int
    """Examples in a row of a sheet."""

    smaller: Smaller | None = None
    """Types smaller than float32 that its graphs are wanted in too."""


def write_artifact(artifact: Path, source: Exportable, about: dict[str, Any]) -> Manifest:
    """Write generators as an artifact.

    Args:
        artifact: its folder, absolute.
        source: what becomes of it.
        about: the manifest's fields that are not of the graphs.

    Raises:
        UserError: a generator can't become a graph (`GraphError`), or the graph is not equal to it
            (`ParityError`).
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
    """Name the versions of those that are there."""
    found = {}
    for package in EXPORTERS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def must_be_replaceable(artifact: Path) -> None:
    """Refuse a place that has no name for an artifact, or holds something else than one."""
    if not re.fullmatch(NAME_PATTERN, artifact.name):
        raise UserError(f"an artifact's name is of letters, digits, '.', '_' and '-'; got {artifact.name!r}")
    if artifact.exists() and not (artifact / MANIFEST_FILE).exists():
        raise UserError(f"{artifact} is there and is no artifact; choose another place")


def _write_graph(name: str, source: Exportable, folder: Path) -> Graph:
    generator = source.generators[name]
    inputs = describe_inputs(source.entry, source.preview[name])
    tried = list(parity.cases(inputs, source.preview[name]))
    cases = parity.solve(generator, tried)
    (golden,) = parity.solve(generator, [_some(source.preview[name])])
    files = variants(
        name,
        generator,
        _example(inputs, tried[0]),
        source.entry.multiple,
        cases,
        source.smaller,
    )
    return Graph(
        opset=OPSET,
        inputs=inputs,
        output=_describe_output(torch.from_numpy(cases[0].expected), any_size="image" in inputs),
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


def _write_golden(file: str, case: parity.Case, folder: Path) -> Golden:
    """Write an example with what the generator gives for it, for whoever checks the artifact later."""
    arrays = {**case.inputs, EXPECTED: case.expected}
    data = safetensors.numpy.save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
    (folder / file).write_bytes(data)
    return Golden(file=file, sha256=hashlib.sha256(data).hexdigest())


def _some(preview: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the first few of what a generator is fed, as its graph is."""
    return {key: torch.from_numpy(array[:GOLDEN]) for key, array in all_as_served(preview).items()}


def _example(specs: dict[str, TensorSpec], case: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give inputs to trace a graph with; an image of two sides, neither the least: those would be fixed."""
    if "image" not in specs:
        return case
    _, least = specs["image"].grid
    return {"image": torch.zeros(2, 2 * least, 3 * least, specs["image"].size, dtype=torch.uint8)}


def _describe_output(output: Tensor, any_size: bool) -> TensorSpec:
    shape: list[int | str]
    if output.ndim == 4:
        _, channels, height, width = output.shape
        shape = ["batch", *(("height", "width") if any_size else (height, width)), channels]
        return TensorSpec(dtype="uint8", shape=shape, meaning="image", range=(0, 255))
    low, high = float(math.floor(output.min().item())), float(math.ceil(output.max().item()))
    shape = ["batch", *output.shape[1:]]
    return TensorSpec(dtype="float32", shape=shape, meaning="vector", range=(low, max(high, low + 1)))


def _accept(folder: Path, source: Exportable) -> None:
    """Open the artifact as the server does, and draw its sheets with it."""
    engine = Engine(folder, "cpu")
    pipeline = pipeline_of(engine)
    for name, graph in engine.manifest.graphs.items():
        inputs = all_as_served(source.preview[name])
        picture = pipeline.picture(name, inputs, source.columns, graph.output.range)
        (folder / f"{name}.png").write_bytes(codec.encode_png(picture))
