"""The manifest of an artifact, `manifest.json`: typed, versioned, without unknown fields."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from serving.errors import UserError, shown
from serving.runtime.origin import Imported, Sha256, Training
from serving.runtime.tensor import Part, Tensor

FORMAT = 1
MANIFEST_FILE = "manifest.json"
NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Pattern of an artifact's name."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")]
GoldenName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")]
Provider = Literal["any", "cpu", "cuda"]
Precision = Literal["fp32", "fp16", "int8"]
ProviderName = Literal["auto", "cpu", "cuda"]
"""Requested provider of a graph; auto is CUDA if it can be used, else the CPU."""

ModelName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]


Task = Literal["sample", "translate"]

SIGNATURES: dict[Task, list[dict[str, str]]] = {
    "sample": [{"latent": "latent"}, {"latent": "latent", "label": "label"}],
    "translate": [{"image": "image"}],
}
"""Inputs that the graphs of each task may have, with their meanings."""

OUTPUTS: dict[Task, list[str]] = {"sample": ["image", "vector"], "translate": ["image"]}
"""Meanings that the output of each task may have."""


class ManifestError(UserError):
    """An artifact's manifest is missing, damaged, or not of a format that this version reads."""


class Parity(Part):
    """Greatest differences between the graph and the torch module that it was exported from."""

    max_abs_error: float
    """Greatest absolute difference of the float output."""

    max_level_error: int
    """Greatest difference of the uint8 output, in levels; 0 for vectors."""

    batches: list[Annotated[int, Field(ge=1, le=1024)]]
    """Batch sizes that were compared."""

    sizes: list[tuple[int, int]] = Field([])
    """Heights and widths of the images that were compared, if they are variable."""


class Loss(Part):
    """Difference between a graph of lower precision and the fp32 graph, on typical inputs."""

    psnr: float
    """Peak signal-to-noise ratio over all pixels, in dB; 100 if there is no difference."""

    max_level_error: int
    """Greatest difference, in levels."""

    samples: int
    """Number of outputs compared; none was used for calibration."""


class Variant(Part):
    """A file of a graph, for one provider and one precision."""

    file: FileName
    sha256: Sha256
    provider: Provider
    """Provider that the file is for; `any` is every provider, and every other ONNX runtime."""

    precision: Precision
    """Precision of the arithmetic; the inputs and the output have the graph's types."""

    parity: Parity | None = None
    """Measured for fp32."""

    loss: Loss | None = None
    """Measured for every other precision."""

    @model_validator(mode="after")
    def _is_measured(self) -> "Variant":
        if (self.parity is None, self.loss is None) != (self.precision != "fp32", self.precision == "fp32"):
            given = [name for name in ("parity", "loss") if getattr(self, name) is not None]
            raise ValueError(
                "a variant must have parity if its precision is fp32, else loss, and not both; "
                f"got {self.precision} with {' and '.join(given) or 'neither'}"
            )
        return self


class Golden(Part):
    """A file of inputs by name and PyTorch's output for them: float32, images NCHW in [-1, 1]."""

    file: GoldenName
    sha256: Sha256


class Graph(Part):
    """A function of the artifact, from named inputs to one output."""

    opset: int
    inputs: dict[str, Tensor]
    output: Tensor
    golden: Golden
    variants: Annotated[list[Variant], Field(min_length=1)]
    """The first is for any provider and fp32; no two are for the same provider and precision."""

    @model_validator(mode="after")
    def _has_one_of_each(self) -> "Graph":
        kinds = [(variant.provider, variant.precision) for variant in self.variants]
        if kinds[0] != ("any", "fp32") or len(set(kinds)) < len(kinds):
            raise ValueError(
                f"the first variant must be ('any', 'fp32'), and no two may be equal; got {kinds}"
            )
        return self

    @property
    def any_size(self) -> bool:
        """Whether the graph's images may have any size."""
        return self.output.any_size

    @property
    def scale(self) -> int:
        """Height and width of a translation, in multiples of those of its source."""
        return self.output.scale or 1

    @property
    def classes(self) -> int:
        """Number of classes of the label; 0 if the graph takes none."""
        return self.inputs["label"].classes if "label" in self.inputs else 0

    def must_do(self, task: Task, name: str) -> None:
        """Check the inputs and the output against a task.

        Raises:
            ValueError: a graph of this task can't have them.
        """
        meanings = {key: tensor.meaning for key, tensor in self.inputs.items()}
        if meanings not in SIGNATURES[task] or self.output.meaning not in OUTPUTS[task]:
            wanted = " or ".join(" and ".join(each) for each in SIGNATURES[task])
            raise ValueError(
                f"to {task}, the graph {name} must have the inputs {wanted}, with these meanings, and the "
                f"output {' or '.join(OUTPUTS[task])}; got {meanings} and {self.output.meaning}"
            )
        if {each.any_size for each in (*self.inputs.values(), self.output)} != {task == "translate"}:
            raise ValueError(
                f"to {task}, images of the graph {name} must have "
                f"{'any' if task == 'translate' else 'a fixed'} size; got {self.output.shape}"
            )

    def variant_for(self, provider: Literal["cpu", "cuda"], precision: Precision) -> Variant:
        """Return the file for a provider, of the given precision if there is one, else of fp32."""
        kinds = {(variant.provider, variant.precision): variant for variant in self.variants}
        wanted = [(place, each) for each in (precision, "fp32") for place in (provider, "any")]
        return next(kinds[kind] for kind in wanted if kind in kinds)


