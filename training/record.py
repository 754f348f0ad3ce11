"""What a run leaves to look at: metrics.jsonl, TensorBoard scalars and contact sheets."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from serving import images
from serving.engine import Array
from training.durable import write_file
from zoo.entry import Inputs

METRICS = "metrics.jsonl"


class Record:
    """The open record of a run, continued after a step: what an interrupted run wrote past it is dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.path = folder, folder / METRICS
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step(line) <= step]
            write_file(self.path, "".join(line + "\n" for line in kept).encode())
        (folder / "sheets").mkdir(exist_ok=True)
        self.lines = self.path.open("a", encoding="utf-8", buffering=1)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one line of metrics and the same to TensorBoard."""
        self.lines.write(json.dumps({"step": step} | values) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def history(self, name: str) -> list[tuple[int, float]]:
        """Give the steps and values of a scalar."""
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [(line["step"], line[name]) for line in lines if name in line]

    def sheet(self, step: int, generators: nn.ModuleDict, probe: Inputs, columns: int) -> None:
        """Draw what every generator makes of its probe, in rows: `sheets/STEP-GENERATOR.png`."""
        for name, generator in generators.items():
            with torch.no_grad():
                output = generator(**probe[name])
            png = images.encode_png(images.picture(as_served(output), columns=columns))
            write_file(self.folder / "sheets" / f"{step:08d}-{name}.png", png)

    def close(self) -> None:
        """Write out what is still held back."""
        self.lines.close()
        self.board.close()


def as_served(output: Tensor) -> Array:
    """Take what a generator gives to what its graph would: uint8 (N, H, W, C), or float32 vectors (N, D)."""
    samples: Array = (to_pixels(output) if output.ndim == 4 else output).cpu().numpy()
    return samples


def to_pixels(samples: Tensor) -> Tensor:
    """Take float NCHW in [-1, 1] to uint8 NHWC, rounding half to even, as every graph of images ends."""
    scaled = (samples.float() + 1) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**63  # a line cut short by a kill: drop it
