"""Verification that an artifact's graphs are portable: valid ONNX that any runtime can load."""

from collections.abc import Iterator
from pathlib import Path

import onnx

from serving.runtime.artifact import read_file, read_manifest
from training.graphs.trace import OPSET, GraphError, check


def must_be_portable(artifact: Path) -> Iterator[str]:
    """Check each graph's file with ONNX's own checker and yield a line for each.

    Raises:
        ManifestError: there is no artifact, or its format is not supported.
        GraphError: a file is not valid ONNX, uses another opset or operator domain, has a fixed batch or
            several outputs, or has weights that are outside the file or not finite.
    """
    for graph in read_manifest(artifact).graphs.values():
        for variant in graph.variants:
            data = read_file(artifact, variant)
            try:
                check(onnx.load_from_string(data))
            except Exception as error:  # protobuf raises many types of exceptions on malformed files
                raise GraphError(f"{artifact / variant.file}: {error}") from error
            yield f"{variant.file}: valid ONNX, only operators of opset {OPSET}"
