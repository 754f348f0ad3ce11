"""The verbs about artifacts and entries: `list`, `export`, `import`, `verify` and `evaluate`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from serving.runtime.manifest import Precision
from zoo import registry


def list_entries(*, pretrained: bool = False, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """List the entries of the zoo.

    Args:
        pretrained: List the trained artifacts that come with it instead, and how good they are.
        as_json: Print JSON instead of a table.
    """
    if pretrained:
        _list_pretrained(as_json)
        return
    entries = [
        {"name": name, "path": path, "summary": registry.summary(name)}
        for name, path in registry.ENTRIES.items()
    ]
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    width = max(map(len, registry.ENTRIES))
    for entry in entries:
        print(f"{entry['name']:{width}}  {entry['summary']}")


def _list_pretrained(as_json: bool) -> None:
    from training.artifacts.pretrained import pretrained, table

    rows = pretrained()
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else table(rows))


def export(
    run: Positional[Path],
    artifact: Positional[Path | None] = None,
    *,
    precision: tuple[Literal["fp16", "int8"], ...] = (),
) -> None:
    """Make an artifact of a run: ONNX graphs held against PyTorch, and their manifest.

    Args:
        run: The run's folder.
        artifact: Where to; by default artifacts/NAME, NAME being that of the run's folder.
        precision: Smaller types that the graphs are to be there in too: fp16, for CUDA; int8, for the CPU,
            calibrated on the run's data.
    """
    from training.artifacts.export import export
    from training.artifacts.model_card import proofs

    folder = artifact or Path("artifacts") / run.resolve().name
    for line in proofs(export(run, folder, precision)):
        print(folder / line)


def import_weights(
    entry: Positional[Literal["cyclegan"]],
    weights: Positional[tuple[Path, ...]],
    *,
    artifact: Path,
) -> None:
    """Make an artifact of weights that were trained elsewhere, without running anything that is in them.

    Args:
        entry: Whose: cyclegan, in the layout of the original PyTorch code (resnet_9blocks, resnet_6blocks).
        weights: Files of state dicts: of the generator from a to b, and of the one back where there is one.
        artifact: Where to.
    """
    from training.artifacts.import_weights import import_cyclegan

    import_cyclegan(weights, artifact)
    print(artifact)


def verify(artifact: Positional[Path]) -> None:
    """Check an artifact again: its hashes, its graphs, and that they still give what PyTorch gave.

    Args:
        artifact: The artifact's folder.
    """
    from training.artifacts.verify import verify

    for line in verify(artifact):
        print(line)


def evaluate(
    artifact: Positional[Path],
    *,
    data: str,
    n: int = 10_000,
    seed: int = 0,
    features: Literal["auto", "classifier", "inception"] = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Score what an artifact makes against data; the scores go into its manifest.

    Args:
        artifact: The artifact's folder.
        data: What to compare with, as for a run; held-out examples of it make the controls.
        n: How many samples, and as many real ones; or images of either domain to translate.
        seed: Of the first sample.
        features: What images are compared by: a small classifier that is trained where the data have labels,
            Inception, or auto, the classifier where it can be.
        device: Where the features are extracted: auto, cpu, cuda, ...
        precision: Of the graphs that are scored: fp32, or what they were exported in too.
        as_json: Print JSON instead of a table.
    """
    from training.artifacts.evaluate import evaluate, table

    evaluation = evaluate(artifact, data, n, seed, features, device, precision)
    print(evaluation.model_dump_json(indent=2) if as_json else table(evaluation))
