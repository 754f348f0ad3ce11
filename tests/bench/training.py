"""Training speed in samples per second, compared with the plain loop of tutorials: a table of ratios.

    python -m tests.bench.training

Both loops train the same networks on the same images with the same batch size. They take turns in one
process, and the best turn of each counts. Our loop is the step of `ganzoo train`, with the moving average of
the weights. Reading the folder into memory before the first step is not measured. The share of the peak is
the FLOP/s of a step, as torch counts them, over the machine's peak FLOP/s in that precision. The peak is
measured with large matrix products and convolutions.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tests.bench import plain
from tests.bench.machine import describe_machine
from training.data.dataset import open_data
from training.loop.autotune import autotune
from training.loop.distributed import SINGLE
from training.loop.state import TrainState
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.entry import Entry
from zoo.models.dcgan import DCGAN2015
from zoo.models.mlp_gan import MLPGAN
from zoo.models.translate.cyclegan import CycleGAN
from zoo.models.wgan_gp import WGANGP


@dataclass(frozen=True)
class Kind:
    """A model to train, with its baseline."""

    entry: Entry
    plain: Callable[..., plain.Step]
    compiled: bool = True
    """Whether torch.compile is measured, too; large models take minutes to compile."""


def _translation(side: int, translator: Any) -> Kind:
    entry = CycleGAN(image_size=(side, side), translator=translator, resize=1, flip=False)
    return Kind(entry, plain.cycle, compiled=False)


KINDS = {
    "MLP-GAN 28": Kind(MLPGAN(), plain.binary),
    "DCGAN 32": Kind(DCGAN2015(channels=3, image_size=32), plain.binary),
    "DCGAN 64": Kind(DCGAN2015(channels=3), plain.binary),
    "WGAN-GP 32": Kind(WGANGP(channels=3, image_size=32), plain.wasserstein),
    "CycleGAN ResNet-6 128": _translation(128, "resnet-6"),
    "CycleGAN ResNet-9 256": _translation(256, "resnet-9"),
}
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours fp32": {"precision": "fp32"},
    "ours bf16": {"precision": "bf16"},
    "ours bf16, compiled": {"precision": "bf16", "compile": True},
}


def write_pictures(folder: Path, shape: tuple[int, ...], count: int) -> None:
    """Write smooth random images as PNG files."""
    folder.mkdir(parents=True)
    draws = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = torch.rand(1, shape[0], 8, 8, generator=draws)
        soft = F.interpolate(coarse, shape[1:], mode="bicubic")[0].clamp(0, 1)
        pixels = soft.mul(255).byte().permute(1, 2, 0).squeeze(2)
        Image.fromarray(pixels.numpy()).save(folder / f"{number:04}.png")


def ours(entry: Entry, spec: str, device: str, options: dict[str, Any]) -> Callable[[], object]:
    """Return a step of our loop, with the precision and the memory format that a run would choose."""
    config = RunConfig(name="bench", entry=entry, train=TrainConfig(data=spec, device=device, **options))
    data = open_data(spec, entry.sample_shape, 0)
    state = TrainState(autotune(config, SINGLE, data))
    data = data.to(state.device)
    return lambda: state.step(data)


def contestants(kind: Kind, folder: Path, device: str, compiled: bool) -> Iterator[tuple[str, Callable]]:
    """Yield the step of each loop for a model, on newly written images."""
    if kind.entry.task == "translate":
        for part in ("trainA", "trainB"):
            write_pictures(folder / part, kind.entry.scored_shape.a, 16)
        spec = f"unpaired:{folder}"
    else:
        write_pictures(folder, kind.entry.sample_shape, 512)
        spec = f"folder:{folder}"
    yield "plain", kind.plain(kind.entry, folder, device)
    for name, options in OURS.items():
        if "compile" not in options or (compiled and kind.compiled):
            yield name, ours(kind.entry, spec, device, options)


class Flops(TorchDispatchMode):
    """Counts the FLOP of layers. Unlike torch's FlopCounterMode, it supports double backward."""

    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        outcome = function(*given, **(named or {}))
        if count := flop_registry.get(function.overloadpacket):
            self.total += count(*given, **(named or {}), out_val=outcome)
        return outcome


