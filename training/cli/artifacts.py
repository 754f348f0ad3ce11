"""The commands `list`, `export`, `import` and `evaluate`."""

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
        pretrained: List the pretrained artifacts and their scores instead.
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
    from serving.runtime.pretrained import pretrained, table

    rows = pretrained()
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else table(rows))


def export(
    run: Positional[Path],
    artifact: Positional[Path | None] = None,
    *,
    precision: tuple[Literal["fp16", "int8"], ...] = (),
    checkpoint: str = "newest",
    licence: str | None = None,
    credit: str = "",
) -> None:
    """Export a run as an artifact: ONNX graphs checked against PyTorch, and a manifest.

    Args:
        run: Folder of the run.
        artifact: Folder of the artifact; by default artifacts/NAME, with the name of the run's folder.
        precision: Additional smaller precisions of the graphs: fp16 for CUDA; int8 for the CPU, calibrated on
            the run's data.
        checkpoint: Checkpoint to export: newest; best, that of the best score, which --keep-best keeps; or a
            step.
        licence: Licence of the training data, such as CC-BY-4.0; by default the one that the data state.
        credit: Who made the training data, for the model card.
    """
    from serving.runtime.artifact import read_manifest
    from training.api import export
    from training.artifacts.model_card import proofs

    folder = export(run, artifact, precision=precision, checkpoint=checkpoint, licence=licence, credit=credit)
    for line in proofs(read_manifest(folder)):
        print(folder / line)


def import_weights(
    entry: Positional[Literal["cyclegan", "esrgan"]],
    weights: Positional[tuple[Path, ...]],
    *,
    artifact: Path,
) -> None:
    """Convert weights that were trained elsewhere to an artifact; no code in the files is run.

    Args:
        entry: Layout of the weights: cyclegan, the original PyTorch code (resnet_9blocks, resnet_6blocks); or
            esrgan, RRDBNet with the names of BasicSR, of ESRGAN's repository or of its first version.
        weights: Files of state dicts: for cyclegan, the generator from a to b and, optionally, that from b to
            a; for esrgan, one file.
        artifact: Folder of the artifact.
    """
    from training.artifacts.import_cyclegan import import_cyclegan
    from training.artifacts.import_esrgan import import_esrgan

    match entry:
        case "cyclegan":
            import_cyclegan(weights, artifact)
        case "esrgan":
            import_esrgan(weights, artifact)
    print(artifact)


def evaluate(
    artifact: Positional[Path],
    *,
    data: str,
    n: int = 10_000,
    seed: int = 0,
    features: Literal["auto", "efficientnet", "classifier", "inception"] = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Score an artifact's outputs against data and write the scores into its manifest.

    Args:
        artifact: Folder or name of the artifact.
        data: Data to compare with, as for training; their held-out examples are scored as controls.
        n: Number of samples and of real examples, or of images of each domain to translate.
        seed: Seed of the first sample.
        features: Feature extractor for images: efficientnet, trained on ImageNet; classifier, a small network
            trained on the labelled data; inception; or auto, the classifier for glyphs, MNIST and
            Fashion-MNIST, and efficientnet otherwise.
        device: Device for feature extraction: auto, cpu, cuda, ...
        precision: Precision of the graphs to score: fp32, or a smaller one that the artifact has.
        as_json: Print JSON instead of a table.
    """
    from training.api import evaluate
    from training.artifacts.evaluate import table

    evaluation = evaluate(
        artifact, data, n=n, seed=seed, features=features, device=device, precision=precision
    )
    print(evaluation.model_dump_json(indent=2) if as_json else table(evaluation))
