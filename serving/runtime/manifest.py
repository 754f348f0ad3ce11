"""The label on an artifact: `manifest.json`, typed, versioned; what it does not know it refuses."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.errors import UserError

FORMAT = 1
MANIFEST_FILE = "manifest.json"
NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What an artifact may be called."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")]
GoldenName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")]
Provider = Literal["any", "cpu", "cuda"]
Precision = Literal["fp32", "fp16", "int8"]
ProviderName = Literal["auto", "cpu", "cuda"]
"""Where a graph may be asked to run; auto is CUDA where it can be used, else the CPU."""

ModelName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestError(UserError):
    """An artifact's label is missing, damaged, or says what this version does not know."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Tensor(_Part):
    """One input or output of a graph. Sizes that vary are named; images are NHWC."""

    dtype: Literal["float32", "uint8", "int64"]
    shape: list[int | str]
    meaning: Literal["latent", "label", "image", "vector"]
    range: tuple[float, float] | None = None
    """Least and greatest value; of a vector's numbers, as seen at export."""

    distribution: Literal["normal", "uniform"] | None = None
    """What a latent is drawn from, number by number: standard normal, or uniform from -sqrt(3) to sqrt(3)."""

    multiple: Annotated[int, Field(ge=1)] | None = None
    """Of which an image's height and width must be multiples, where they may vary."""

    least: Annotated[int, Field(ge=1)] | None = None
    """Below which they must not be, a multiple itself."""

    trained_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Height and width of the images that it was trained on, where they may vary."""

    @property
    def grid(self) -> tuple[int, int]:
        """The multiple and the least of an image's sides."""
        return self.multiple or 1, self.least or 1

    @property
    def size(self) -> int:
        """Numbers in one latent or vector, or in an image's last dimension."""
        last = self.shape[-1]
        if not isinstance(last, int):
            raise ManifestError(f"the last dimension of {self.shape} must be a number")
        return last

    @property
    def classes(self) -> int:
        """Classes that a label counts."""
        if self.range is None:
            raise ManifestError("a label must have a range")
        return int(self.range[1]) + 1


class Parity(_Part):
    """How far the graph is from the torch module it came from, at worst."""

    max_abs_error: float
    """Greatest difference of the float output."""

    max_level_error: int
    """Greatest difference of the uint8 output, in levels; 0 for vectors."""

    batches: list[Annotated[int, Field(ge=1, le=1024)]]
    """Sizes of batches that were tried."""

    sizes: list[tuple[int, int]] = []
    """Heights and widths of images that were tried, where they may vary."""


class Loss(_Part):
    """How far a graph of a smaller type is from the float one, over what it is made for."""

    psnr: float
    """Peak signal to noise ratio of all pixels together, dB; 100 where nothing differs."""

    max_level_error: int
    """Greatest difference, in levels."""

    samples: int
    """Outputs that were compared; none was used to calibrate it."""


class Variant(_Part):
    """One file of a graph, for a provider and a precision."""

    file: FileName
    sha256: Sha256
    provider: Provider
    """What it is made for; any: ONNX Runtime and everything else that reads ONNX."""

    precision: Precision
    """Of the arithmetic within; the types at the ends are those of the graph."""

    parity: Parity | None = None
    """Of fp32."""

    loss: Loss | None = None
    """Of every other precision."""

    @model_validator(mode="after")
    def _is_measured(self) -> "Variant":
        if (self.parity is None, self.loss is None) != (self.precision != "fp32", self.precision == "fp32"):
            raise ValueError("a graph of fp32 has its parity, and one of a smaller type its loss")
        return self


class Golden(_Part):
    """A file of inputs by name, and of PyTorch's own output for them: float32, images NCHW in [-1, 1]."""

    file: GoldenName
    sha256: Sha256


