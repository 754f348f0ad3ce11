"""Response types: pydantic models of JSON responses, which the OpenAPI document includes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from serving.repository.repository import State
from serving.runtime.manifest import Evaluation
from serving.runtime.tensor import Tensor


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Problem(_Content):
    """Code and message of an API error, and the invalid field."""

    code: str
    message: str
    field: str | None = None


class Failure(_Content):
    """An error response."""

    error: Problem
    request_id: str


class InferFailure(_Content):
    """An error response of the Open Inference Protocol."""

    error: str
    code: str
    request_id: str


class Said(_Content):
    """What synthetic images say of themselves."""

    digital_source_type: str
    """Address of IPTC's term for their kind."""

    model: str
    version: str
    software: str
    request: dict[str, Any]
    """What they were made from, such as a seed."""


class Pictures(_Content):
    """The output of a graph as JSON."""

    model: str
    version: str
    seeds: list[int] | None = None
    direction: str | None = None
    images: list[str] | None = None
    """PNGs in base64."""

    vectors: list[list[float]] | None = None
    provenance: Said | None = None


class GraphSummary(_Content):
    """Inputs and output of a graph."""

    inputs: dict[str, Tensor]
    output: Tensor


class ModelSummary(_Content):
    """Summary of a model."""

    name: str
    version: str
    entry: str
    task: Literal["sample", "translate"]
    provider: Literal["cpu", "cuda"]
    files: dict[str, str]
    graphs: dict[str, GraphSummary]
    labels: list[str]
    metrics: list[Evaluation]


class Limits(_Content):
    """Limits of a request."""

    images: int
    """Maximum number of images."""

    upload: int
    """Maximum size of an uploaded image in bytes."""

    pixels: int
    """Maximum number of pixels of an image, after padding."""


class ModelList(_Content):
    """All served models, and the limits of requests."""

    models: list[ModelSummary]
    limits: Limits


class Alive(_Content):
    """Liveness of the process."""

    status: Literal["alive"]


class Ready(_Content):
    """Readiness of the server, and the provider of each model."""

    status: State
    models: dict[str, Literal["cpu", "cuda"]]
    refused: dict[str, str]
    """Artifacts whose latest content can't be served, and why."""


class ServerMetadata(_Content):
    """Name, version and protocol extensions of the server."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Content):
    """Liveness of the server."""

    live: bool


class ServerReady(_Content):
    """Readiness of the server."""

    ready: bool


class IndexedModel(_Content):
    """A model in the repository's index."""

    name: str
    version: str
    state: Literal["READY"]
    reason: str


class TensorMetadata(_Content):
    """Name, datatype and shape of a tensor; -1 is any size."""

    name: str
    datatype: Literal["FP32", "UINT8", "INT64"]
    shape: list[int]


class ModelMetadata(_Content):
    """Inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(_Content):
    """Readiness of a model."""

    name: str
    ready: bool


class InferTensor(TensorMetadata):
    """A tensor with its data, or with the size of its binary data after the JSON."""

    data: list[float] | None = None
    parameters: dict[str, int] | None = None


class InferAnswer(_Content):
    """The output of a graph in the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferTensor]
