"""The model card, an artifact's README: its origin, scores and limits."""

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from serving.runtime.manifest import (
    MANIFEST_FILE,
    Evaluation,
    Imported,
    Loss,
    Manifest,
    Parity,
    Training,
    Variant,
)
from training.run.config import TrainConfig
from zoo import registry


def describe(manifest: Manifest) -> str:
    """Return the artifact's README in Markdown."""
    pictures = "\n".join(f"![what {name} makes]({name}.png)" for name in manifest.graphs)
    scores = "".join(_describe_scores(evaluation, manifest.task) for evaluation in manifest.metrics)
    return f"# {manifest.name}\n\n{pictures}\n\n{_origin(manifest)}{scores}\n{_limits(manifest)}"


def _origin(manifest: Manifest) -> str:
    rest = (
        "Everything else, the hyperparameters and the parity with PyTorch among it, is in "
        f"[{MANIFEST_FILE}]({MANIFEST_FILE})."
    )
    match manifest.training:
        case Imported(layout=layout, files=files):
            hashes = "".join(f"| {name} | `{digest}` |\n" for name, digest in files.items())
            return (
                f"`{manifest.entry}`, made of weights in the layout of {layout}, which don't say what they "
                f"were trained on. {rest}\n\n| graph | SHA-256 of its weights' file |\n|---|---|\n{hashes}"
            )
        case training:
            return (
                f"`{manifest.entry}` trained on `{training.data}` for {training.steps} steps, seed "
                f"{training.seed}. Licence of the data: {manifest.licence}. {rest} The like comes of\n\n"
                f"    {command(manifest, training)}\n"
            )


def _limits(manifest: Manifest) -> str:
    """Return the section on limits."""
    graph = next(iter(manifest.graphs.values()))
    match manifest.task:
        case "translate":
            height, width = graph.inputs["image"].trained_size or (0, 0)
            knows = (
                f"It learned from images of {width}x{height} pixels; what it makes of others may be worse."
            )
        case "sample":
            knows = (
                "It draws the like of its data and nothing else, and what is rare in them more seldom still."
            )
    return (
        f"## Limits\n\n{knows} Scores compare only where data, features and the number of samples are the "
        "same. What it makes is not real: say so where it could be taken for it.\n"
    )


def command(manifest: Manifest, training: Training) -> str:
    """Return the command that trains a similar model; it has only flags that differ from the defaults."""
    try:
        usual = dataclasses.asdict(registry.load(manifest.entry)())
    except (TypeError, ValueError):  # an external entry that can't be imported, or one without defaults
        usual = {}
    chosen = {"data": training.data, "steps": training.steps}
    chosen |= {
        name: value
        for name in ("seed", "ema")
        if (value := getattr(training, name)) != getattr(TrainConfig(), name)
    }
    chosen |= {
        name: _plain(value)
        for name, value in manifest.hyperparameters.items()
        if name not in usual or _plain(usual[name]) != _plain(value)
    }
    flags = (word for name, value in chosen.items() for word in _flag(name.replace("_", "-"), value))
    return shlex.join(["ganzoo", "train", manifest.entry, *flags])


def _plain(value: Any) -> Any:
    """Return a value as JSON represents it: tuples become lists."""
    return list(value) if isinstance(value, tuple) else value


def _flag(name: str, value: Any) -> list[str]:
    match value:
        case bool():
            return [f"--{name}" if value else f"--no-{name}"]
        case list():
            return [f"--{name}", *map(str, value)]
        case _:
            return [f"--{name}", str(value)]


def proofs(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each graph file: its name and its difference from the generator."""
    for graph in manifest.graphs.values():
        for variant in graph.variants:
            match variant:
                case Variant(file=file, parity=Parity(max_abs_error=error)):
                    yield f"{file}: greatest difference from PyTorch {error:.1e}"
                case Variant(file=file, loss=Loss(psnr=psnr, max_level_error=worst)):
                    yield f"{file}: {psnr:.1f} dB to the float graph, at worst {worst} levels"


def rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Yield a row for each score: its name, its value, and the value of each control, or blank."""
    for name, value in evaluation.scores.items():
        controls = (scores.get(name) for scores in evaluation.controls.values())
        yield name, *("" if each is None else f"{each:.4g}" for each in (value, *controls))


def _describe_scores(evaluation: Evaluation, task: str) -> str:
    by = f" by the features of {evaluation.features['name']}" if evaluation.features else ""
    columns = ["score", "artifact", *evaluation.controls]
    lines = [columns, ["---"] * len(columns), *rows(evaluation)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    by += "" if evaluation.precision == "fp32" else f", made in {evaluation.precision}"
    what = {"sample": "samples", "translate": "translations a direction"}[task]
    return f"\n{evaluation.samples} {what}, held against `{evaluation.data}`{by}:\n\n{table}"
