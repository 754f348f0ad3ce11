"""The model card, an artifact's README: its origin, scores and limits."""

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from serving.runtime.manifest import MANIFEST_FILE, Evaluation, Loss, Manifest, Parity, Variant
from serving.runtime.origin import Imported, Training
from training.run.train_config import TrainConfig
from zoo import registry

NEAREST_FILE = "nearest.png"
"""Sheet of the samples that are nearest to training images, written by the evaluation."""


COPIES = f"""
The samples that are nearest to training images, each above its training image:

![samples above their nearest training images]({NEAREST_FILE})
"""


def describe(manifest: Manifest) -> str:
    """Return the artifact's README in Markdown."""
    pictures = "\n".join(f"![outputs of {name}]({name}.png)" for name in manifest.graphs)
    copied = [evaluation for evaluation in manifest.metrics if "memorised" in evaluation.scores]
    scores = "".join(
        # The sheet is that of the last evaluation.
        _describe_scores(evaluation, manifest.task) + (COPIES if copied and evaluation is copied[-1] else "")
        for evaluation in manifest.metrics
    )
    origin = _origin(manifest) + _classes(manifest)
    return f"# {manifest.name}\n\n{pictures}\n\n{origin}{scores}\n{_limits(manifest)}"


def _origin(manifest: Manifest) -> str:
    rest = (
        "All hyperparameters, software versions and differences from PyTorch are in "
        f"[{MANIFEST_FILE}]({MANIFEST_FILE})."
    )
    match manifest.training:
        case Imported(layout=layout, files=files):
            hashes = "".join(f"| {name} | `{digest}` |\n" for name, digest in files.items())
            return (
                f"`{manifest.entry}`, imported from weights in the layout of {layout}. The training data are "
                f"unknown. {rest}\n\n| graph | SHA-256 of the file of weights |\n|---|---|\n{hashes}"
            )
        case training:
            return (
                f"`{manifest.entry}` trained on `{training.data}` for {training.steps} steps, seed "
                f"{training.seed}{_started_from(training)}.{_score(training)}{_against(training)} "
                f"Licence of the data: {manifest.licence}.{_credit(manifest)} {rest} To train a similar "
                f"model:\n\n    {command(manifest, training)}\n"
            )


def _credit(manifest: Manifest) -> str:
    return f" Credit: {manifest.credit}." if manifest.credit else ""


def _started_from(training: Training) -> str:
    return "".join(
        f", started from `{each.run}` (`{each.entry}` trained on `{each.data}` for {each.steps} steps)"
        for each in training.lineage
    )


def _score(training: Training) -> str:
    if not (score := training.score):
        return ""
    best = ", the best of the run" if score.best else ""
    return f" Score during the run: {score.name} {score.value:.4g}{best}."


def _against(training: Training) -> str:
    if not (names := training.trained_against):
        return ""
    return (
        f" It was trained against the pretrained network of the features {', '.join(names)}, in which it is "
        "therefore not scored."
    )


def _classes(manifest: Manifest) -> str:
    names = ", ".join(f"`{name}`" for name in manifest.labels)
    return f"\nThe {len(manifest.labels)} classes are {names}.\n" if names else ""


def _limits(manifest: Manifest) -> str:
    """Return the section on limits."""
    graph = next(iter(manifest.graphs.values()))
    match manifest.task:
        case "translate":
            height, width = graph.inputs["image"].trained_size or (0, 0)
            limit = (
                f"The model was trained on images of {width}x{height} pixels. Images of other sizes may be "
                "translated less well."
            )
        case "sample":
            limit = (
                "The model generates samples that resemble its training data. Rare examples are generated "
                "even more rarely."
            )
    return (
        f"## Limits\n\n{limit} Scores are comparable only for the same data, features and number of samples. "
        "The outputs are synthetic. Mark them as such where they could be mistaken for real data.\n"
    )


def command(manifest: Manifest, training: Training) -> str:
    """Return the command that trains a similar model; it has only flags that differ from the defaults."""
    used = manifest.hyperparameters
    try:
        kind = registry.load(manifest.entry)
        used = kind.present(used)
        usual = dataclasses.asdict(kind().for_data(classes=len(manifest.labels)))
    except (TypeError, ValueError):  # an external entry that can't be imported, or one without defaults
        usual = {}
    chosen = {"data": training.data, "steps": training.steps}
    for parent in training.lineage[:1]:
        chosen["from"] = f"runs/{parent.run}@{parent.steps}"
    if training.schedule_steps:
        chosen["schedule_steps"] = training.schedule_steps
    chosen |= {
        name: _plain(value)
        for name in ("seed", "ema", "fit", "value_range")
        if (value := getattr(training, name)) != getattr(TrainConfig(), name)
    }
    chosen |= {
        name: _plain(value)
        for name, value in used.items()
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
                    yield f"{file}: maximum difference from PyTorch {error:.1e}"
                case Variant(file=file, loss=Loss(psnr=psnr, max_level_error=worst)):
                    yield f"{file}: PSNR {psnr:.1f} dB to the fp32 graph, maximum difference {worst} levels"


def rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Yield a row for each score: its name, its value, and the value of each control, or blank."""
    for name, value in evaluation.scores.items():
        controls = (scores.get(name) for scores in evaluation.controls.values())
        yield name, *("" if each is None else f"{each:.4g}" for each in (value, *controls))


def _describe_scores(evaluation: Evaluation, task: str) -> str:
    by = f", with the features {evaluation.features['name']}" if evaluation.features else ""
    columns = ["score", "artifact", *evaluation.controls]
    lines = [columns, ["---"] * len(columns), *rows(evaluation)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    by += "" if evaluation.precision == "fp32" else f", in {evaluation.precision}"
    what = {"sample": "samples", "translate": "translations per direction"}[task]
    return f"\nScores of {evaluation.samples} {what} against `{evaluation.data}`{by}:\n\n{table}"
