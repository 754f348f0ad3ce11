"""Logging of a run: metrics.jsonl, TensorBoard scalars and contact sheets."""

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
    """The logs of a run, open for appending after a step; entries of later steps are dropped.

    Later steps were logged by an interrupted run after its last checkpoint.
    """

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
        # START makes TensorBoard hide the later steps of earlier files.
        self._event(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write scalars as one line of metrics and to TensorBoard.

        Raises:
            OSError: a file can't be written.
        """
        with naming(self.folder):
            self.lines.write(json.dumps({"step": step} | values) + "\n")
            summary = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._event(step=step, summary=Summary(value=summary))

    def _event(self, **fields: Any) -> None:
        """Write an event synchronously; the writer of TensorBoard would fail in a thread of its own."""
        RecordWriter(self.board).write(Event(wall_time=time.time(), **fields).SerializeToString())
        self.board.flush()

    def history(self, name: str) -> list[tuple[int, float]]:
        """Return the logged steps and values of a scalar."""
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [(line["step"], line[name]) for line in lines if name in line]

    def sheet(self, step: int, name: str, pixels: Pixels) -> None:
        """Write a contact sheet: `sheets/STEP-NAME.png`."""
        write_file(self.folder / "sheets" / f"{step:08d}-{name}.png", codec.encode_png(pixels))

    def close(self) -> None:
        """Close both files, even if one of them fails to close."""
        with naming(self.folder), self.lines, self.board:
            pass


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**63  # an incomplete line of a killed run is dropped


class Speed:
    """Meter of the examples per second that a run trains on."""

    def __init__(self, step: int, examples: int) -> None:
        self.examples = examples
        self.restart(step)

    def restart(self, step: int) -> None:
        """Start a new measurement at a step."""
        self.step, self.start = step, time.perf_counter()

    def since(self, step: int) -> dict[str, float]:
        """Return the speed since the last measurement, as a scalar to log, and start a new one."""
        rate = (step - self.step) * self.examples / (time.perf_counter() - self.start)
        self.restart(step)
        return {"samples_per_second": rate}
