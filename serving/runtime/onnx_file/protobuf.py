"""Classes of protobuf messages of which only some fields are described; the others are kept as they are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

KINDS = {
    kind: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
    for kind in ("string", "bytes", "float", "int32", "int64")
}


class Field(NamedTuple):
    """A field of a message."""

    number: int
    name: str
    kind: str
    """A key of KINDS, or the name of a message."""

    repeated: bool = True
    """Whether it may occur several times; such a field also reads one that is not repeated."""


def message_class(package: str, messages: Mapping[str, Sequence[Field]], root: str) -> Any:
    """Return the class of the message `root`.

    Args:
        package: a name that no other call uses.
        messages: the fields of each message.
        root: name of one of the messages.
    """
    described = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field in fields:
            message.field.add(
                name=field.name,
                number=field.number,
                label=described.LABEL_REPEATED if field.repeated else described.LABEL_OPTIONAL,
                type=KINDS.get(field.kind, described.TYPE_MESSAGE),
                type_name=None if field.kind in KINDS else f".{package}.{field.kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{root}"))
