"""From a run to an artifact: graphs proven equal to the weights they came from, with their label."""

import dataclasses
import hashlib
import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from serving import images, manifest
from serving.engine import Engine
from training import checkpoint, parity
from training.config import Card
from training.draw import describe_inputs
from training.durable import new_folder
from training.graph import OPSET, finish, trace
from training.loop import Training


def export(run: Path, artifact: Path) -> manifest.Manifest:
    """Export the averaged generators of a run's newest checkpoint as an artifact.

    Everything is written beside the artifact's place, accepted by the server's own engine, and renamed, so
    that a refusal leaves what is there alone.

    Raises:
        ValueError: there is no run or no checkpoint (ValueError itself), a generator can't become a graph
            (`GraphError`), or the graph is not equal to it (`ParityError`).
    """
    artifact = artifact.resolve()
    _must_be_replaceable(artifact)
    training = restore(run)
    with new_folder(artifact) as folder:
        graphs = {
            name: _write_graph(name, generator, training.probe[name], folder, training.card)
            for name, generator in training.average.generators.items()
        }
        label = _label(artifact.name, training, graphs)
        (folder / manifest.FILE).write_bytes(label.to_json())
        _accept(folder, training)
        (folder / "README.md").write_text(describe(label), encoding="utf-8")
    return label


def _must_be_replaceable(artifact: Path) -> None:
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


def _write_graph(
    name: str, generator: nn.Module, example: dict[str, Tensor], folder: Path, card: Card
) -> manifest.Graph:
    model = trace(generator, example)
    proof = parity.measure(generator, model, example)
    data = finish(model, {"entry": card.name, "graph": name, "data": card.data_name})
    (folder / f"{name}.onnx").write_bytes(data)
    variant = manifest.Variant(
        file=f"{name}.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        provider="any",
        precision="float32",
        parity=proof,
    )
    with torch.no_grad():
        output = generator(**example)
    inputs = describe_inputs(card.entry, example)
    return manifest.Graph(opset=OPSET, inputs=inputs, output=_describe_output(output), variants=[variant])


def _describe_output(output: Tensor) -> manifest.Tensor:
    shape: list[int | str]
    if output.ndim == 4:
        _, channels, height, width = output.shape
        shape = ["batch", height, width, channels]
        return manifest.Tensor(dtype="uint8", shape=shape, meaning="image", range=(0, 255))
    low, high = float(math.floor(output.min().item())), float(math.ceil(output.max().item()))
    shape = ["batch", *output.shape[1:]]
    return manifest.Tensor(dtype="float32", shape=shape, meaning="vector", range=(low, max(high, low + 1)))


def _label(name: str, training: Training, graphs: dict[str, manifest.Graph]) -> manifest.Manifest:
    card = training.card
    provenance = manifest.Training(
        data=card.data_name,
        steps=training.done,
        seed=card.run.seed,
        ema=card.run.ema,
        software=card.software,
    )
    return manifest.Manifest(
        name=name,
        entry=card.name,
        hyperparameters=dataclasses.asdict(card.entry),
        task=card.entry.task,
        graphs=graphs,
        labels=list(card.labels) if card.entry.classes else [],
        training=provenance,
        licence=card.licence,
    )


def _accept(folder: Path, training: Training) -> None:
    """Open the artifact as the server does, and draw its sheets with it."""
    engine = Engine(folder, "cpu")
    for name, graph in engine.manifest.graphs.items():
        output = engine.run(name, {key: value.numpy() for key, value in training.probe[name].items()})
        picture = images.picture(output, graph.output.range, training.columns)
        (folder / f"{name}.png").write_bytes(images.encode_png(picture))


def describe(label: manifest.Manifest) -> str:
    """Write the artifact's README."""
    pictures = "\n".join(f"![what {name} makes]({name}.png)" for name in label.graphs)
    command = f"ganzoo train {label.entry} --data {label.training.data} --steps {label.training.steps}"
    return (
        f"# {label.name}\n\n{pictures}\n\n"
        f"`{label.entry}` trained on `{label.training.data}` for {label.training.steps} steps, seed "
        f"{label.training.seed}. Licence of the data: {label.licence}. Everything else, the hyperparameters "
        f"and the parity with PyTorch among it, is in [{manifest.FILE}]({manifest.FILE}).\n\n"
        f"    {command}  # and the hyperparameters of {manifest.FILE}\n"
        + "".join(_describe_scores(evaluation) for evaluation in label.metrics)
    )


def _describe_scores(evaluation: manifest.Evaluation) -> str:
    by = f" by the features of {evaluation.features['name']}" if evaluation.features else ""
    rows = "".join(
        f"| {name} | {value:.4g} | {evaluation.floor[name]:.4g} |\n"
        for name, value in evaluation.scores.items()
    )
    return (
        f"\n{evaluation.samples} samples held against `{evaluation.data}`{by}, beside as many held-out real "
        f"examples:\n\n| score | samples | real |\n|---|---|---|\n{rows}"
    )
