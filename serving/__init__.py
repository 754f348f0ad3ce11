"""Inference with exported artifacts on ONNX Runtime, offline and over HTTP, without PyTorch."""

import os
from typing import TYPE_CHECKING

from serving.exports import importer

if TYPE_CHECKING:
    from serving.client.async_client import AsyncClient
    from serving.client.client import Client
    from serving.errors import APIError, UserError
    from serving.imaging.intake import save, to_pil
    from serving.runtime.load import load
    from serving.runtime.manifest import Manifest
    from serving.runtime.pipeline import Pipeline
    from serving.runtime.pretrained import pretrained

# ONNX Runtime sends telemetry unless this variable is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "APIError",
    "AsyncClient",
    "Client",
    "Manifest",
    "Pipeline",
    "UserError",
    "load",
    "pretrained",
    "save",
    "to_pil",
]

_MODULES = {
    "APIError": "serving.errors",
    "AsyncClient": "serving.client.async_client",
    "Client": "serving.client.client",
    "Manifest": "serving.runtime.manifest",
    "Pipeline": "serving.runtime.pipeline",
    "UserError": "serving.errors",
    "load": "serving.runtime.load",
    "pretrained": "serving.runtime.pretrained",
    "save": "serving.imaging.intake",
    "to_pil": "serving.imaging.intake",
}

if not TYPE_CHECKING:  # type checkers would take any name for public
    __getattr__ = importer(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
