"""When to retrain: the closed loop against the calendar, and against simpler triggers.

    python benchmarks/loop.py                                   # the simulator's four worlds
    python benchmarks/loop.py --handbook handbook_raw.parquet   # and the Handbook's 183 days
    python benchmarks/loop.py --worlds sudden --policies never ours
    python benchmarks/loop.py --quick                           # a small world, to try it

Each policy lives through the same days: the champion scores a day, at its close the policy decides,
and what it trains goes live on the next day if the gate lets it (the same for all, but for one row
in which the newest always goes live). A candidate depends on its day alone, so it is trained once
and shared; its cost counts for each policy that asked for it. All begin with the same champion. A
day is judged by the labels that were known after the delay.

Days, candidates and scores are kept in `--folder`, by the world's configuration and profile, so
that a second start goes on where the first stopped. After a change of the code begin `--fresh`.

- *Learnable*: the average precision without the days after a change on which no model can serve
  that has learnt any of it, as labels have to mature: there it is luck which old model is better.
- *Recovered*: days from each change until the three-day mean of the average precision is back at
  95 % of what "daily, no gate" reaches in the last ten days of that regime (or its last third).
- *Alarms*: trainings that were asked for because something seemed to have changed. They are false
  without a change of the frauds within the days that it takes to learn it, and a week more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A world is a process, and there are as many as cores: more threads would only wait for them.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from loop_picture import picture
from loop_plans import SEED, WORLDS, Plan, handbook_plan
from loop_policies import OURS, POLICIES
from loop_tables import document, show, show_verdicts
from loop_world import WorldResult, check_no_look_ahead, live_through
from terminal import terminal

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "build" / "bench-loop"
HANDBOOK = "handbook"
SHOWN = ("sudden", "gradual", "recurring", "covariate", HANDBOOK)


def plans(given: argparse.Namespace) -> tuple[list[Plan], list[str]]:
    """The worlds that are asked for, and what is left out."""
    names = ["quick"] if given.quick else given.worlds or list(SHOWN)
    left_out = []
    found = []
    for name in names:
        if name != HANDBOOK:
            found.append(WORLDS[name](given.seed))
        elif given.handbook is not None and given.handbook.is_file():
            found.append(handbook_plan(given.handbook))
        else:
            left_out.append(
                f"{HANDBOOK}: {given.handbook} is not there" if given.handbook else
                f"{HANDBOOK}: give the Handbook's raw data with --handbook"
            )  # fmt: skip
    return found, left_out


def lived(
    worlds: Sequence[Plan], folder: Path, policies: Sequence[str], processes: int
) -> Iterator[WorldResult]:
    """The worlds' results in their order; the longest is begun first."""
    if processes == 1 or len(worlds) == 1:
        yield from (live_through(plan, folder, policies) for plan in worlds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        by_length = sorted(worlds, key=lambda plan: -len(plan.live))
        jobs = {plan.name: pool.submit(live_through, plan, folder, policies) for plan in by_length}
        yield from (jobs[plan.name].result() for plan in worlds)


def main() -> None:
    """Live through the worlds, print their tables, draw the picture and keep the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", choices=(*WORLDS, HANDBOOK))
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--handbook", type=Path, help="the Handbook's raw daily files as Parquet")
    parser.add_argument("--quick", action="store_true", help="one small world of a few days")
    parser.add_argument("--seed", type=int, default=SEED, help="of the simulated worlds")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where all is kept")
    parser.add_argument("--fresh", action="store_true", help="forget what is kept")
    parser.add_argument("--out", type=Path, help="the picture; default: in the folder")
    parser.add_argument("--json", type=Path, help="all numbers; default: in the folder")
    parser.add_argument(
        "--check", action="store_true", help="live through half of each world again, cut there"
    )
    given = parser.parse_args()
    console = terminal()
    worlds, left_out = plans(given)
    if given.fresh:
        shutil.rmtree(given.folder, ignore_errors=True)
    if given.check:
        for plan in worlds:
            middle = plan.live[0] + timedelta(days=len(plan.live) // 2)
            found = check_no_look_ahead(plan, given.folder, given.policies, middle)
            console.print(f"{plan.name}, cut after {middle}: {'; '.join(found) or 'no difference'}")
        return
    results = []
    for result in lived(worlds, given.folder, given.policies, given.processes):
        show(result, console)
        results.append(result)
    numbers = given.json or given.folder / "bench-loop.json"
    numbers.parent.mkdir(parents=True, exist_ok=True)
    content = [document(result) for result in results]
    numbers.write_text(json.dumps(content, indent=1, default=str) + "\n", "utf-8")
    drawn = given.out or given.folder / "bench-loop.png"
    drawn.write_bytes(picture(results))
    console.print(f"numbers: {numbers}, picture: {drawn}")
    for line in left_out:
        console.print(f"left out, {line}")
    if OURS in given.policies:
        show_verdicts(results, console)


if __name__ == "__main__":
    main()
