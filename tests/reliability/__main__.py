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
from tests.reliability.conformance import conformance
from tests.reliability.drains import drains
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
from zoo.models.cyclegan import CycleGAN
from zoo.models.dcgan import DCGAN

Trial = Callable[[Path, Path, bool], Finding]
Record = dict[str, dict[str, Any]]
"""The last finding of each trial, and the machine it was measured on."""

TRIALS: dict[str, Trial] = {
    trial.__name__: trial
    for trial in (kills, flips, conformance, fuzzing, paths, poison, overload, swaps, drains, workers, soak)
}

RECORD, TABLE = Path("benchmarks/reliability.json"), Path("docs/reliability.md")
HEAD = """# Reliability

This page lists the failures that the project is tested against, with the measured results.

Each row is one trial, which tests the promise in the first column. The trial also runs on a control: a \
variant without
the protection, which must fail. If the control passed, the trial would not be able to detect the failure.

* `python -m tests.reliability` or `make reliability` runs all trials.
* `python -m tests.reliability --only NAME` runs one trial.
* The column *kept* is "yes" if the promise was kept and the control failed.
"""
HEADS = ["promise", "result", "control", "kept", "measured on"]


def table(record: Record) -> str:
    """Return the last findings as a Markdown table, one row per trial."""
    rows = [HEADS, ["---"] * len(HEADS)]
    for name in (name for name in TRIALS if name in record):
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
    with tempfile.TemporaryDirectory() as place:
        artifacts = Path(place) / "artifacts"
        for name, width in (("pictures", 64), ("classes", 32)):
            in_new_process(artifact_of, DCGAN(image_size=32, width=width), artifacts / name)
        in_new_process(artifact_of, CycleGAN(translator="resnet-6", width=16), artifacts / "styles")
        for name in asked.only:
            scratch = Path(place) / name
            scratch.mkdir()
            finding = TRIALS[name](artifacts, scratch, asked.long)
            print(name, *finding, sep="\n    ", flush=True)
            record[name] = {"finding": list(finding), "machine": describe_machine()}
            RECORD.write_text(json.dumps(record, indent=2) + "\n")
    TABLE.write_text(f"{HEAD}\n{table(record)}\n")
    return 0 if all(record[name]["finding"][-1] for name in asked.only) else 1


if __name__ == "__main__":
    sys.exit(main())