class Graph(_Part):
    """One function of the artifact, from named inputs to one output."""

    opset: int
    inputs: dict[str, Tensor]
    output: Tensor
    golden: Golden
    variants: Annotated[list[Variant], Field(min_length=1)]
    """The first is of any provider and fp32, and no two are of the same."""

    @model_validator(mode="after")
    def _has_one_of_each(self) -> "Graph":
        kinds = [(variant.provider, variant.precision) for variant in self.variants]
        if kinds[0] != ("any", "fp32") or len(set(kinds)) < len(kinds):
            raise ValueError(f"variants must be ('any', 'fp32') first, and each once; got {kinds}")
        return self

    @property
    def any_size(self) -> bool:
        """Tell a graph whose images vary in size."""
        return "height" in self.output.shape

    def variant_for(self, provider: Literal["cpu", "cuda"], precision: Precision) -> Variant:
        """Choose the file for a provider: of the precision where there is one, else of fp32."""
        kinds = {(variant.provider, variant.precision): variant for variant in self.variants}
        wanted = [(place, each) for each in (precision, "fp32") for place in (provider, "any")]
        return next(kinds[kind] for kind in wanted if kind in kinds)


class Training(_Part):
    """Where the weights come from."""

    data: str
    steps: int
    seed: int
    ema: float
    software: dict[str, str]


class Imported(_Part):
    """Where weights come from that were not trained here."""

    layout: str
    """Whose names the weights had."""

    files: dict[str, Sha256]
    """SHA-256 of the file that each graph's weights were read from."""

    software: dict[str, str]


class Evaluation(_Part):
    """How good what an artifact makes is, measured on its own graphs, beside controls."""

    data: str
    samples: int
    """How many were compared, with as many real ones."""

    seed: int
    """Of the first sample, and the others follow; 0 for translations, which have none."""

    precision: Precision = "fp32"
    """Of the graphs that made them."""

    features: dict[str, str | int | float] | None
    """What images were compared by: the extractor's name, SHA-256 and whatever else it says of itself."""

    scores: dict[str, float]
    controls: dict[str, dict[str, float]]
    """The same scores of something else in the samples' place, by its name: `real`, held-out data; and, of
    translations, `untranslated` and `recoloured`."""

    def replaces(self, other: "Evaluation") -> bool:
        """Tell whether this is a newer measurement of the same."""
        return self._subject == other._subject

    @property
    def _subject(self) -> object:
        return self.data, self.precision, self.features and self.features.get("name")


class Manifest(_Part):
    """Everything one needs to know of an artifact to use it and to judge it."""

    format: Literal[1] = 1
    name: ModelName
    entry: str
    hyperparameters: dict[str, Any]
    task: Literal["sample", "translate"]
    graphs: Annotated[dict[str, Graph], Field(min_length=1)]
    labels: list[str] = []
    """Names of the classes that an input `label` counts from 0; empty where the graphs are not told one."""

    training: Training | Imported
    software: dict[str, str]
    """Versions of what made the graphs."""

    metrics: list[Evaluation] = []
    """Scores, one for each data set and extractor."""

    licence: str
    """Terms of the training data; those of the code are the package's."""

    @model_validator(mode="after")
    def _suits_the_task(self) -> "Manifest":
        for name, graph in self.graphs.items():
            if self.task == "translate" and list(graph.inputs) != ["image"]:
                raise ValueError(f"the graph {name} must have one input, image, to translate")
        return self

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change when, and only when, a graph's file does."""
        files = {name: [variant.sha256 for variant in graph.variants] for name, graph in self.graphs.items()}
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> bytes:
        """Write the manifest as indented JSON."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def class_of(labels: Sequence[str], label: str | int | None) -> int | None:
    """Return the class of a label: its name's place among the labels, or its number; None for none.

    Raises:
        UserError: there is no such class, or the model has none.
    """
    if label is None:
        return None
    if not labels:
        raise UserError("this model has no classes; leave the label out")
    if isinstance(label, str) and label in labels:
        return labels.index(label)
    if isinstance(label, int) and 0 <= label < len(labels):
        return label
    raise UserError(f"a label must be one of {', '.join(labels)}, or its number, 0 to {len(labels) - 1}")


def label_in(labels: Sequence[str], text: str | None) -> str | int | None:
    """Read a label where all is text: digits are a class's number, unless they are a class's name."""
    if text is None or text in labels or not (text.isascii() and text.isdecimal() and len(text) < 9):
        return text
    return int(text)
