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
from serving.errors import APIError, shown
from serving.runtime.tensor import Tensor

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
        text = f"{HEADER_LENGTH} must be from 0 to {len(body)}, the length of the body; got {shown(said)}"
        raise APIError(400, "invalid_request", text)
    return body[: int(said)], memoryview(body)[int(said) :]


def read_inputs(asked: InferRequest, binary: memoryview, specs: Mapping[str, Tensor]) -> dict[str, Array]:
    """Read all inputs of a graph from a request.

    Raises:
        APIError: `invalid_request` (400), an input is missing, unknown, or has a wrong type, shape or range.
    """
    names = [each.name for each in asked.inputs]
    if sorted(names) != sorted(specs):
        text = f"inputs must be {list(specs)} in any order; got {shown(names)}"
        raise APIError(400, "invalid_request", text, "inputs")
    inputs, begin = dict[str, Array](), 0
    for each in asked.inputs:
        _must_fit(each, specs[each.name])
        size = (each.parameters or {}).get("binary_data_size")
        inputs[each.name] = _from_json(each) if size is None else _from_binary(each, binary[begin:], size)
        begin += 0 if size is None else int(size)
        _must_be_in_range(each.name, inputs[each.name], specs[each.name])
    if begin != len(binary):
        text = f"the binary data must be {begin} bytes, the sum of binary_data_size; got {len(binary)}"
        raise APIError(400, "invalid_request", text, "inputs")
    if len({len(array) for array in inputs.values()}) != 1:
        rows = ", ".join(f"{len(array)} of {name}" for name, array in inputs.items())
        text = f"all inputs must have the same number of rows; got {rows}"
        raise APIError(400, "invalid_request", text, "inputs")
    return inputs


def _must_fit(given: InferInput, spec: Tensor) -> None:
    """Check a tensor's type and shape, before its numbers are read."""
    if "shared_memory_region" in (given.parameters or {}):
        raise _wrong(given.name, "must be sent in the body; shared memory is not supported")
    if given.datatype != DATATYPES[spec.dtype]:
        text = f"must have the datatype {DATATYPES[spec.dtype]}; got {shown(given.datatype)}"
        raise _wrong(given.name, text)
    multiple, least = spec.grid
    sizes = zip(given.shape, spec.shape, strict=False)
    fits = len(given.shape) == len(spec.shape) and given.shape[0] > 0
    if not fits or any(size != wanted for size, wanted in list(sizes)[1:] if isinstance(wanted, int)):
        text = f"must have the shape {shape_of(spec)}, where -1 is any size from 1; got {given.shape}"
        raise _wrong(given.name, text)
    varying = [size for size, wanted in zip(given.shape[1:], spec.shape[1:], strict=True) if wanted != size]
    if any(size < least or size % multiple for size in varying):
        text = f"must have sides of at least {least} that are multiples of {multiple}; got {given.shape}"
        raise _wrong(given.name, text)


def _from_json(given: InferInput) -> Array:
    if given.data is None:
        raise _wrong(given.name, "must have data or the parameter binary_data_size")
    numbers = _flat(given.data, given.shape)
    if numbers is None:
        text = f"must have {math.prod(given.shape)} numbers, flat or nested in the shape {given.shape}"
        raise _wrong(given.name, text)
    kind: Any = {"FP32": np.float32, "UINT8": np.uint8, "INT64": np.int64}[given.datatype]
    allowed = (int, float) if given.datatype == "FP32" else (int,)
    try:
        if any(type(number) not in allowed for number in numbers):
            raise TypeError
        with np.errstate(over="ignore"):
            return np.array(numbers, kind).reshape(given.shape)
    except (TypeError, OverflowError):
        raise _wrong(given.name, f"must have only numbers of the datatype {given.datatype}") from None


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
        text = f"must have {wanted} bytes of binary data for the shape {given.shape}, and no field data"
        raise _wrong(given.name, f"{text}; got {shown(size)}")
    # Copied, because data after JSON of an arbitrary length may be unaligned.
    return np.frombuffer(binary[:wanted], kind).reshape(given.shape).copy()


def _must_be_in_range(name: str, array: Array, spec: Tensor) -> None:
    if spec.dtype == "float32" and not np.isfinite(array).all():
        raise _wrong(name, "must have only finite numbers")
    if spec.meaning == "label" and not ((array >= 0) & (array < spec.classes)).all():
        text = f"must be from 0 to {spec.classes - 1}; got {array.min()} to {array.max()}"
        raise _wrong(name, text)


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
