"""What samples, translates or is scored: a run or an artifact, opened."""

from pathlib import Path
from typing import Literal

from serving import manifest
from serving.engine import Engine
from training.draw import Graphs, graphs_of_engine
from training.export import restore


def open_graphs(
    source: Path, task: Literal["sample", "translate"], precision: manifest.Precision = "fp32"
) -> Graphs:
    """Load an artifact's graphs by the serving engine, or a run's averaged generators by torch.

    Raises:
        ValueError: the source is neither, its task is another, or an artifact has no such precision.
    """
    if (source / manifest.FILE).exists():
        engine = Engine(source, precision=precision)
        for name, variant in engine.variants.items():
            if variant.precision != precision:
                raise ValueError(f"{source} has no {name} of {precision} for the {engine.provider} provider")
        graphs, found = graphs_of_engine(engine), engine.manifest.task
    else:
        training = restore(source)
        graphs, found = training.graphs, training.card.entry.task
    if found != task:
        does = {"sample": "samples from latents", "translate": "translates images"}
        raise ValueError(f"{source} {does[found]}: use `ganzoo {found}`")
    return graphs
