"""From a run to an artifact: graphs proven equal to the weights they came from, with their label."""

import dataclasses
import hashlib
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from serving import images, manifest
from serving.engine import Engine
from training import checkpoint, parity
from training.config import Card
from training.describe import describe
from training.draw import describe_inputs, graphs_of_engine
from training.durable import new_folder
from training.graph import OPSET, finish, trace
from training.loop import Training
from training.pixels import as_fed, as_served
from zoo.entry import Entry, Inputs


def export(run: Path, artifact: Path) -> manifest.Manifest:
    """Export the averaged generators of a run's newest checkpoint as an artifact.

    Everything is written beside the artifact's place, accepted by the server's own engine, and renamed, so
    that a refusal leaves what is there alone.

    Raises:
        ValueError: there is no run or no checkpoint (ValueError itself), a generator can't become a graph
            (`GraphError`), or the graph is not equal to it (`ParityError`).
    """
    artifact = artifact.resolve()
    must_be_replaceable(artifact)
    training = restore(run)
    card = training.card
    provenance = manifest.Training(
        data=card.data_name,
        steps=training.done,
        seed=card.run.seed,
        ema=card.run.ema,
        software=card.software,
    )
    return write_artifact(
        artifact,
        Exportable(
            card.name,
            card.entry,
            card.data_name,
            training.average.generators,
            training.probe,
            training.columns,
        ),
        {
            "labels": list(card.labels) if card.entry.classes else [],
            "training": provenance,
            "licence": card.licence,
        },
    )


class Exportable(NamedTuple):
    """Generators and what is known of them."""

    name: str
    """The entry's name, or its import path."""

    entry: Entry

    data: str
    """Name of the data that they learned from."""

    generators: nn.ModuleDict
    """In evaluation mode, on the CPU."""

    probe: Inputs
    """What each is fed, to prove its graph by and to draw its sheet of."""

    columns: int
    """Examples in a row of a sheet."""


def write_artifact(artifact: Path, source: Exportable, about: dict[str, Any]) -> manifest.Manifest:
    """Write generators as an artifact.

    Args:
        artifact: its folder, absolute.
        source: what becomes of it.
        about: the manifest's fields that are not of the graphs.

    Raises:
        ValueError: a generator can't become a graph (`GraphError`), or the graph is not equal to it
            (`ParityError`).
    """
    with new_folder(artifact) as folder:
        label = manifest.Manifest(
            name=artifact.name,
            entry=source.name,
            hyperparameters=dataclasses.asdict(source.entry),
            task=source.entry.task,
            graphs={name: _write_graph(name, source, folder) for name in source.generators},
            **about,
        )
        (folder / manifest.FILE).write_bytes(label.to_json())
        _accept(folder, source)
        (folder / "README.md").write_text(describe(label), encoding="utf-8")
    return label


def must_be_replaceable(artifact: Path) -> None:
    """Refuse a place that has no name for an artifact, or holds something else than one."""
    if not re.fullmatch(manifest.NAME, artifact.name):
        raise ValueError(f"an artifact's name is of letters, digits, '.', '_' and '-'; got {artifact.name!r}")
    if artifact.exists() and not (artifact / manifest.FILE).exists():
        raise ValueError(f"{artifact} is there and is no artifact; choose another place")


def restore(run: Path) -> Training:
    """Bring a run's newest checkpoint back, on the CPU.

    Raises:
        ValueError: the folder holds no run or no checkpoint.
    """
    card = Card.read(run)
    found = checkpoint.load(run / "checkpoints")
    if found is None:
        raise ValueError(f"{run} has no checkpoint yet; train it first")
    training = Training(dataclasses.replace(card, run=dataclasses.replace(card.run, device="cpu")))
    training.restore(*found)
    return training


def _write_graph(name: str, source: Exportable, folder: Path) -> manifest.Graph:
    generator = source.generators[name]
    inputs = describe_inputs(source.entry, source.probe[name])
    cases = list(parity.cases(inputs, source.probe[name]))
    model = trace(generator, _example(inputs, cases[0]), source.entry.multiple)
    proof = parity.measure(generator, model, cases)
    data = finish(model, {"entry": source.name, "graph": name, "data": source.data})
    (folder / f"{name}.onnx").write_bytes(data)
    variant = manifest.Variant(
        file=f"{name}.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        provider="any",
        precision="float32",
        parity=proof,
    )
    with torch.no_grad():
        output = generator(**{key: as_fed(value) for key, value in cases[0].items()})
    described = _describe_output(output, any_size="image" in inputs)
    return manifest.Graph(opset=OPSET, inputs=inputs, output=described, variants=[variant])


def _example(specs: dict[str, manifest.Tensor], case: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give inputs to trace a graph with; an image of two sides, neither the least: those would be fixed."""
    if "image" not in specs:
        return case
    _, least = specs["image"].grid
    return {"image": torch.zeros(2, 2 * least, 3 * least, specs["image"].size, dtype=torch.uint8)}


def _describe_output(output: Tensor, any_size: bool) -> manifest.Tensor:
    shape: list[int | str]
    if output.ndim == 4:
        _, channels, height, width = output.shape
        shape = ["batch", *(("height", "width") if any_size else (height, width)), channels]
        return manifest.Tensor(dtype="uint8", shape=shape, meaning="image", range=(0, 255))
    low, high = float(math.floor(output.min().item())), float(math.ceil(output.max().item()))
    shape = ["batch", *output.shape[1:]]
    return manifest.Tensor(dtype="float32", shape=shape, meaning="vector", range=(low, max(high, low + 1)))


def _accept(folder: Path, source: Exportable) -> None:
    """Open the artifact as the server does, and draw its sheets with it."""
    engine = Engine(folder, "cpu")
    graphs = graphs_of_engine(engine)
    for name, graph in engine.manifest.graphs.items():
        inputs = {key: as_served(value) for key, value in source.probe[name].items()}
        picture = graphs.picture(name, inputs, source.columns, graph.output.range)
        (folder / f"{name}.png").write_bytes(images.encode_png(picture))
