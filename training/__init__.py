"""Training, evaluation and export of the zoo's models with PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.runtime.manifest import Evaluation
    from training.api import evaluate, export, train
    from training.run.config import TrainConfig

__all__ = ["Evaluation", "TrainConfig", "evaluate", "export", "train"]

_MODULES = {
    "Evaluation": "serving.runtime.manifest",
    "TrainConfig": "training.run.config",
    **dict.fromkeys(("evaluate", "export", "train"), "training.api"),
}


if not TYPE_CHECKING:  # type checkers would take any name for public

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used, so that most commands do not import torch."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            found = getattr(importlib.import_module(_MODULES[name]), name)
        except ModuleNotFoundError as error:
            from serving.cli.errors import extra_of

            raise ImportError(extra_of(error) or str(error)) from error
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return __all__
