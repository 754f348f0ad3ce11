"""An artifact's README: what it is and how good, in words."""

from collections.abc import Iterator

from serving import manifest
from serving.manifest import Evaluation, Manifest


def describe(label: Manifest) -> str:
    """Write the artifact's README."""
    pictures = "\n".join(f"![what {name} makes]({name}.png)" for name in label.graphs)
    return f"# {label.name}\n\n{pictures}\n\n{_origin(label)}" + "".join(
        _describe_scores(evaluation, label.task) for evaluation in label.metrics
    )


def _origin(label: Manifest) -> str:
    rest = (
        "Everything else, the hyperparameters and the parity with PyTorch among it, is in "
        f"[{manifest.FILE}]({manifest.FILE})."
    )
    match label.training:
        case manifest.Imported(layout=layout, files=files):
            hashes = "".join(f"| {name} | `{digest}` |\n" for name, digest in files.items())
            return (
                f"`{label.entry}`, made of weights in the layout of {layout}, which don't say what they "
                f"were trained on. {rest}\n\n| graph | SHA-256 of its weights' file |\n|---|---|\n{hashes}"
            )
        case training:
            command = f"ganzoo train {label.entry} --data {training.data} --steps {training.steps}"
            return (
                f"`{label.entry}` trained on `{training.data}` for {training.steps} steps, seed "
                f"{training.seed}. Licence of the data: {label.licence}. {rest}\n\n"
                f"    {command}  # and the hyperparameters of {manifest.FILE}\n"
            )


def proofs(label: Manifest) -> Iterator[str]:
    """Give a line for each file of a graph: its name, and how far it is from its generator."""
    for graph in label.graphs.values():
        for variant in graph.variants:
            match variant:
                case manifest.Variant(file=file, parity=manifest.Parity(max_abs_error=error)):
                    yield f"{file}: greatest difference from PyTorch {error:.1e}"
                case manifest.Variant(file=file, loss=manifest.Loss(psnr=psnr, max_level_error=worst)):
                    yield f"{file}: {psnr:.1f} dB to the float graph, at worst {worst} levels"


def rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Give a line for each score: its name, the artifact's, and every control's, blank where it has none."""
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
