"""Requests that make a whole batch fail: the output of the other requests is unchanged."""

import asyncio
import random
from pathlib import Path

import numpy as np

from serving.repository.batcher import Array, Batcher, Inputs, Job
from serving.runtime.engine import Engine
from serving.runtime.latents import draw_latents
from tests.reliability.finding import Finding

POISON = np.float32(12345)
NEIGHBOURS = 7
"""Valid requests in a batch with one failing request."""


class Poisonable:
    """A real engine that fails every batch with a poisoned input."""

    def __init__(self, artifact: Path) -> None:
        self.engine = Engine(artifact, "cpu")
        self.size = self.engine.manifest.graphs["generator"].inputs["latent"].size
        self.failed = 0

    def run(self, inputs: Inputs) -> Array:
        """Run the graph, or raise if the batch is poisoned."""
        if (inputs["latent"] == POISON).any():
            self.failed += 1
            raise RuntimeError("poisoned")
        return self.engine.run("generator", inputs)


class Careless(Batcher):
    """A batcher that fails all requests of a batch when one fails."""

    def _run_together(self, batch: list[Job]) -> list[Array | BaseException]:
        try:
            output = self._run({"latent": np.concatenate([job.inputs["latent"] for job in batch])})
        except Exception as error:
            return [error] * len(batch)
        return list(np.split(output, np.cumsum([job.rows for job in batch])[:-1]))


def hit(artifact: Path, count: int, kind: type[Batcher] = Batcher) -> tuple[int, int]:
    """Poison `count` batches; return the number of engine failures and of other requests affected."""
    poisonable, chance = Poisonable(artifact), random.Random(0)
    alone = {seed: poisonable.engine.run("generator", _latent(poisonable.size, seed)) for seed in range(64)}

    async def ask() -> int:
        batcher, harmed = kind(poisonable.run), 0
        for _ in range(count):
            seeds = [chance.randrange(64) for _ in range(NEIGHBOURS)]
            poison = {"latent": np.full((1, poisonable.size), POISON)}
            given = [_latent(poisonable.size, seed) for seed in seeds]
            given.insert(chance.randrange(NEIGHBOURS + 1), poison)
            first = asyncio.create_task(batcher.submit(_latent(poisonable.size, 0)))
            answers = await asyncio.gather(*map(batcher.submit, given), return_exceptions=True)
            await asyncio.gather(first, return_exceptions=True)
            kept = [answer for each, answer in zip(given, answers, strict=True) if each is not poison]
            harmed += sum(
                not isinstance(answer, np.ndarray) or not np.array_equal(answer, alone[seed])
                for seed, answer in zip(seeds, kept, strict=True)
            )
        batcher.close()
        return harmed

    harmed = asyncio.run(ask())
    return poisonable.failed, harmed


def _latent(size: int, seed: int) -> dict[str, Array]:
    return {"latent": draw_latents(size, [seed])}


def poison(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Poison batches of our batcher, and of one that fails as a whole."""
    count = 5000 if long else 500
    failed, harmed = hit(artifacts / "pictures", count)
    _, careless = hit(artifacts / "pictures", count // 10, Careless)
    return Finding(
        f"{count:,} batches with one failing request each: the output of the other requests is unchanged, "
        "byte for byte",
        f"{harmed} of {count * NEIGHBOURS:,} other requests affected; the engine failed {failed:,} times",
        f"a batch that fails as a whole: {careless} of {count // 10 * NEIGHBOURS:,} affected",
        harmed == 0 and failed >= count and careless > 0,
    )