class Evaluation(Part):
    """Scores of an artifact's outputs, measured with its own graphs, and scores of controls."""

    data: str
    samples: int
    """Number of outputs, which are compared with as many real samples."""

    seed: int
    """Seed of the first sample, followed by the next seeds; 0 for translations, which have no seeds."""

    precision: Precision = "fp32"
    """Precision of the graphs."""

    features: dict[str, str | int | float] | None
    """Feature extractor of images: its name, its SHA-256 and further properties."""

    scores: dict[str, float]
    controls: dict[str, dict[str, float]]
    """The same scores for other data in place of the outputs, by name: `real`, held-out data; for
    translations also `untranslated` and `recoloured`."""

    def replaces(self, other: "Evaluation") -> bool:
        """Return whether both evaluate the same data, precision and extractor, this one no fewer samples."""
        return self._subject == other._subject and self.samples >= other.samples

    def yields_to(self, other: "Evaluation") -> bool:
        """Return whether both evaluate the same data, precision and extractor, and this one fewer samples."""
        return self._subject == other._subject and self.samples < other.samples

    @property
    def _subject(self) -> object:
        return self.data, self.precision, self.features and self.features.get("name")


class Manifest(Part):
    """All information that is needed to use and to assess an artifact."""

    format: Literal[1] = 1
    name: ModelName
    entry: str
    hyperparameters: dict[str, Any]
    task: Task
    graphs: Annotated[dict[str, Graph], Field(min_length=1)]
    labels: list[str] = Field([])
    """Names of the classes 0, 1, ... of the input `label`; empty if the graphs take no label."""

    training: Training | Imported
    software: dict[str, str]
    """Versions of the software that made the graphs."""

    metrics: list[Evaluation] = Field([])
    """Evaluations, one per data set, precision and feature extractor."""

    licence: str
    """Licence of the training data; the code has the package's licence."""

    credit: str = Field("")
    """Who made the training data."""

    @model_validator(mode="after")
    def _suits_the_task(self) -> "Manifest":
        if self.task == "sample" and len(self.graphs) != 1:
            raise ValueError(f"a model that samples must have one graph; got {', '.join(self.graphs)}")
        for name, graph in self.graphs.items():
            graph.must_do(self.task, name)
            if graph.classes != len(set(self.labels)) or graph.classes != len(self.labels):
                raise ValueError(
                    f"labels must be {graph.classes} different names, one for each class of the graph "
                    f"{name}; got {len(self.labels)}"
                )
        return self

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change if and only if a graph's file changes."""
        files = {name: [variant.sha256 for variant in graph.variants] for name, graph in self.graphs.items()}
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> bytes:
        """Return the manifest as indented JSON."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def class_of(labels: Sequence[str], label: str | int | None) -> int | None:
    """Return the number of a class that is given by name or by number; None for None.

    Raises:
        UserError: there is no such class, or the model has no classes.
    """
    if label is None:
        return None
    if not labels:
        raise UserError(f"label must be omitted, because this model has no classes; got {shown(label)}")
    if isinstance(label, str) and label in labels:
        return labels.index(label)
    if isinstance(label, Integral) and 0 <= int(label) < len(labels):
        return int(label)
    raise UserError(
        f"label must be one of {', '.join(labels)}, or a number from 0 to {len(labels) - 1}; "
        f"got {shown(label)}"
    )


def name_of(labels: Sequence[str], label: str | int | None) -> str | None:
    """Return the name of a class that is given by name or by number; None for None.

    Raises:
        UserError: as for `class_of`.
    """
    number = class_of(labels, label)
    return None if number is None else labels[number]


def label_in(labels: Sequence[str], text: str | None) -> str | int | None:
    """Parse a label from text: digits are the number of a class, unless a class has that name."""
    if text is None or text in labels or not (text.isascii() and text.isdecimal() and len(text) < 9):
        return text
    return int(text)
