"""Artifacts by name: those of ./artifacts, and the pretrained ones that come with the package."""

from dataclasses import dataclass
from pathlib import Path

from serving.errors import UserError
from serving.runtime.artifact import artifact_folders, is_artifact, read_manifest
from serving.runtime.manifest import MANIFEST_FILE, Evaluation, Manifest
from serving.runtime.origin import Training

ARTIFACTS = Path("artifacts")
"""Folder of your own artifacts, below the working directory."""

RUN_FILE = "run.json"
"""File that identifies the folder of a training run."""

HEADLINES = ("frechet", "a2b_l1", "b2a_l1", "a2b_frechet", "upscale_psnr", "modes_covered", "wasserstein2")
"""Scores to show for an artifact; the first that it has is shown."""

CONTROLS = ("real", "recoloured", "untranslated", "bicubic")
"""Controls to show beside a score; the first with that score is shown."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Summary of an artifact."""

    name: str
    entry: str
    data: str
    megabytes: float
    """Total size of its files, in MB."""

    score: str
    """Name of the score in `value`; empty if there is none."""

    value: float | None
    control: str
    """Control of `reference`: held-out real data, or sources without translation; empty if there is none."""

    reference: float | None
    """The control's value of the same score."""


def pretrained_folder() -> Path:
    """Return the folder of the pretrained artifacts: in the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "pretrained"
    return installed if installed.is_dir() else package.parent / "artifacts"


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a training run."""
    return not is_artifact(folder) and (folder / RUN_FILE).exists()


def find_artifact(name: str | Path) -> Path:
    """Return the folder of an artifact, given its path or its name.

    A name is looked for in ./artifacts first, then among the pretrained artifacts.

    Raises:
        UserError: there is no such artifact.
    """
    given = Path(name)
    if is_artifact(given):
        return given
    if is_run(given):
        raise UserError(
            f"the folder {given} is a training run, not an artifact; "
            f"create an artifact with `ganzoo export {given}`"
        )
    if len(given.parts) == 1:
        for folder in (ARTIFACTS, pretrained_folder()):
            if is_artifact(folder / given):
                return folder / given
    if given.is_dir():
        raise UserError(
            f"the folder {given} is not an artifact: it has no {MANIFEST_FILE}; "
            "create one with `ganzoo export RUN`"
        )
    there = sorted({path.name for folder in (ARTIFACTS, pretrained_folder()) for path in _artifacts(folder)})
    raise UserError(
        f"there is no artifact {str(name)!r}; give the path of a folder or one of {', '.join(there)}"
    )


def _artifacts(folder: Path) -> list[Path]:
    return list(filter(is_artifact, artifact_folders(folder))) if folder.is_dir() else []


def pretrained(folder: Path | None = None) -> list[Pretrained]:
    """Return a summary of every artifact in a folder, by default the pretrained ones, sorted by name.

    Raises:
        UserError: a manifest is damaged (`ManifestError`).
    """
    return [_describe(place, read_manifest(place)) for place in _artifacts(folder or pretrained_folder())]


def _describe(place: Path, manifest: Manifest) -> Pretrained:
    size = sum(path.stat().st_size for path in place.iterdir()) / 1e6
    measured = [
        (name, evaluation)
        for evaluation in manifest.metrics
        for name in HEADLINES
        if name in evaluation.scores
    ]
    score, value, control, reference = _beside(*measured[0]) if measured else ("", None, "", None)
    match manifest.training:
        case Training(data=data):
            origin = data
        case _:
            origin = "imported"
    return Pretrained(
        name=manifest.name,
        entry=manifest.entry,
        data=origin,
        megabytes=round(size, 1),
        score=score,
        value=value,
        control=control,
        reference=reference,
    )


def _beside(score: str, measured: Evaluation) -> tuple[str, float | None, str, float | None]:
    """Return a score's name and value, and its control's name and value."""
    control = next((name for name in CONTROLS if score in measured.controls.get(name, {})), "")
    return score, measured.scores[score], control, measured.controls.get(control, {}).get(score)


def table(rows: list[Pretrained]) -> str:
    """Format rows as a text table."""
    head = ("name", "entry", "data", "MB", "score", "", "beside", "")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cells(row: Pretrained) -> tuple[str, ...]:
    value, reference = ("" if each is None else f"{each:.4g}" for each in (row.value, row.reference))
    return row.name, row.entry, row.data, f"{row.megabytes:.1f}", row.score, value, row.control, reference
