"""The pretrained artifacts of the project and their scores."""

from dataclasses import dataclass
from pathlib import Path

from serving.runtime.artifact import read_manifest
from serving.runtime.manifest import MANIFEST_FILE, Evaluation, Manifest, Training

FOLDER = Path(__file__).parents[2] / "artifacts"
"""Folder of the pretrained artifacts in a checkout."""

HEADLINES = ("frechet", "a2b_l1", "b2a_l1", "a2b_frechet", "modes_covered", "wasserstein2")
"""Scores to show for an artifact; the first that it has is shown."""

CONTROLS = ("real", "recoloured", "untranslated")
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


def pretrained(folder: Path | None = None) -> list[Pretrained]:
    """Return a summary of every artifact in a folder, by default FOLDER, sorted by name.

    Raises:
        UserError: a manifest is damaged (`ManifestError`).
    """
    places = sorted(path.parent for path in (folder or FOLDER).glob(f"*/{MANIFEST_FILE}"))
    return [_describe(place, read_manifest(place)) for place in places]


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
