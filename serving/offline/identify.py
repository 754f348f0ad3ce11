"""Identification: what an image says of itself, and whether its model draws the same pixels again."""

import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from serving.arrays import Pixels
from serving.errors import UserError
from serving.imaging import codec, sheets
from serving.imaging.credentials import signature_in
from serving.imaging.provenance import Provenance, read_provenance
from serving.imaging.structure import FORMATS
from serving.runtime.artifact import artifact_folders, is_artifact, read_manifest
from serving.runtime.load import load
from serving.runtime.manifest import Precision
from serving.runtime.pipeline import Pipeline
from serving.runtime.pretrained import ARTIFACTS, pretrained_folder
from serving.system.files import read_regular

NEAR = {"PNG": 1, "JPEG": 16, "WEBP": 16}
"""Maximum difference in levels of 255 between images of one request by different machines, which a lossy
format enlarges."""


class _Asked(BaseModel):
    """The request that an image was made from, which its file may state in any way."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seed: int | None = None
    seeds: list[int] | None = None
    n: int = Field(default=1, ge=1)
    index: int | None = Field(default=None, ge=0)
    columns: int = Field(default=0, ge=0)
    label: str | None = None
    truncation: float | None = None
    direction: str | None = None
    tile: int = 0


def identify(
    image: Path, source: Path | None = None, artifacts: Path | None = None
) -> Iterator[tuple[str, str]]:
    """Yield what an image says of itself, and at last whether it is what its model draws.

    Args:
        image: a PNG, JPEG or WebP file.
        source: for a translation, the image that was translated.
        artifacts: folder of artifacts among which the model is looked for; by default ./artifacts, and then
            the pretrained artifacts.

    Raises:
        UserError: the file is not an image, or an artifact can't be loaded.
        OSError: a file can't be read.
    """
    data = read_regular(image)
    said = read_provenance(data)
    if said is None:
        yield "says", "nothing of a model that made it"
        return
    yield from ((name.replace("_", " "), text) for name, text in said.maker.fields.items())
    if signature := _signature(data):
        yield "signature", signature
    yield "request", ", ".join(f"{name} {value}" for name, value in said.request.items()) or "not said"
    places = [artifacts] if artifacts else [ARTIFACTS, pretrained_folder()]
    yield "drawn again", _verdict(data, said, source, [place for place in places if place.is_dir()])


def _signature(data: bytes) -> str | None:
    """Return in words who has signed an image; None if nobody has, or if what reads it is not installed."""
    if find_spec("c2pa") is None:
        return None
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return signature_in(data, f"image/{str(image.format).lower()}")


def _verdict(data: bytes, said: Provenance, source: Path | None, places: list[Path]) -> str:
    """Return in words whether an image is what its model draws."""
    version, _, smaller = said.maker.version.partition("-")
    folders = [each for place in places for each in artifact_folders(place) if is_artifact(each)]
    found = [folder for folder in folders if read_manifest(folder).version == version]
    if not found:
        return "not known: there is no artifact of this version"
    form, theirs = _read(data)
    try:
        precision: Precision = TypeAdapter(Precision).validate_python(smaller or "fp32")
        asked = _Asked.model_validate(dict(said.request))
        with load(found[0], precision=precision) as pipeline:
            drawn = _draw(pipeline, asked, source, theirs.size, len(theirs) > 1)
    except ValidationError:
        return "not known: this version of the software does not know the request"
    except UserError as error:
        return f"not known: {error}"
    _, ours = _read(_encode(form, drawn))
    if ours.shape != theirs.shape:
        return "no: its model draws an image of another size"
    most = int(np.abs(ours.astype(np.int16) - theirs).max())
    if most > NEAR[form]:
        return f"no: the pixels differ by up to {most} of 255 levels"
    return f"yes: the pixels differ by at most {most} of 255 levels" if most else "yes: the pixels are equal"


def _draw(pipeline: Pipeline, asked: _Asked, source: Path | None, most: int, animated: bool) -> list[Pixels]:
    """Draw the frames of a request.

    Raises:
        UserError: they can't be drawn, or are more than the image can have.
    """
    if asked.n > most:
        raise UserError(f"a request must have at most as many images as pixels, {most}; got {asked.n}")
    if asked.direction is not None:
        if source is None:
            raise UserError("a translation must be compared with that of its source; add --source")
        return [pipeline.rows(source, asked.direction, tile=asked.tile).gathered()]
    if asked.seeds is not None:
        walk = pipeline.interpolate(asked.seeds, asked.n, label=asked.label, truncation=asked.truncation)
        if asked.index is not None:
            walk = walk[asked.index : asked.index + 1]
        return [sheets.picture(each[None]) for each in walk] if animated else [sheets.picture(walk)]
    if asked.seed is None:
        raise UserError("the file does not say what the image was made from")
    samples = pipeline.sample(asked.n, seed=asked.seed, label=asked.label, truncation=asked.truncation)
    return [sheets.picture(samples, columns=asked.columns)]


def _encode(form: str, frames: list[Pixels]) -> bytes:
    return codec.ENCODERS[form](frames[0]) if len(frames) == 1 else codec.encode_animation(frames, 80)


def _read(data: bytes) -> tuple[str, Pixels]:
    """Return the format of an image, and all its frames as RGB (F, H, W, 3).

    Raises:
        UserError: the image can't be decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
            return str(image.format), np.stack(frames)
    except Exception as error:  # decoders may raise anything on damaged files
        raise UserError(f"the image can't be decoded: {error}") from error
