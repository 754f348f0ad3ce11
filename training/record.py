"""What a run leaves to look at: metrics.jsonl, TensorBoard scalars and contact sheets."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from serving import images
from serving.images import Pixels
from training.durable import write_file

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

    def sheet(self, step: int, name: str, pixels: Pixels) -> None:
        """Write a contact sheet: `sheets/STEP-NAME.png`."""
        write_file(self.folder / "sheets" / f"{step:08d}-{name}.png", images.encode_png(pixels))

    def close(self) -> None:
        """Write out what is still held back."""
        self.lines.close()
        self.board.close()


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**63  # a line cut short by a kill: drop it
