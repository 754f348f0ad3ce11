"""Training, evaluation and export of the zoo's models with PyTorch."""

from typing import TYPE_CHECKING

from serving.exports import importer

if TYPE_CHECKING:
    from serving.runtime.manifest import Evaluation
    from training.api import evaluate, export, train
    from training.run.train_config import TrainConfig

__all__ = ["Evaluation", "TrainConfig", "evaluate", "export", "train"]

_MODULES = {
    "Evaluation": "serving.runtime.manifest",
    "TrainConfig": "training.run.config",
    **dict.fromkeys(("evaluate", "export", "train"), "training.api"),
}

if not TYPE_CHECKING:  # type checkers would take any name for public
    __getattr__ = importer(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
