"""The pipeline: a loaded artifact, or networks in memory, as functions from arrays to arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self, overload

import numpy as np

from serving.arrays import Array, Pixels
from serving.errors import UserError, shown
from serving.imaging import codec, sheets
from serving.imaging.intake import ImageLike, Several, must_be_batch, to_pixels
from serving.imaging.provenance import Provenance
from serving.runtime.display import describe, to_html
from serving.runtime.latents import draw_inputs, interpolate_inputs, must_be_seeds
from serving.runtime.manifest import Manifest, ProviderName, class_of, name_of
from serving.runtime.tensor import Tensor
from serving.runtime.tiles import Rows

CHUNK = 64
"""Samples per batch."""

SHOWN = 8
"""Samples to show in a notebook, unless there is one for each class."""

BACK = {"a2b": "b2a", "b2a": "a2b"}
"""The inverse of each direction."""

Task = Literal["sample", "translate"]


class Samples(NamedTuple):
    """A batch of samples with their seeds."""

    seeds: range
    values: Array
    """uint8 (N, H, W, C) or float32 vectors (N, D)."""

    classes: Sequence[int]
    """The class of each sample; empty if the graph takes no label."""

    provenance: Provenance | None = None
    """What their files say of themselves, beside their seeds; None if they say nothing."""


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline:
    """A loaded model: arrays in, arrays out.

    All methods may be called from several threads at once. As a context manager, it is closed at the end of
    the block.
    """

    inputs: Mapping[str, Mapping[str, Tensor]]
    """Inputs of each graph, by the graph's name."""

    run: Callable[[str, Mapping[str, Array]], Array]
    """Function that runs a graph by name, and returns uint8 (N, H, W, C) or float32 vectors (N, D)."""

    labels: Sequence[str] = ()
    """Names of the classes, in the order of the labels; empty if the graphs take no label."""

    version: str = ""
    """Hash of the graphs' files, or of the networks' weights."""

    provider: ProviderName = "auto"
    """Where the graphs run; the samples of a seed may differ slightly between providers."""

    artifact: Path | None = None
    """The artifact's folder, from which other processes can load it; None for networks in memory."""

    manifest: Manifest | None = None
    """The artifact's manifest; None for networks in memory."""

    tiled: Callable[[str, Pixels, int], Rows | None] | None = None
    """Function that translates an image in tiles of a given size, or, for 0, only if the image is large."""

    provenance: Provenance | None = None
    """What the files of its images say of themselves; None if they say nothing."""

    close: Callable[[], None] = lambda: None
    """Function that frees the graphs' memory; later calls of the other methods raise UserError."""

    @property
    def task(self) -> Task:
        """What the model does: `sample` or `translate`."""
        return "translate" if any("image" in inputs for inputs in self.inputs.values()) else "sample"

    def sample(
        self, n: int = 1, *, seed: int = 0, label: str | int | None = None, truncation: float | None = None
    ) -> Array:
        """Draw samples: uint8 images (n, H, W, C), or float32 vectors (n, D).

        Sample i is always the sample of seed + i, in any batch, here, over HTTP and from the shell.

        Args:
            n: number of samples.
            seed: seed of the first sample, from 0 to 2^53 - 1.
            label: name or number of the class of all samples; by default the classes cycle with the seeds.
            truncation: factor from 0 to 1 for the latents' distance from their mean; below 1, samples are
                more alike and more typical.

        Raises:
            UserError: the model translates, there is no such class, or a number is out of range.
        """
        self.must_do("sample")
        must_be_seeds(n, seed)
        number = class_of(self.labels, label)
        batches = self.samples(range(seed, seed + n), number, truncation)
        return np.concatenate([some.values for some in batches])

    def interpolate(
        self,
        seeds: Sequence[int],
        n: int = 16,
        *,
        label: str | int | None = None,
        truncation: float | None = None,
    ) -> Array:
        """Interpolate between the samples of seeds: uint8 images (n, H, W, C), or float32 vectors (n, D).

        Args:
            seeds: at least two seeds, in order; repeat the first at the end for a loop.
            n: number of samples, both ends included.
            label: name or number of the class of all samples; by default the class of the first seed.
            truncation: as for `sample`.

        Raises:
            UserError: as for `sample`.
        """
        self.must_do("sample")
        ((graph, specs),) = self.inputs.items()
        inputs = interpolate_inputs(specs, list(seeds), n, class_of(self.labels, label), truncation)
        firsts = range(0, n, CHUNK)
        batches = [{name: rows[i : i + CHUNK] for name, rows in inputs.items()} for i in firsts]
        return np.concatenate([self.run(graph, batch) for batch in batches])

    @overload
    def translate(self, image: ImageLike, direction: str | None = None) -> Pixels: ...
    @overload
    def translate(self, image: Several, direction: str | None = None) -> list[Pixels]: ...
    def translate(self, image: ImageLike | Several, direction: str | None = None) -> Pixels | list[Pixels]:
        """Translate an image, or several, to images of the same sizes, or of `scale` times these sizes.

        The scale is that of the output in the manifest. Large images are translated in tiles; see `rows`.

        Args:
            image: a PIL image, a uint8 array (H, W) or (H, W, C), or the path of an image file, which is
                translated to uint8 (H, W, C); a list of these, which is translated to a list; or a uint8
                array (N, H, W, C) with the channels of the direction's source, which is translated to one
                with the channels of its target.
            direction: `a2b`, `b2a` or `upscale`; by default the model's first direction.

        Raises:
            UserError: the model samples, it does not translate in this direction, or an image is not valid.
            OSError: a file can't be read.
            MemoryError: there is not enough memory; use smaller images or a smaller batch.
        """
        self.must_do("translate")
        graph = self.direction(direction)
        match image:
            case list() | tuple():
                return [self.translate(each, graph) for each in image]
            case np.ndarray(ndim=4):
                return self._translate(graph, must_be_batch(image, self.inputs[graph]["image"].size))
            case _:
                return self.rows(image, graph).gathered()

    def rows(self, image: ImageLike, direction: str | None = None, *, tile: int = 0) -> Rows:
        """Translate an image from top to bottom; the translation need not be held in memory.

        A translation of more than 2^20 pixels is made of tiles, with progress on standard error.

        Args:
            image: as for `translate`, but one image.
            direction: as for `translate`.
            tile: height and width in pixels of a tile with its margins, in which an image of any size is then
                translated; 0 chooses it.

        Raises:
            UserError: as for `translate`, or the model can't be run in tiles. Other errors are the same.
        """
        self.must_do("translate")
        graph = self.direction(direction)
        spec = self.inputs[graph]["image"]
        pixels = to_pixels(image, spec.size, spec.value_range)
        if found := self.tiled(graph, pixels, tile) if self.tiled else None:
            return found.with_progress(f"translating {graph}")
        if tile:
            raise UserError("a model in memory can't be run in tiles; export it, and load the artifact")
        return Rows.of(self._translate(graph, pixels[None])[0])

    def direction(self, name: str | None) -> str:
        """Return a direction, by default the model's first.

        Raises:
            UserError: the model has no such direction.
        """
        if name is None:
            return next(iter(self.inputs))
        if name not in self.inputs:
            raise UserError(f"direction must be {' or '.join(self.inputs)}; got {shown(name)}")
        return name

    def _translate(self, graph: str, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:3]
        padded = codec.pad(pixels, *self.inputs[graph]["image"].grid)
        translated = self.run(graph, {"image": padded})
        scale = translated.shape[1] // padded.shape[1]
        return translated[:, : scale * height, : scale * width]

    def samples(
        self, seeds: range, label: int | None = None, truncation: float | None = None
    ) -> Iterator[Samples]:
        """Yield the samples of seeds in batches, with their seeds and classes.

        Without a label, the classes cycle with the seeds.
        """
        ((graph, specs),) = self.inputs.items()
        name = name_of(self.labels, label)
        said = self.provenance and self.provenance.of(label=name, truncation=truncation)
        for first in range(0, len(seeds), CHUNK):
            some = seeds[first : first + CHUNK]
            inputs = draw_inputs(specs, list(some), label, truncation)
            classes = inputs["label"].tolist() if "label" in inputs else []
            yield Samples(some, self.run(graph, inputs), classes, said)

    def look(self, graph: str, inputs: Mapping[str, Array]) -> list[Array]:
        """Return a graph's samples; or the images, their translations, and those translated back."""
        if "image" not in inputs:
            return [self.run(graph, inputs)]
        real = inputs["image"]
        seen = [real, self._translate(graph, real)]
        if (back := BACK.get(graph, "")) in self.inputs:
            seen.append(self._translate(back, seen[-1]))
        return seen

    def picture(
        self,
        graph: str,
        inputs: Mapping[str, Array],
        columns: int,
        limits: tuple[float, float] | None = None,
    ) -> Pixels:
        """Draw the arrays of `look` as one sheet, each image beside its translations.

        Args:
            graph: the graph's name.
            inputs: the graph's inputs.
            columns: examples per row.
            limits: for vectors, the values at the edges of the plot.
        """
        seen = self.look(graph, inputs)
        if "image" in inputs:  # smaller images are enlarged, without interpolation
            largest = max(each.shape[1] for each in seen)
            seen = [sheets.enlarged(each, largest // each.shape[1]) for each in seen]
        side_by_side = np.stack(np.broadcast_arrays(*seen), 1)  # grey is repeated beside colour
        side_by_side = side_by_side.reshape(-1, *side_by_side.shape[2:])
        return sheets.picture(side_by_side, limits, columns * len(seen))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Pipeline {'; '.join(self._texts())}>"

    def _repr_html_(self) -> str:
        return to_html(self._texts(), self._png())

    def _texts(self) -> list[str]:
        about = describe(self.inputs, self.labels, self.manifest)
        return [*about, f"on {self.provider}", f"version {self.version}"]

    def _png(self) -> bytes:
        """Return a sheet of samples, or the artifact's own sheet of translations, if there is one."""
        if self.task == "sample":
            columns = min(len(self.labels) or SHOWN, 2 * SHOWN)
            about = self.provenance and self.provenance.of_seeds(range(columns), None, None, columns)
            return codec.encode_png(sheets.picture(self.sample(columns), columns=columns), about)
        sheet = (self.artifact or Path()) / f"{next(iter(self.inputs))}.png"
        return sheet.read_bytes() if self.artifact and sheet.exists() else b""

    def must_do(self, task: Task) -> None:
        """Check that the model does a task.

        Raises:
            UserError: the model does the other task.
        """
        if self.task != task:
            does = {"sample": "samples from latents", "translate": "translates images"}
            raise UserError(f"this model {does[self.task]} and can't {task}; use `{self.task}`")
