"""Run the reliability trials and write their results as a table.

    python -m tests.reliability

Each row is one trial, which checks a promise. The same trial also runs on a control, which lacks the
protection and must break. The exit status is 1 if a promise was not kept or a control did not break.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.export import artifact_of, in_new_process
from tests.bench.machine import describe_machine
from tests.reliability.artifacts import damage, graphs, manifests
from tests.reliability.attacks.browsers import browsers
from tests.reliability.attacks.headers import headers
from tests.reliability.attacks.padding import padding
from tests.reliability.attacks.proxy import proxy
from tests.reliability.attacks.slow_uploads import slow_uploads
from tests.reliability.attacks.storms import storms
from tests.reliability.attacks.typed_calls import typed_calls
from tests.reliability.conformance import conformance
from tests.reliability.drains import drains
from tests.reliability.faults.commands import commands
from tests.reliability.faults.full_disk import full_disk
from tests.reliability.faults.idle_readers import idle_readers
from tests.reliability.faults.late_comers import late_comers
from tests.reliability.faults.memory import memory
from tests.reliability.faults.own_metrics import own_metrics
from tests.reliability.faults.unread_log import unread_log
from tests.reliability.finding import Finding
from tests.reliability.flips import flips
from tests.reliability.fuzz import fuzzing
from tests.reliability.kills import kills
from tests.reliability.overload import overload
from tests.reliability.paths import paths
from tests.reliability.poison import poison
from tests.reliability.soak import soak
from tests.reliability.swaps import swaps
from tests.reliability.workers import workers
from zoo.models.dcgan import DCGAN
from zoo.models.translate.cyclegan import CycleGAN

Trial = Callable[[Path, Path, bool], Finding]
Record = dict[str, dict[str, Any]]
"""The last finding of each trial, and the machine it was measured on."""

TRIALS: dict[str, Trial] = {
    trial.__name__: trial
    for trial in (
        *(kills, flips, graphs, manifests, damage, conformance, fuzzing, paths, poison, overload),
        *(swaps, drains, workers, soak),
        *(headers, typed_calls, padding, slow_uploads, storms),
        *(proxy, browsers, commands),
        *(full_disk, own_metrics, unread_log, memory, late_comers, idle_readers),
    )
}

LONG = " (long)"
"""What follows a trial's name in the record if it ran for hours."""

RECORD, TABLE = Path("benchmarks/reliability.json"), Path("docs/reliability.md")
HEAD = """# Reliability

This page lists the failures that the project is tested against, with the measured results.

Each row is one trial, which tests the promise in the first column. The trial also runs on a control: a \
server or a
program without the protection, or a simpler check. The control must fail. If it passed, the trial would not \
be able to
detect the failure.

* `python -m tests.reliability` or `make reliability` runs all trials.
* `python -m tests.reliability --only NAME` runs one trial.
* The column *kept* is "yes" if the promise was kept and the control failed.
"""
LONG_HEAD = """## The long trials

`make reliability-long` runs these trials with more requests, faults or rounds.
"""
HEADS = ["promise", "result", "control", "kept", "measured on"]


def page(record: Record) -> str:
    """Return the page of the last findings."""
    parts = [HEAD, table(record)]
    if any(name.endswith(LONG) for name in record):
        parts += ["", LONG_HEAD, table(record, LONG)]
    return "\n".join(parts) + "\n"


def table(record: Record, suffix: str = "") -> str:
    """Return the last findings of the trials with a suffix as a Markdown table, one row per trial."""
    rows = [HEADS, ["---"] * len(HEADS)]
    for name in (name + suffix for name in TRIALS if name + suffix in record):
        finding, machine = Finding(*record[name]["finding"]), record[name]["machine"]
        said = [finding.promise, finding.found, finding.control, "yes" if finding.kept else "NO", machine]
        rows.append(said)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Run the trials, write the record and the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="run for hours instead of minutes")
    parser.add_argument(
        "--only", nargs="*", choices=TRIALS, default=list(TRIALS), help="run these trials only"
    )
    asked = parser.parse_args()
    record: Record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    suffix = LONG if asked.long else ""
    with tempfile.TemporaryDirectory() as place:
        artifacts = Path(place) / "artifacts"
        for name, width in (("pictures", 64), ("classes", 32)):
            in_new_process(artifact_of, DCGAN(channels=3, image_size=32, width=width), artifacts / name)
        in_new_process(artifact_of, CycleGAN(translator="resnet-6", width=16), artifacts / "styles")
        for name in asked.only:
            scratch = Path(place) / name
            scratch.mkdir()
            finding = TRIALS[name](artifacts, scratch, asked.long)
            print(name, *finding, sep="\n    ", flush=True)
            record[name + suffix] = {"finding": list(finding), "machine": describe_machine()}
            RECORD.write_text(json.dumps(record, indent=2) + "\n")
            TABLE.write_text(page(record))
    return 0 if all(record[name + suffix]["finding"][-1] for name in asked.only) else 1


if __name__ == "__main__":
    sys.exit(main())
