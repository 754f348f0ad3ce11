"""The commands `sample` and `translate` for runs, and `verify` with the check of portability."""

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from serving.cli import inference

if TYPE_CHECKING:
    from serving.runtime.pipeline import Pipeline


def open_model(source: Path) -> "Pipeline":
    """Load an artifact with the serving engine, or a run's averaged generators with torch on the CPU.

    Args:
        source: folder or name of an artifact; RUN, RUN@STEP or RUN@best.

    Raises:
        UserError: there is neither an artifact nor a run with the checkpoint.
    """
    from serving.runtime.load import load
    from serving.runtime.pretrained import is_run

    if not (is_run(source) or "@" in source.name):
        return load(source)
    from training.loop.averaged import open_averaged
    from training.run.checkpoint import parse_source

    folder, checkpoint = parse_source(source)
    return open_averaged(folder, checkpoint).pipeline if is_run(folder) else load(source)


sample = functools.partial(inference.sample, open_model=open_model)
translate = functools.partial(inference.translate, open_model=open_model)


def verify(artifact: Positional[Path]) -> None:
    """Verify an artifact: its hashes, its graphs and their outputs for the golden examples.

    Where the packages for training are installed, also check that each graph is valid ONNX for any runtime.

    Args:
        artifact: Folder or name of the artifact.
    """
    from serving.runtime.pretrained import find_artifact

    inference.verify(artifact)
    if importlib.util.find_spec("onnx"):
        from training.artifacts.portable import must_be_portable

        for line in must_be_portable(find_artifact(artifact)):
            print(line)
