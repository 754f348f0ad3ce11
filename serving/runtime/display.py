"""A pipeline as text and as HTML, for consoles and notebooks."""

import base64
import html
from typing import TYPE_CHECKING

from serving.imaging import codec, sheets

if TYPE_CHECKING:
    from serving.runtime.pipeline import Pipeline

SAMPLES = 8
"""Samples to show of a model that samples."""


def describe(pipeline: "Pipeline") -> list[str]:
    """Return a pipeline's properties as short texts, beginning with its name."""
    manifest = pipeline.manifest
    name = manifest.name if manifest else "of networks in memory"
    if pipeline.task == "translate":
        channels = next(iter(pipeline.inputs.values()))["image"].size
        does = f"translates {', '.join(pipeline.inputs)}: images (H, W, {channels}) of any size"
    else:
        output = next(iter(manifest.graphs.values())).output if manifest else None
        shape = f" ({', '.join(map(str, output.shape[1:]))})" if output else ""
        does = f"samples {'vectors' if output and output.meaning == 'vector' else 'images'}{shape}"
    classes = [f"{len(pipeline.labels)} classes: {', '.join(pipeline.labels)}"] if pipeline.labels else []
    return [name, does, *classes, f"on {pipeline.provider}", f"version {pipeline.version}"]


def to_html(pipeline: "Pipeline") -> str:
    """Return a pipeline's properties as HTML, with a sheet of a few samples or the sheet of the artifact."""
    name, *rest = map(html.escape, describe(pipeline))
    png = base64.b64encode(_png(pipeline)).decode()
    picture = f'<div><img alt="{name}" src="data:image/png;base64,{png}"></div>' if png else ""
    return f"<div><b>{name}</b><br>{'<br>'.join(rest)}{picture}</div>"


def _png(pipeline: "Pipeline") -> bytes:
    """Return a picture of what a pipeline makes, or nothing if there are no images to translate."""
    if pipeline.task == "sample":
        columns = min(len(pipeline.labels) or SAMPLES, 16)
        return codec.encode_png(sheets.picture(pipeline.sample(columns), columns=columns))
    if pipeline.artifact is None:
        return b""
    sheet = pipeline.artifact / f"{next(iter(pipeline.inputs))}.png"
    return sheet.read_bytes() if sheet.exists() else b""
