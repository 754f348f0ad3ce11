"""Every promise put on trial: a table of what was found, beside what a control found.

    python -m tests.reliability

A row is a promise of what does not break, and a control that does not keep it: a trial that could not fail
shows nothing. The exit status is 1 where a promise was not kept, or a control did not break.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

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
from zoo.cyclegan import CycleGAN
from zoo.dcgan import DCGAN

Trial = Callable[[Path, Path, bool], Finding]

TRIALS: dict[str, Trial] = {
    trial.__name__: trial
    for trial in (kills, flips, conformance, fuzzing, paths, poison, overload, swaps, drains, workers, soak)
}

HEADS = ["promise", "found", "control", "kept"]


def table(findings: list[Finding]) -> str:
    """Lay findings out, a row each."""
    rows = [[each.promise, each.found, each.control, "yes" if each.kept else "NO"] for each in findings]
    return "\n".join(f"| {' | '.join(row)} |" for row in [HEADS, ["---"] * 4, *rows])


def main() -> int:
    """Try every promise, write the table and print it; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="hours in place of minutes")
    parser.add_argument("--only", nargs="*", choices=TRIALS)
    parser.add_argument("--out", type=Path, help="by default docs/reliability.md, where all are tried")
    asked = parser.parse_args()
    findings = []
    with tempfile.TemporaryDirectory() as place:
        artifacts = Path(place) / "artifacts"
        for name, width in (("pictures", 64), ("classes", 32)):
            in_new_process(artifact_of, DCGAN(image_size=32, width=width), artifacts / name)
        in_new_process(artifact_of, CycleGAN(translator="resnet-6", width=16), artifacts / "styles")
        for name, trial in TRIALS.items():
            if name in (asked.only or TRIALS):
                scratch = Path(place) / name
                scratch.mkdir()
                findings.append(trial(artifacts, scratch, asked.long))
                print(name, *findings[-1], sep="\n    ", flush=True)
    how = "--long" if asked.long else "minutes"
    text = f"# What does not break\n\n`python -m tests.reliability` ({how}); {describe_machine()}\n\n"
    out = asked.out or (None if asked.only else Path("docs/reliability.md"))
    if out is not None:
        out.write_text(f"{text}{table(findings)}\n")
    return 0 if all(each.kept for each in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
