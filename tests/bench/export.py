"""Inference speed of generators, compared with other runtimes on this machine: a table of ratios.

    python -m tests.bench.export

Every generator is exported with random initial weights, as `ganzoo export` does, with its parity checks. All
runtimes get the same inputs and return uint8 pixels. They take turns, and the best time of each counts. Each
measurement runs in a new process, as a server does, because memory that tracing has fragmented changes the
ratios by some tenths. If OpenVINO (`make install` installs it) is missing, so are its columns.
"""

import argparse
import importlib.util
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from serving.arrays import Array
from serving.runtime.engine import Engine
from serving.runtime.origin import Imported
from serving.runtime.sessions import open_session
from tests.bench.machine import describe_machine
from training.artifacts.writer import Exportable, write_artifact
from training.graphs.parity import psnr
from training.graphs.pixels import all_as_served
from training.graphs.trace import OPSET, Ends
from training.graphs.variants import Smaller
from zoo.entry import Entry
from zoo.models.dcgan import DCGAN
from zoo.models.mlp_gan import MLPGAN
from zoo.models.translate.cyclegan import CycleGAN

SIDE = 256
KINDS: dict[str, Entry] = {
    "MLP 28": MLPGAN(),
    "DCGAN 32": DCGAN(channels=3, image_size=32, width=64),
    "DCGAN 64": DCGAN(channels=3, image_size=64, width=64),
    "ResNet-9 256": CycleGAN(),
    "U-Net 256": CycleGAN(translator="unet-256"),
}
Run = Callable[[dict[str, Array]], Array]


def pictures(rows: int, seed: int) -> Tensor:
    """Return smooth random images with some grain, (rows, 3, SIDE, SIDE) in [-1, 1]."""
    draws = torch.Generator().manual_seed(seed)
    coarse, fine = (torch.rand(rows, 3, size, size, generator=draws) * 2 - 1 for size in (8, 64))
    large, small = (nn.functional.interpolate(each, (SIDE, SIDE), mode="bicubic") for each in (coarse, fine))
    return (large + 0.3 * small).clamp(-1, 1)


def feed(entry: Entry, rows: int, seed: int) -> dict[str, Tensor]:
    """Return random inputs of a generator."""
    if entry.task == "translate":
        return {"image": pictures(rows, seed)}
    draws = torch.Generator().manual_seed(seed)
    return {"latent": torch.randn(rows, entry.latent_size, generator=draws)}  # type: ignore[attr-defined]


def generator_of(entry: Entry) -> tuple[str, nn.Module]:
    """Return the name of an entry's first generator, and the generator with seeded random weights."""
    torch.manual_seed(0)
    name, generator = next(iter(entry.build("cpu").generators.items()))
    return name, generator.eval()


def artifact_of(entry: Entry, folder: Path) -> None:
    """Write a new generator as an artifact, with an int8 graph except for the MLP."""
    name, generator = generator_of(entry)
    small = 4 if entry.task == "translate" else 64

    def draw(_: str, number: int) -> dict[str, Tensor]:
        return feed(entry, small, 1 + number)

    source = Exportable(
        name="bench",
        entry=entry,
        data="none",
        generators=nn.ModuleDict({name: generator}),
        preview={name: feed(entry, small, 0)},
        columns=1,
        smaller=None if isinstance(entry, MLPGAN) else Smaller(("int8",), draw),
    )
    origin = Imported(layout="random weights", files={}, software={})
    write_artifact(folder, source, {"training": origin, "licence": "none"})


def contestants(generator: nn.Module, folder: Path, example: dict[str, Array]) -> Iterator[tuple[str, Run]]:
    """Yield each runtime that can run the generator, for inputs of the example's shape."""
    ours = Engine(folder, "cpu")
    ((name, graph),) = ours.manifest.graphs.items()
    canonical = (folder / graph.variants[0].file).read_bytes()
    plain = open_session(canonical, "cpu")
    yield "onnxruntime", lambda inputs: plain.run(None, inputs)[0]
    yield "ours fp32", lambda inputs: ours.run(name, inputs)
    small = Engine(folder, "cpu", "int8")
    if small.variants[name].precision == "int8":
        yield "ours int8", lambda inputs: small.run(name, inputs)
    ends = Ends(generator, list(example)).eval()
    yield "torch eager", in_torch(ends)
    yield "torch.compile", in_torch(torch.compile(ends, dynamic=False))
    if importlib.util.find_spec("openvino"):
        for precision in ("f32", "bf16"):
            yield f"OpenVINO {precision}", in_openvino(canonical, precision)


def in_torch(module: Any) -> Run:
    """Return a function that runs a module on arrays."""

    @torch.inference_mode()
    def run(inputs: dict[str, Array]) -> Array:
        output: Array = module(*(torch.from_numpy(value) for value in inputs.values()))[0].numpy()
        return output

    return run


