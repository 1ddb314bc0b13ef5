"""What the rounds come to: medians, ratios, goals, and how they are printed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from serving_checks import Check
from serving_load import Round

OURS, PLAIN, PLAIN_ASYNC, MLFLOW = "ours", "plain", "plain, async", "MLflow"
EMPTY, BARE = "empty FastAPI", "empty ASGI"

CAPTION = "latencies in ms, medians of the rounds; processor time of the server, at the last level"

PLAIN_GOAL = 15.0
MLFLOW_GOAL = 40.0
P99_GOAL_MS = 10.0
P50_GOAL = 3.0


@dataclass(frozen=True)
class Cell:
    """Medians over the rounds of one server at one number of connections.

    Latencies in milliseconds, and the server's processor time for an answer in microseconds.
    """

    rate: float
    lowest: float
    highest: float
    p50: float
    p95: float
    p99: float
    cpu_us: float


@dataclass(frozen=True)
class Goal:
    """A number that is to be at least (or at most) another."""

    what: str
    value: float
    limit: float
    at_least: bool
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def cells(rounds: Sequence[Round]) -> dict[tuple[str, int], Cell]:
    """The medians by server and connections."""
    groups: dict[tuple[str, int], list[Round]] = {}
    for one in rounds:
        groups.setdefault((one.server, one.connections), []).append(one)
    return {
        key: Cell(
            rate=statistics.median(one.rate for one in found),
            lowest=min(one.rate for one in found),
            highest=max(one.rate for one in found),
            p50=statistics.median(one.p50 for one in found),
            p95=statistics.median(one.p95 for one in found),
            p99=statistics.median(one.p99 for one in found),
            cpu_us=statistics.median(one.cpu_us for one in found),
        )
        for key, found in groups.items()
    }


def goals(found: Mapping[tuple[str, int], Cell]) -> list[Goal]:
    """Those that can be judged by the servers that were measured."""
    judged = []
    plains = [found[name, 32].rate for name in (PLAIN, PLAIN_ASYNC) if (name, 32) in found]
    if (OURS, 32) in found and plains:
        ratio = found[OURS, 32].rate / max(plains)
        what = "answers per second at 32, over the plain service (the quicker form)"
        judged.append(Goal(what, ratio, PLAIN_GOAL, at_least=True, unit="x"))
    if (OURS, 32) in found and (MLFLOW, 32) in found:
        ratio = found[OURS, 32].rate / found[MLFLOW, 32].rate
        what = "answers per second at 32, over MLflow's server"
        judged.append(Goal(what, ratio, MLFLOW_GOAL, at_least=True, unit="x"))
    if (OURS, 8) in found:
        p99 = found[OURS, 8].p99
        judged.append(Goal("p99 at 8", p99, P99_GOAL_MS, at_least=False, unit=" ms"))
    if (OURS, 1) in found and (EMPTY, 1) in found:
        ratio = found[OURS, 1].p50 / found[EMPTY, 1].p50
        what = "p50 at 1, over the empty FastAPI endpoint"
        judged.append(Goal(what, ratio, P50_GOAL, at_least=False, unit="x"))
    return judged


def show(
    console: Console, title: str, found: Mapping[tuple[str, int], Cell], checks: Sequence[Check]
) -> None:
    """Print the table, the goals and the checks."""
    levels = sorted({connections for _, connections in found})
    table = Table(title=title, caption=CAPTION)
    table.add_column("")
    for level in levels:
        table.add_column(f"{level} conn.\nanswers/s", justify="right")
        for name in ("p50", "p95", "p99"):
            table.add_column(f"\n{name}", justify="right")
    table.add_column("CPU µs\nan answer", justify="right")
    for server in dict.fromkeys(server for server, _ in found):
        row = [server]
        for level in levels:
            one = found[server, level]
            row += [f"{one.rate:,.0f}", *(_ms(value) for value in (one.p50, one.p95, one.p99))]
        row.append(f"{found[server, levels[-1]].cpu_us:,.0f}")
        table.add_row(*row, style="bold" if server == OURS else "")
    console.print(table)
    for goal in goals(found):
        verdict = "[green]met[/green]" if goal.is_met else "[red]missed[/red]"
        bound = "at least" if goal.at_least else "at most"
        console.print(
            f"{goal.what}: {goal.value:.2f}{goal.unit} "
            f"(goal {bound} {goal.limit:g}{goal.unit}, {verdict})"
        )
    for check in checks:
        verdict = f"[red]wrong: {check.problem}[/red]" if check.problem else "[green]yes[/green]"
        console.print(f"checked: {check.what}: {verdict}")


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
