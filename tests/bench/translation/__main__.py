"""Unpaired translation at equal CPU seconds, of one artist's emoji to another's: a table of scores.

    python -m tests.bench.translation --data ROOT [--peers CLONES]

ROOT holds `emoji`. CLONES holds a clone of the repository of `peers.py`; without it, only our entries are
measured. Every run has one thread. Training does not see which drawings are of the same thing; the held-out
pairs are the truth. Finished runs are kept in the folder of the runs, and the same command continues after an
interruption.
"""

import argparse
import os
from pathlib import Path

from tests.bench.cells import Cell, finished_in, markdown, pool_of, report, spread
from tests.bench.translation.cell import OURS, Key, measure, write_emoji
from tests.bench.translation.peers import PEERS

SCORES = ("feature_distance", "frechet", "kernel", "l1", "psnr", "ssim")


def table(cells: list[Cell]) -> str:
    """Return a Markdown table of the scores from a to b: mean and deviation over the seeds, and controls."""
    lines = [["run", "seeds", "updates", *SCORES]]
    rows = []
    for name in {cell["name"]: None for cell in cells}:
        found = [cell for cell in cells if cell["name"] == name]
        last = [cell["history"][-1] for cell in found]
        updates = f"{sum(cell['updates'] for cell in found) / len(found):,.0f}"
        scores = [spread([each[f"a2b_{score}"] for each in last]) for score in SCORES]
        mean = sum(each["a2b_feature_distance"] for each in last) / len(last)
        rows.append((mean, [name, str(len(found)), updates, *scores]))
    lines += [row for _, row in sorted(rows)]
    for control, scores in cells[0]["controls"].items():
        values = [spread([scores.get(f"a2b_{score}")]) for score in SCORES]
        lines.append([f"({control})", "", "", *values])
    return markdown(lines)


def main() -> None:
    """Run all cells that have no results yet, two at a time; write the table and figures of all that have."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GANZOO_TEST_DATA", "data")))
    parser.add_argument("--peers", type=Path, help="folder of the clone")
    parser.add_argument("--names", nargs="*", help="default: all of ours and, with --peers, all")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/translation"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/translation"))
    asked = parser.parse_args()

    write_emoji(asked.data, asked.runs / "data")
    names = asked.names or [*OURS, *(PEERS if asked.peers else {})]
    wanted = [Key(asked.minutes, name, seed) for seed in range(asked.seeds) for name in names]
    with pool_of(asked.processes) as pool:
        for work in [pool.submit(measure, asked, key) for key in wanted]:
            work.result()
    cells = finished_in(asked.runs)
    report(
        cells, table(cells), f"Translation of emoji, {asked.minutes:g} CPU minutes for each run", asked.out
    )


if __name__ == "__main__":
    main()
