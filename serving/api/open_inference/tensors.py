"""Tensors of the Open Inference Protocol, as JSON or as binary data after the JSON.

Sources: KServe's Open Inference Protocol, version 2, REST; Triton's extension for binary tensor data.
"""

import itertools
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from serving.arrays import Array
from serving.errors import APIError
from serving.runtime.manifest import Tensor

HEADER_LENGTH = "inference-header-content-length"
"""Header with the length of the JSON, after which the binary tensors start."""

DATATYPES: dict[str, Literal["FP32", "UINT8", "INT64"]] = {
    "float32": "FP32",
    "uint8": "UINT8",
    "int64": "INT64",
}
"""The protocol's names of NumPy's types."""

OUTPUT = "output"
"""Name of every graph's output."""

Text = Annotated[str, Field(max_length=1000)]
Parameter = Text | int | float | bool
Parameters = dict[Text, Parameter] | None


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class InferInput(_Message):
    """An input tensor of a request."""

    name: Text
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=8)]
    datatype: Text
    parameters: Parameters = None
    """`binary_data_size`: size in bytes of the tensor after the JSON, little-endian and row-major."""

    data: list[Any] | None = None
    """The numbers, nested or flat, if they are not binary data."""


class InferOutput(_Message):
    """A requested output tensor."""

    name: Text
    parameters: Parameters = None
    """`binary_data`: whether the output is sent as binary data after the JSON."""


class InferRequest(_Message):
    """Body of `POST /v2/models/{model}/infer`; unknown fields are ignored."""

    id: Text | None = None
    parameters: Parameters = None
    """`binary_data_output`: whether outputs are sent as binary data after the JSON."""

    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=8)]
    outputs: Annotated[list[InferOutput], Field(max_length=8)] | None = None

    @property
    def rows(self) -> int:
        """Number of rows in the shape of the first input."""
        return next(iter(self.inputs[0].shape), 0)

    @property
    def wants_binary(self) -> bool:
        """Whether the output is requested as binary data after the JSON."""
        said = (self.outputs[0].parameters or {}).get("binary_data") if self.outputs else None
        return bool((self.parameters or {}).get("binary_data_output", False) if said is None else said)


def split(headers: Mapping[str, str], body: bytes) -> tuple[bytes, memoryview]:
    """Split a body into its JSON and the binary tensors after it.

    Raises:
        APIError: `invalid_request` (400), the header is not a length within the body.
    """
    said = headers.get(HEADER_LENGTH)
    if said is None:
        return body, memoryview(b"")
    if not (said.isascii() and said.isdecimal() and len(said) < 12 and int(said) <= len(body)):
        raise APIError(400, "invalid_request", f"{HEADER_LENGTH} must be a length within the body")
    return body[: int(said)], memoryview(body)[int(said) :]


def read_inputs(asked: InferRequest, binary: memoryview, specs: Mapping[str, Tensor]) -> dict[str, Array]:
    """Read all inputs of a graph from a request.

    Raises:
        APIError: `invalid_request` (400), an input is missing, unknown, or has a wrong type, shape or range.
    """
    names = [each.name for each in asked.inputs]
    if sorted(names) != sorted(specs):
        raise APIError(400, "invalid_request", f"the inputs must be {', '.join(specs)}", "inputs")
    inputs, begin = dict[str, Array](), 0
    for each in asked.inputs:
        _must_fit(each, specs[each.name])
        size = (each.parameters or {}).get("binary_data_size")
        inputs[each.name] = _from_json(each) if size is None else _from_binary(each, binary[begin:], size)
        begin += 0 if size is None else int(size)
        _must_be_in_range(each.name, inputs[each.name], specs[each.name])
    if begin != len(binary):
        raise APIError(400, "invalid_request", "there is more binary data than the inputs say", "inputs")
    if len({len(array) for array in inputs.values()}) != 1:
        raise APIError(400, "invalid_request", "all inputs must have as many rows", "inputs")
    return inputs


