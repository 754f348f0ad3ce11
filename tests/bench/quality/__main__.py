"""Our entries and public training scripts at equal CPU seconds: a table of scores.

    python -m tests.bench.quality --data ROOT [--peers CLONES]

ROOT holds `cifar10-jpeg.zip` and `emoji`. CLONES holds clones of the repositories of `peers.py`; without it,
only our entries are measured. Every run has one thread. Finished runs are kept in the folder of the runs, and
the same command continues after an interruption.
"""

import argparse
import os
from pathlib import Path

from tests.bench.cells import Cell, finished_in, markdown, pool_of, report, spread, write_pictures
from tests.bench.quality.cell import DATA, FEATURES, OURS, SCORES, Key, measure
from tests.bench.quality.peers import PEERS


def table(cells: list[Cell], features: str) -> str:
    """Return a Markdown table of the scores in some features: their mean and deviation over the seeds.

    Rows of the same pictures and budget are in the order of the distance above that of held-out pictures.
    """
    heads = ["pictures", "CPU minutes", "run", "seeds", "updates", *SCORES, "frechet above real", "last/best"]
    lines = [heads]
    cells = [cell for cell in cells if features in cell["reference"]]
    for data, minutes in sorted({(cell["data"], cell["minutes"]) for cell in cells}):
        some = [cell for cell in cells if (cell["data"], cell["minutes"]) == (data, minutes)]
        rows = []
        for name in {cell["name"]: None for cell in some}:
            found = [cell for cell in some if cell["name"] == name]
            histories = [[each[features] for each in cell["history"]] for cell in found]
            last = [history[-1] for history in histories]
            above = [
                each["frechet"] - cell["reference"][features]["frechet"]
                for each, cell in zip(last, found, strict=True)
            ]
            best = [min(each["frechet"] for each in history) for history in histories]
            worst = max(each["frechet"] / least for each, least in zip(last, best, strict=True))
            scores = [spread([each[score] for each in last]) for score in SCORES]
            updates = f"{sum(cell['updates'] for cell in found) / len(found):,.0f}"
            row = [data, f"{minutes:g}", name, str(len(found)), updates, *scores, spread(above)]
            rows.append((sum(above) / len(above), [*row, f"{worst:.2f}"]))
        lines += [row for _, row in sorted(rows)]
        reference = [f"{some[0]['reference'][features][score]:.3g}" for score in SCORES]
        lines.append([data, f"{minutes:g}", "(held-out pictures)", "", "", *reference, "0", ""])
    return markdown(lines)


def main() -> None:
    """Run all cells that have no results yet, two at a time; write the table and figures of all that have."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GANZOO_TEST_DATA", "data")))
    parser.add_argument("--peers", type=Path, help="folder of the clones")
    parser.add_argument("--pictures", nargs="*", choices=DATA, default=list(DATA))
    parser.add_argument(
        "--names", nargs="*", default=None, help="default: all of ours and, with --peers, all"
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/quality"))
    asked = parser.parse_args()

    for name in asked.pictures:
        (asked.runs / "data").mkdir(parents=True, exist_ok=True)
        write_pictures(DATA[name][0](asked.data), asked.runs / "data" / name)
    names = asked.names or [*OURS, *(PEERS if asked.peers else {})]
    wanted = [
        Key(data, asked.minutes, name, seed)
        for seed in range(asked.seeds)
        for data in asked.pictures
        for name in names
    ]
    with pool_of(asked.processes) as pool:
        for work in [pool.submit(measure, asked, key) for key in wanted]:
            work.result()
    cells = finished_in(asked.runs)
    tables = "\n\n".join(f"In the features of `{name}`:\n\n{table(cells, name)}" for name in FEATURES)
    report(cells, tables, "Quality at equal CPU seconds", asked.out)


if __name__ == "__main__":
    main()
