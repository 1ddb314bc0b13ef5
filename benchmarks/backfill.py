"""A full-size backfill through the asset graph, against the bare libraries on the same data.

    python benchmarks/backfill.py              # 6.3 million rows in 31 days; some ten minutes
    python benchmarks/backfill.py --quick      # 300,000 rows in 5 days

Outside the clock, 21 days of history of the same size are generated, validated, labelled and
featurised, and a champion is trained on them and promoted (`graph.py prepare`). So every window of
the first benchmark day is full, a real model scores every day, and drift has a reference. The 31
days behind the history are what is measured; they have not been touched before.

Then, each in a process of its own, one after the other:

- `graph.py run`: `daily_pipeline` over all days as one single-run backfill, as the sensor asks for
  it, on an SQLite instance with the in-process executor;
- `bare.py`: the same work as a plain script, from the raw days that the graph wrote. Its features
  and scores must equal the graph's on three whole days, or the benchmark fails;
- `rolling.py`: the features of 8 days by pandas, every value compared.

Imports of the libraries that do the work are inside the clock on both sides. Generating the raw
days takes the simulator the same time for whoever reads them, so the ratio is given without it,
and once with it on both sides. Machines are shared: the load is printed, and CPU seconds beside
the wall time. Results go to `build/bench-backfill.json` as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "build" / "bench-backfill.json"
RAW = "raw_transactions"
FIRST_DAY = date(2025, 1, 1)
HISTORY_DAYS = 21
ROLLING_DAYS = 8

RATIO_GOAL = 1.5
DAGSTER_GOAL = 0.05
MEMORY_GOAL_MB = 3_000


def part(script: str, *arguments: str) -> None:
    """Run one part in a new process, with this environment but for an installation's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FRAUD_")}
    environment |= {
        "OMP_WAIT_POLICY": "PASSIVE",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
    }
    subprocess.run([sys.executable, str(HERE / script), *arguments], check=True, env=environment)


def measure(folder: Path, rows: int, days: int, console: Console) -> dict[str, Any]:
    """All parts in `folder`; their results by name, each with the load before it."""
    size = ("--folder", str(folder), "--rows", str(rows), "--days", str(days))
    first = str(FIRST_DAY + timedelta(days=HISTORY_DAYS))
    commands = {
        "prepare": ("graph.py", "prepare", *size),
        "run": ("graph.py", "run", *size),
        "bare": ("bare.py", "--folder", str(folder), "--first", first, "--days", str(days)),
        "rolling": (
            *("rolling.py", "--folder", str(folder)),
            *("--first", str(FIRST_DAY), "--days", str(ROLLING_DAYS)),
        ),
    }
    found: dict[str, Any] = {}
    for name, command in commands.items():
        load = os.getloadavg()[0]
        with console.status(f"{name}: {command[0]} (load {load:.1f})"):
            part(*command)
        found[name] = {"load": load, **json.loads((folder / f"{name}.json").read_text("utf-8"))}
    return found


def summarise(found: dict[str, Any]) -> dict[str, float]:
    """The numbers that have goals."""
    graph, bare, rolling = found["run"], found["bare"], found["rolling"]
    raw = graph["stages"][RAW]
    return {
        "ratio": (graph["seconds"] - raw) / bare["seconds"],
        "ratio_with_generation": graph["seconds"] / (bare["seconds"] + raw),
        "cpu_ratio": graph["cpu_seconds"] / bare["cpu_seconds"],
        "dagster_share": 1 - sum(graph["stages"].values()) / graph["seconds"],
        "rows_per_second": graph["rows"] / graph["seconds"],
        "peak_mb": graph["peak_mb"],
        "pandas_over_features": rolling["pandas_seconds"] / rolling["seconds"],
    }


def show(found: dict[str, Any], summary: dict[str, float], console: Console) -> None:
    """Print the stages and the ratios."""
    graph, bare, rolling = found["run"], found["bare"], found["rolling"]
    table = Table(title=f"{graph['rows']:,} rows in {graph['days']} days, one single-run backfill")
    for name in ("stage", "graph s", "share", "rows/s", "bare s", "ratio"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, seconds in graph["stages"].items():
        theirs = bare["stages"].get(stage)
        table.add_row(
            stage,
            f"{seconds:.1f}",
            f"{seconds / graph['seconds']:.0%}",
            f"{graph['rows'] / seconds:,.0f}",
            "" if theirs is None else f"{theirs:.1f}",
            "" if theirs is None else f"{seconds / theirs:.2f}",
        )
    outside = graph["seconds"] - sum(graph["stages"].values())
    table.add_row(
        "outside the assets", f"{outside:.1f}", f"{summary['dagster_share']:.1%}", "", "", ""
    )
    table.add_section()
    table.add_row(
        "all", f"{graph['seconds']:.1f}", "", f"{summary['rows_per_second']:,.0f}",
        f"{bare['seconds']:.1f}", "",
    )  # fmt: skip
    console.print(table)
    lines = [
        ("over the bare libraries, without generation", summary["ratio"], RATIO_GOAL, ".2f"),
        ("the same with generation", summary["ratio_with_generation"], RATIO_GOAL, ".2f"),
        (
            "in CPU seconds, generation held against the graph",
            summary["cpu_ratio"],
            RATIO_GOAL,
            ".2f",
        ),
        ("time outside the assets' bodies", summary["dagster_share"], DAGSTER_GOAL, ".1%"),
        ("peak memory, MB", summary["peak_mb"], MEMORY_GOAL_MB, ",.0f"),
    ]
    for title, value, goal, form in lines:
        verdict = "[green]met[/green]" if value <= goal else "[red]missed[/red]"
        console.print(f"{title}: {value:{form}} (goal {goal:{form}}, {verdict})")
    console.print(
        f"bare script: peak memory {bare['peak_mb']:,.0f} MB; checked: features and scores of "
        f"{bare['checked_rows']:,} rows equal those of the graph"
    )
    console.print(
        f"features of {rolling['rows']:,} rows: {rolling['seconds']:.1f} s, pandas rolling "
        f"{rolling['pandas_seconds']:.1f} s, {summary['pandas_over_features']:.1f} times as long; "
        f"checked: all {rolling['features']} numeric features equal"
    )
    loads = ", ".join(f"{name} {found[name]['load']:.1f}" for name in found)
    console.print(
        f"CPU seconds: graph {graph['cpu_seconds']:.0f}, bare {bare['cpu_seconds']:.0f}; load "
        f"average before each part, on {os.cpu_count()} cores: {loads}"
    )


def main() -> None:
    """Measure, print, and keep the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=6_300_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--quick", action="store_true", help="300,000 rows in 5 days")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows, days = (300_000, 5) if given.quick else (given.rows, given.days)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-backfill-") as folder:
        found = measure(Path(folder), rows, days, console)
    summary = summarise(found)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps({"summary": summary, **found}, indent=1) + "\n", "utf-8")
    show(found, summary, console)
    console.print(f"results: {given.results}")


if __name__ == "__main__":
    main()
