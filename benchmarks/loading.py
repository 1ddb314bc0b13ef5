"""What loading the definitions costs, beside `import dagster` alone: Dagster starts many processes.

Each is a new process; the two take turns, and the medians are compared. Goal: at most 1.3 times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

IMPORT_DAGSTER = "import dagster"
LOAD_DEFINITIONS = (
    "from fraud_assets.definitions import build_defs; from fraud_assets.settings import Settings; "
    "build_defs(Settings(_env_file=None))"
)
HEAVY = ("mlflow", "evidently", "xgboost", "sklearn", "pandas", "duckdb", "ibis", "matplotlib")
GOAL = 1.3


def cost(code: str) -> tuple[float, float]:
    """Wall and CPU seconds of a new Python process that runs `code`."""
    before = os.times()
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment(), stderr=subprocess.PIPE
    )
    wall = time.perf_counter() - started
    after = os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


def heavy_modules() -> list[str]:
    """Which of the heavy libraries loading the definitions imports; none, it is hoped."""
    code = f"{LOAD_DEFINITIONS}; import sys; print(*(m for m in {HEAVY} if m in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment(), capture_output=True, text=True
    )
    return found.stdout.split()


def environment() -> dict[str, str]:
    """This environment without settings of an installation."""
    return {k: v for k, v in os.environ.items() if not k.startswith("FRAUD_")}


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for code in (IMPORT_DAGSTER, LOAD_DEFINITIONS):
        cost(code)  # compiles the bytecode and fills the file cache
    runs = [(cost(IMPORT_DAGSTER), cost(LOAD_DEFINITIONS)) for _ in range(repeats)]
    for i, clock in enumerate(("wall", "CPU")):
        dagster = statistics.median(one[0][i] for one in runs)
        ours = statistics.median(one[1][i] for one in runs)
        print(
            f"{clock}: import dagster {dagster:.2f} s, definitions {ours:.2f} s, "
            f"ratio {ours / dagster:.2f} (goal {GOAL})"
        )
    print(f"heavy libraries imported: {', '.join(heavy_modules()) or 'none'}")


if __name__ == "__main__":
    main()
