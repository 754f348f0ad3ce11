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
from serving.errors import UserError, shown
from serving.imaging import codec
from serving.imaging.provenance import Provenance
from serving.system.files import naming, read_regular, write_file
from serving.system.json_file import parse

METRICS = "metrics.jsonl"

Scalars = dict[str, float]
"""A line of metrics: `step`, an integer, and scalars by name."""


def read_metrics(folder: Path) -> list[Scalars]:
    """Return the lines of a run's metrics, without an incomplete last line of a killed run.

    Raises:
        UserError: a line is damaged; the message names the file and the line.
        OSError: the file can't be read.
    """
    path = folder / METRICS
    lines = read_regular(path).split(b"\n")[:-1] if path.exists() else []
    return [_scalars(line, path, number) for number, line in enumerate(lines, 1)]


def _scalars(line: bytes, path: Path, number: int) -> Scalars:
    try:
        content = parse(line)
        if not (isinstance(content, dict) and type(content.get("step")) is int):
            raise ValueError(f"it must be an object with the integer step; got {shown(content)}")
        if wrong := [value for value in content.values() if type(value) not in (int, float)]:
            raise ValueError(f"every value must be a number; got {shown(wrong[0])}")
        return {name: value if name == "step" else float(value) for name, value in content.items()}
    except (OverflowError, ValueError) as error:
        raise UserError(f"line {number} of {path} is damaged: {error}; remove the line") from error


class RunLogger:
    """The logs of a run, open for appending after a step; entries of later steps are dropped.

    Later steps were logged by an interrupted run after its last checkpoint.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.path = folder, folder / METRICS
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        write_file(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
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

    def sheet(self, step: int, name: str, pixels: Pixels, provenance: Provenance | None = None) -> None:
        """Write a contact sheet: `sheets/STEP-NAME.png`."""
        path = self.folder / "sheets" / f"{step:08d}-{name}.png"
        write_file(path, codec.encode_png(pixels, provenance))

    def close(self) -> None:
        """Close both files, even if one of them fails to close."""
        with naming(self.folder), self.lines, self.board:
            pass


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