def seconds_of(step: Callable[[], object], count: int, device: str) -> float:
    """Return the seconds that `count` steps take."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def race(steps: dict[str, Callable[[], object]], seconds: float, device: str) -> dict[str, float]:
    """Return the best time per step of each loop, in three turns of `seconds` in total per loop."""
    for step in steps.values():
        step()
    counts = {name: max(1, int(seconds / 3 / seconds_of(step, 1, device))) for name, step in steps.items()}
    best = dict.fromkeys(steps, math.inf)
    for _ in range(3):
        for name, step in steps.items():
            best[name] = min(best[name], seconds_of(step, counts[name], device) / counts[name])
        if sum(best.values()) > seconds:  # the steps are so long that one turn is enough
            break
    return best


def peak(dtype: torch.dtype, device: str) -> float:
    """Measure the peak FLOP/s of a dtype, with a large matrix product and a large convolution."""
    matrix = torch.randn(2048, 2048, dtype=dtype, device=device)
    maps = torch.randn(8, 256, 64, 64, dtype=dtype, device=device)
    weight = torch.randn(256, 256, 3, 3, dtype=dtype, device=device)
    works: list[tuple[float, Callable[[], object]]] = [
        (2 * 2048**3, lambda: matrix @ matrix),
        (2 * 8 * 64 * 64 * 256 * 256 * 9, lambda: F.conv2d(maps, weight, padding=1)),
    ]
    best = 0.0
    with torch.inference_mode():
        for flops, work in works:
            seconds_of(work, 2, device)
            best = max(best, *(flops / seconds_of(work, 1, device) for _ in range(12)))
    return best


def measure(name: str, seconds: float, device: str, compiled: bool) -> dict[str, Any]:
    """Measure all loops with one model; return a row."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as place:
        steps = dict(contestants(kind, Path(place) / "pictures", device, compiled))
        with Flops() as counter:
            steps["ours fp32"]()
        times = race(steps, seconds, device)
    examples = kind.entry.examples_per_step
    return {
        "kind": name,
        "batch": kind.entry.batch_size,
        "samples/s": {who: examples / each for who, each in times.items()},
        "flops": counter.total,
        "flop/s": {who: counter.total / each for who, each in times.items()},
    }


def table(rows: list[dict[str, Any]], peaks: dict[str, float]) -> str:
    """Return a Markdown table: samples/s of the plain loop, ratios to it, and shares of the peak."""
    ends = [
        "plain fp32, share of the fp32 peak",
        "ours fp32, share of the fp32 peak",
        "ours bf16, share of the bf16 peak",
    ]
    heads = ["model", "batch", "GFLOP per step", "plain, samples/s", *OURS, *ends]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        rates, reached = row["samples/s"], row["flop/s"]
        ratios = [f"{rates[name] / rates['plain']:.2f}" if name in rates else "" for name in OURS]
        shares = [
            f"{reached['plain'] / peaks['fp32']:.0%}",
            f"{reached['ours fp32'] / peaks['fp32']:.0%}",
            f"{max(reached[name] for name in reached if 'bf16' in name) / peaks['bf16']:.0%}",
        ]
        start = [row["kind"], str(row["batch"]), f"{row['flops'] / 1e9:,.4g}", f"{rates['plain']:,.4g}"]
        lines.append([*start, *ratios, *shares])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, write the table and the figures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per loop and model")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--no-compile", action="store_true", help="do not measure torch.compile")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/training"))
    asked = parser.parse_args()
    types, rows = {"fp32": torch.float32, "bf16": torch.bfloat16}, []
    peaks = dict.fromkeys(types, 0.0)
    for name in asked.kinds:
        rows.append(measure(name, asked.seconds, asked.device, not asked.no_compile))
        peaks = {key: max(peaks[key], peak(dtype, asked.device)) for key, dtype in types.items()}
        print(table(rows[-1:], peaks), flush=True)
    title = "Training speed, relative to the plain loop of tutorials"
    machine = describe_machine()
    figures = {"machine": machine, "title": title, "peaks": peaks, "rows": rows}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    best = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {name}" for name, value in peaks.items())
    asked.out.with_suffix(".md").write_text(f"# {title}\n\n{machine}; peak: {best}\n\n{table(rows, peaks)}\n")
    print(table(rows, peaks))


if __name__ == "__main__":
    main()
