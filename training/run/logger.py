"""What a run leaves to look at: metrics.jsonl, TensorBoard scalars and contact sheets."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

from serving.arrays import Pixels
from serving.imaging import codec
from serving.system.files import naming, write_file

METRICS = "metrics.jsonl"


class RunLogger:
    """The open record of a run, continued after a step: what an interrupted run wrote past it is dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.path = folder, folder / METRICS
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step(line) <= step]
            write_file(self.path, "".join(line + "\n" for line in kept).encode())
        for part in ("sheets", "tensorboard"):
            (folder / part).mkdir(exist_ok=True)
        self.lines = self.path.open("a", encoding="utf-8", buffering=1)
        self.board = (folder / "tensorboard" / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open(
            "wb"
        )
        self._event(file_version="brain.Event:2")
        # From here on: what an earlier file says of later steps is no longer shown.
        self._event(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one line of metrics and the same to TensorBoard.

        Raises:
            OSError: it can't be written.
        """
        with naming(self.folder):
            self.lines.write(json.dumps({"step": step} | values) + "\n")
            summary = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._event(step=step, summary=Summary(value=summary))

    def _event(self, **fields: Any) -> None:
        """Write an event at once; TensorBoard's own writer has a thread, and would fail there."""
        RecordWriter(self.board).write(Event(wall_time=time.time(), **fields).SerializeToString())
        self.board.flush()

    def history(self, name: str) -> list[tuple[int, float]]:
        """Give the steps and values of a scalar."""
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [(line["step"], line[name]) for line in lines if name in line]

    def sheet(self, step: int, name: str, pixels: Pixels) -> None:
        """Write a contact sheet: `sheets/STEP-NAME.png`."""
        write_file(self.folder / "sheets" / f"{step:08d}-{name}.png", codec.encode_png(pixels))

    def close(self) -> None:
        """Close the files, each even where the other can't be written out."""
        with naming(self.folder), self.lines, self.board:
            pass


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**63  # a line cut short by a kill: drop it


class Speed:
    """How many examples a second a run learns from, measured from look to look."""

    def __init__(self, step: int, examples: int) -> None:
        self.examples = examples
        self.restart(step)

    def restart(self, step: int) -> None:
        """Measure from here on, whatever took time since the last look."""
        self.step, self.start = step, time.perf_counter()

    def since(self, step: int) -> dict[str, float]:
        """Give the speed since the last look, as a scalar worth logging."""
        rate = (step - self.step) * self.examples / (time.perf_counter() - self.start)
        self.restart(step)
        return {"samples_per_second": rate}