def _must_fit(given: InferInput, spec: Tensor) -> None:
    """Check a tensor's type and shape, before its numbers are read."""
    if "shared_memory_region" in (given.parameters or {}):
        raise _wrong(given.name, "must be sent along; there is no shared memory")
    if given.datatype != DATATYPES[spec.dtype]:
        raise _wrong(given.name, f"must be of datatype {DATATYPES[spec.dtype]}")
    multiple, least = spec.grid
    sizes = zip(given.shape, spec.shape, strict=False)
    fits = len(given.shape) == len(spec.shape) and given.shape[0] > 0
    if not fits or any(size != wanted for size, wanted in list(sizes)[1:] if isinstance(wanted, int)):
        raise _wrong(given.name, f"must be of shape {shape_of(spec)}; -1 is any size")
    varying = [size for size, wanted in zip(given.shape[1:], spec.shape[1:], strict=True) if wanted != size]
    if any(size < least or size % multiple for size in varying):
        raise _wrong(given.name, f"must have sides of at least {least} that are multiples of {multiple}")


def _from_json(given: InferInput) -> Array:
    if given.data is None:
        raise _wrong(given.name, "must have data, or binary_data_size")
    numbers = _flat(given.data, given.shape)
    if numbers is None:
        raise _wrong(given.name, f"must have numbers, flat or nested, as its shape {given.shape} says")
    kind: Any = {"FP32": np.float32, "UINT8": np.uint8, "INT64": np.int64}[given.datatype]
    allowed = (int, float) if given.datatype == "FP32" else (int,)
    try:
        if any(type(number) not in allowed for number in numbers):
            raise TypeError
        with np.errstate(over="ignore"):
            return np.array(numbers, kind).reshape(given.shape)
    except (TypeError, OverflowError):
        raise _wrong(given.name, f"must be numbers of {given.datatype}") from None


def _flat(data: list[Any], shape: list[int]) -> list[Any] | None:
    """Flatten lists nested in a shape; return None if their shape is another one."""
    if data and isinstance(data[0], list):
        for size in shape[1:]:
            if any(not isinstance(each, list) or len(each) != size for each in data):
                return None
            data = list(itertools.chain.from_iterable(data))
    return data if len(data) == math.prod(shape) else None


def _from_binary(given: InferInput, binary: memoryview, size: Parameter) -> Array:
    kind = {"FP32": "<f4", "UINT8": "u1", "INT64": "<i8"}[given.datatype]
    wanted = math.prod(given.shape) * np.dtype(kind).itemsize
    if isinstance(size, bool) or size != wanted or len(binary) < wanted or given.data is not None:
        raise _wrong(given.name, f"must have {wanted} bytes of binary data, as its shape {given.shape} says")
    # A copy, because the numbers after JSON of any length are not aligned.
    return np.frombuffer(binary[:wanted], kind).reshape(given.shape).copy()


def _must_be_in_range(name: str, array: Array, spec: Tensor) -> None:
    if spec.dtype == "float32" and not np.isfinite(array).all():
        raise _wrong(name, "must be finite")
    if spec.meaning == "label" and not ((array >= 0) & (array < spec.classes)).all():
        raise _wrong(name, f"must be from 0 to {spec.classes - 1}")


def _wrong(name: str, message: str) -> APIError:
    return APIError(400, "invalid_request", f"{name} {message}", name)


def shape_of(spec: Tensor) -> list[int]:
    """Return a tensor's shape in the protocol's form, where -1 is any size."""
    return [size if isinstance(size, int) else -1 for size in spec.shape]


def write_output(about: Mapping[str, Any], output: Array, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Encode a graph's output, and return the body and the headers of the response.

    Args:
        about: further fields of the response's JSON.
        output: array of any shape.
        binary: whether the numbers are sent as binary data after the JSON.
    """
    tensor: dict[str, Any] = {
        "name": OUTPUT,
        "datatype": DATATYPES[str(output.dtype)],
        "shape": list(output.shape),
    }
    if not binary:
        tensor["data"] = output.reshape(-1).tolist()
        return json.dumps({**about, "outputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    tensor["parameters"] = {"binary_data_size": output.nbytes}
    head = json.dumps({**about, "outputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return head + output.tobytes(), headers
