"""A model as text and as HTML, for consoles and notebooks."""

import base64
import html
from collections.abc import Mapping, Sequence

from serving.runtime.manifest import Manifest
from serving.runtime.tensor import Tensor


def describe(
    inputs: Mapping[str, Mapping[str, Tensor]], labels: Sequence[str], manifest: Manifest | None
) -> list[str]:
    """Return short texts about a model: its name, its task and its classes.

    Args:
        inputs: inputs of each graph.
        labels: names of the classes.
        manifest: the artifact's manifest; None for networks in memory.
    """
    name = manifest.name if manifest else "of networks in memory"
    if all("image" in each for each in inputs.values()):
        does = f"translates {_translations(inputs, manifest)} of any size"
        if manifest and (scale := next(iter(manifest.graphs.values())).scale) > 1:
            does += f", to {scale} times their height and width"
    else:
        output = next(iter(manifest.graphs.values())).output if manifest else None
        shape = f" ({', '.join(map(str, output.shape[1:]))})" if output else ""
        does = f"samples {'vectors' if output and output.meaning == 'vector' else 'images'}{shape}"
    classes = [f"{len(labels)} classes: {', '.join(labels)}"] if labels else []
    return [name, does, *classes]


def _translations(inputs: Mapping[str, Mapping[str, Tensor]], manifest: Manifest | None) -> str:
    """Return the directions, with the channels of their images and translations."""
    forms = {
        name: (tensors["image"].size, manifest.graphs[name].output.size if manifest else None)
        for name, tensors in inputs.items()
    }
    if len({size for form in forms.values() for size in form if size}) == 1:
        return f"{', '.join(forms)}: images (H, W, {next(iter(forms.values()))[0]})"
    return "; ".join(
        f"{name}: images (H, W, {before})" + (f" to (H, W, {after})" if after else "")
        for name, (before, after) in forms.items()
    )


def to_html(texts: Sequence[str], png: bytes) -> str:
    """Return texts, the first in bold, and an image as HTML.

    Args:
        texts: the texts, one line each.
        png: the encoded image; empty for none.
    """
    name, *rest = map(html.escape, texts)
    data = base64.b64encode(png).decode()
    picture = f'<div><img alt="{name}" src="data:image/png;base64,{data}"></div>' if png else ""
    return f"<div><b>{name}</b><br>{'<br>'.join(rest)}{picture}</div>"
