"""Speed of sampling into shards, compared with a plain loop and with the engine alone: a table of ratios.

    python -m tests.bench.bulk

Generators have random weights. All methods sample the same seeds with the same engine. They take turns, and
the best time of each counts.
"""

import argparse
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from serving.imaging.codec import encode_png
from serving.offline.bulk import Plan, write_shards
from serving.offline.workers import packing, worker_pool, write_alone
from serving.runtime.load import load
from serving.runtime.pipeline import Pipeline
from serving.system.cpu import cores
from tests.bench.export import artifact_of
from tests.bench.machine import describe_machine
from zoo.entry import Entry
from zoo.models.dcgan import DCGAN
from zoo.models.mlp_gan import MLPGAN

KINDS: dict[str, tuple[Entry, int]] = {
    "MLP 28": (MLPGAN(), 8192),
    "DCGAN 32": (DCGAN(channels=3, image_size=32, width=64), 2048),
    "DCGAN 64": (DCGAN(channels=3, image_size=64, width=64), 512),
    "DCGAN 128, a quarter as wide": (DCGAN(channels=3, image_size=128, width=16), 512),
}
"""The generators, and the number of samples per round."""

BASELINE, ENGINE = "a plain loop", "the engine alone"
ROUNDS = 5
Row = dict[str, Any]


def plain_loop(pipeline: Pipeline, plan: Plan, path: Path) -> None:
    """Sample, encode and write in one loop, without any of our bulk code."""
    with tarfile.open(path, "w") as tar:
        for seeds, pictures, _ in pipeline.samples(plan.seeds(0)):
            for seed, picture in zip(seeds, pictures, strict=True):
                data = encode_png(picture)
                member = tarfile.TarInfo(f"{seed:016}.png")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def contestants(
    pipeline: Pipeline, plan: Plan, folder: Path, open_now: ExitStack
) -> dict[str, Callable[[], None]]:
    """Return the methods to compare; worker processes are started here, outside the measured time."""
    packers, workers = open_now.enter_context(packing(cores())), open_now.enter_context(worker_pool(cores()))
    quarters = [Plan(**asdict(plan) | {"size": -(-plan.n // 4)}).seeds(shard) for shard in range(4)]

    def beside() -> None:
        list(write_shards(pipeline, plan, folder, [0], packers, lambda count: None))

    def ours() -> None:
        write = partial(workers.submit, write_alone, folder / "artifact", plan.version, label=None)
        wait([write(seeds=seeds, path=folder / f"{seeds.start}.tar") for seeds in quarters])

    def engine() -> None:
        for _ in pipeline.samples(plan.seeds(0)):
            pass

    return {
        BASELINE: lambda: plain_loop(pipeline, plan, folder / "plain.tar"),
        "processes that pack beside the engine": beside,
        "ours: processes with an engine each": ours,
        ENGINE: engine,
    }


def race(entry: Entry, n: int) -> Iterator[Row]:
    """Run all methods in turns; yield the samples per second of the best round of each."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as open_now:
        folder = Path(place)
        artifact_of(entry, folder / "artifact")
        pipeline = load(folder / "artifact", provider="cpu")
        plan = Plan(version=pipeline.version, provider="cpu", seed=0, n=n, label=None, size=n)
        able = contestants(pipeline, plan, folder, open_now)
        best = dict.fromkeys(able, 0.0)
        for _ in range(ROUNDS):
            for name, draw in able.items():
                start = time.perf_counter()
                draw()
                best[name] = max(best[name], n / (time.perf_counter() - start))
    for name, rate in best.items():
        yield {"how": name, "per_second": rate}


def main() -> None:
    """Measure, write the table and the figures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/bulk"))
    asked = parser.parse_args()
    rows = [{"kind": kind, **row} for kind, (entry, n) in KINDS.items() for row in race(entry, n)]
    lines = [
        "| generator | method | ratio to a plain loop | ratio to the engine alone |",
        "| --- | --- | --- | --- |",
    ]
    rates = {(row["kind"], row["how"]): row["per_second"] for row in rows}
    for (kind, how), rate in rates.items():
        lines.append(
            f"| {kind} | {how} | {rate / rates[kind, BASELINE]:.2f} | {rate / rates[kind, ENGINE]:.2f} |"
        )
    title = "Sampling into shards: samples per second, relative to two baselines"
    machine = describe_machine("onnxruntime-gpu", "pillow")
    asked.out.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    asked.out.with_suffix(".md").write_text(f"# {title}\n\n{machine}\n\n" + "\n".join(lines) + "\n")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
