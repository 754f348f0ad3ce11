"""What samples, translates or is scored: a run or an artifact, opened."""

import hashlib
from pathlib import Path
from typing import Literal

import safetensors.torch

from serving.runtime import manifest
from serving.runtime.engine import Engine
from serving.runtime.pipeline import Graphs, graphs_of_engine
from serving.runtime.sessions import Options
from serving.settings import ProviderName
from training.artifacts.export import restore


def is_artifact(source: Path) -> bool:
    """Tell an artifact from a run."""
    return (source / manifest.FILE).exists()


def open_graphs(
    source: Path,
    task: Literal["sample", "translate"],
    precision: manifest.Precision = "fp32",
    provider: ProviderName = "auto",
    threads: int = 0,
) -> Graphs:
    """Load an artifact's graphs by the serving engine, or a run's averaged generators by torch, on the CPU.

    Args:
        source: the artifact or the run.
        task: what it must be for.
        precision: of an artifact's graphs.
        provider: what an artifact's graphs run on.
        threads: of an artifact's graphs on the CPU; 0 is one for each core.

    Raises:
        ValueError: the source is neither, its task is another, or an artifact has no such precision.
    """
    if is_artifact(source):
        engine = Engine(source, provider, precision, Options(threads=threads))
        for name, variant in engine.variants.items():
            if variant.precision != precision:
                raise ValueError(f"{source} has no {name} of {precision} for the {engine.provider} provider")
        graphs, found = graphs_of_engine(engine), engine.manifest.task
    else:
        training = restore(source)
        weights = safetensors.torch.save(training.average.generators.state_dict())
        version = hashlib.sha256(weights).hexdigest()[:12]
        graphs, found = training.graphs._replace(version=version, provider="cpu"), training.card.entry.task
    if found != task:
        does = {"sample": "samples from latents", "translate": "translates images"}
        raise ValueError(f"{source} {does[found]}: use `ganzoo {found}`")
    return graphs
