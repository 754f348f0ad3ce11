"""What the contract answers in JSON, as types: the OpenAPI document is made of them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from serving.repository.repository import State
from serving.runtime.manifest import Evaluation, Tensor


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Problem(_Said):
    """What went wrong."""

    code: str
    message: str
    field: str | None = None


class Failure(_Said):
    """The answer to what can't be done."""

    error: Problem
    request_id: str


class InferFailure(_Said):
    """The same, as the Open Inference Protocol has it."""

    error: str
    code: str
    request_id: str


class Pictures(_Said):
    """What a graph gave, as JSON."""

    model: str
    version: str
    seeds: list[int] | None = None
    direction: str | None = None
    images: list[str] | None = None
    """PNGs in base64."""

    vectors: list[list[float]] | None = None


class GraphSummary(_Said):
    """A graph's tensors."""

    inputs: dict[str, Tensor]
    output: Tensor


class ModelSummary(_Said):
    """A model in short."""

    name: str
    version: str
    entry: str
    task: Literal["sample", "translate"]
    provider: Literal["cpu", "cuda"]
    files: dict[str, str]
    graphs: dict[str, GraphSummary]
    labels: list[str]
    metrics: list[Evaluation]


class Limits(_Said):
    """How much a request may ask for."""

    images: int
    """Pictures."""

    upload: int
    """Bytes of an image."""

    pixels: int
    """Pixels of an image, padded to what the model takes."""


class ModelList(_Said):
    """Every model."""

    models: list[ModelSummary]
    limits: Limits


class Alive(_Said):
    """The process answers."""

    status: Literal["alive"]


class Ready(_Said):
    """The models that are served, and where they run."""

    status: State
    models: dict[str, Literal["cpu", "cuda"]]
    refused: dict[str, str]
    """Artifacts that came or changed and can't be served, and why."""


class ServerMetadata(_Said):
    """Who serves."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Said):
    """The process answers."""

    live: bool


class ServerReady(_Said):
    """There are models to ask."""

    ready: bool


class IndexedModel(_Said):
    """A model in the repository's index."""

    name: str
    version: str
    state: Literal["READY"]
    reason: str


class TensorMetadata(_Said):
    """A tensor; -1 is any size."""

    name: str
    datatype: Literal["FP32", "UINT8", "INT64"]
    shape: list[int]


class ModelMetadata(_Said):
    """A model's tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(_Said):
    """A model can be asked."""

    name: str
    ready: bool


class InferTensor(TensorMetadata):
    """A tensor with its numbers, or with the size of what is behind the JSON."""

    data: list[float] | None = None
    parameters: dict[str, int] | None = None


class InferAnswer(_Said):
    """What a graph gave, by the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferTensor]
