"""Every promise put on trial: a table of what was found, beside what a control found.

    python -m tests.reliability

A row is a promise of what does not break, and a control that does not keep it: a trial that could not fail
shows nothing. The exit status is 1 where a promise was not kept, or a control did not break.
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
RunLogger = dict[str, dict[str, Any]]
"""Of each trial, what was found last, and on what."""

TRIALS: dict[str, Trial] = {
    trial.__name__: trial
    for trial in (kills, flips, conformance, fuzzing, paths, poison, overload, swaps, drains, workers, soak)
}

RECORD, TABLE = Path("benchmarks/reliability.json"), Path("docs/reliability.md")
HEAD = """# What does not break

Each row was put on trial by `python -m tests.reliability` (`make reliability`; `--only NAME` for one alone),
beside a control that does not keep the promise.
"""
HEADS = ["promise", "found", "control", "kept", "measured on"]


def table(record: RunLogger) -> str:
    """Lay out what was found last, a row for each trial."""
    rows = [HEADS, ["---"] * len(HEADS)]
    for name in (name for name in TRIALS if name in record):
        finding, machine = Finding(*record[name]["finding"]), record[name]["machine"]
        said = [finding.promise, finding.found, finding.control, "yes" if finding.kept else "NO", machine]
        rows.append(said)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Try every promise, write what was found into the record and the table; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="hours in place of minutes")
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    asked = parser.parse_args()
    record: RunLogger = json.loads(RECORD.read_text()) if RECORD.exists() else {}
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
