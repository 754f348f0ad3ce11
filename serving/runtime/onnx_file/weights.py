"""Weights of an ONNX file: all must be in the file itself, in every place where ONNX allows tensors.

Only the fields that lead to tensors are described here. Source: the field numbers of `onnx.proto3`.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from serving.errors import EngineError
from serving.runtime.onnx_file.protobuf import Field, message_class

FIELDS = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {},
}
"""The messages of ONNX that lead to tensors, and the fields of each: number and message."""

LOCATION, EXTERNAL = 14, 1
"""Number of a tensor's field `data_location`, and its value for data outside of the file."""


def must_be_inside(model: bytes) -> None:
    """Check that an ONNX file refers to no other file for its weights.

    Raises:
        EngineError: it does, or it is not ONNX.
    """
    message = _model()()
    try:
        message.ParseFromString(model)
    except Exception as error:  # protobuf's errors are of several classes
        raise EngineError(f"the graph must be an ONNX file; it can't be parsed: {error}") from error
    for tensor in _tensors(message):
        if tensor.f13 or tensor.location == EXTERNAL:
            raise EngineError("all weights of a graph must be in its file; got external data")


def _tensors(message: Any) -> Iterator[Any]:
    """Yield all tensors in a message, at any depth."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        if message.DESCRIPTOR.name == "Tensor":
            yield message
            continue
        for field in message.DESCRIPTOR.fields:
            waiting += getattr(message, field.name)


@cache
def _model() -> Any:
    """Return the class of the message `Model`, with a repeated field `f{number}` for each of its fields.

    A repeated field also reads a field that is not repeated, and sees all of its values.
    """
    messages = {
        name: [Field(number, f"f{number}", target) for number, target in fields.items()]
        for name, fields in FIELDS.items()
    }
    messages["Tensor"].append(Field(LOCATION, "location", "int32", repeated=False))
    return message_class("ganzoo.weights", messages, "Model")