def in_openvino(model: bytes, precision: str) -> Run:
    """Return a function that runs a graph in OpenVINO, with all cores for one call."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    options["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()
    return lambda inputs: request.infer(inputs)[0]


def race(runs: dict[str, Run], inputs: dict[str, Array], seconds: float) -> dict[str, float]:
    """Return the best time of each runtime, in turns of `seconds` in total per runtime."""
    best = dict.fromkeys(runs, math.inf)
    rounds = 4
    for turn in range(rounds):
        for name, run in runs.items():
            until = time.perf_counter() + seconds / rounds
            while True:
                start = time.perf_counter()
                run(inputs)
                best[name] = min(best[name], time.perf_counter() - start)
                if time.perf_counter() > until:
                    break
        if min(best.values()) > seconds and turn:
            break
    return best


def peak() -> float:
    """Measure the peak fp32 FLOP/s of the machine, with large matrix products in ONNX Runtime."""
    size, best = 2048, math.inf
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "product", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    session = open_session(model.SerializeToString(), "cpu")
    matrix = np.random.default_rng(0).standard_normal((size, size), np.float32)
    for _ in range(12):
        start = time.perf_counter()
        session.run(None, {"x": matrix})
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def flops(generator: nn.Module, example: dict[str, Tensor]) -> float:
    """Count the FLOP per image of the layers as the paper defines them."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        generator(**{key: value[:1] for key, value in example.items()})
    return float(counter.get_total_flops())


def measure(kind: str, folder: Path, batch: int, seconds: float) -> dict[str, Any]:
    """Measure all runtimes with one generator and one batch size; return a row."""
    entry = KINDS[kind]
    _, generator = generator_of(entry)
    fed = all_as_served(feed(entry, batch, 10**6))
    inputs = {key: np.ascontiguousarray(value) for key, value in fed.items()}
    runs = dict(contestants(generator, folder, inputs))
    outputs = {name: run(inputs) for name, run in runs.items()}
    times = race(runs, inputs, seconds)
    plain = outputs["onnxruntime"]
    return {
        "kind": kind,
        "batch": batch,
        "images/s": {name: batch / each for name, each in times.items()},
        "psnr": {name: psnr(each.astype(np.int16) - plain) for name, each in outputs.items()},
        "flops": flops(generator, feed(entry, 1, 0)) * batch / times["ours fp32"],
    }


def in_new_process(task: Callable[..., Any], *operands: Any) -> Any:
    """Run a function of this module in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(task, *operands).result()


def race_all(kinds: list[str], batches: list[int] | None, seconds: float) -> Iterator[dict[str, Any]]:
    """Export every generator and yield one row per batch size."""
    with tempfile.TemporaryDirectory() as place:
        for number, kind in enumerate(kinds):
            folder = Path(place) / str(number)
            in_new_process(artifact_of, KINDS[kind], folder)
            # A batch of 64 images of 256x256 pixels in seven runtimes needs more than 24 GB.
            sizes = batches or ([1, 8] if KINDS[kind].task == "translate" else [1, 8, 64])
            for batch in sizes:
                yield in_new_process(measure, kind, folder, batch, seconds)


def table(rows: list[dict[str, Any]], best: float) -> str:
    """Return a Markdown table: images/s of plain ONNX Runtime, and the other runtimes relative to it.

    The last column is the FLOP/s of the layers as the paper defines them, over the peak. It can exceed 100%,
    as the exported graph may compute fewer products.
    """
    names = [*dict.fromkeys(name for row in rows for name in row["images/s"] if name != "onnxruntime")]
    heads = ["generator", "batch", "onnxruntime, images/s", *names, "int8 PSNR, dB", "share of the fp32 peak"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        base = row["images/s"]["onnxruntime"]
        ratios = [f"{row['images/s'][name] / base:.2f}" if name in row["images/s"] else "" for name in names]
        fidelity = row["psnr"].get("ours int8")
        ends = ["" if fidelity is None else f"{fidelity:.1f}", f"{row['flops'] / best:.0%}"]
        lines.append([row["kind"], str(row["batch"]), f"{base:,.4g}", *ratios, *ends])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, write the table and the figures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--batches", nargs="*", type=int, help="default: 1 and 8, and 64 for small images")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds per runtime and batch size")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/export"))
    asked = parser.parse_args()
    rows, best = [], 0.0
    for row in race_all(asked.kinds, asked.batches, asked.seconds):
        rows.append(row)
        best = max(best, in_new_process(peak))
        print(table([row], best), flush=True)
    title = "Generator inference speed, relative to ONNX Runtime with the plain export"
    machine = describe_machine("onnxruntime-gpu", "openvino")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine, "title": title, "peak": best, "rows": rows}
    asked.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    machine += f"; peak: {best / 1e9:.0f} GFLOP/s in fp32 matrix products"
    asked.out.with_suffix(".md").write_text(f"# {title}\n\n{machine}\n\n{table(rows, best)}\n")
    print(table(rows, best))


if __name__ == "__main__":
    main()
