"""The scoring service beside what people use instead, over HTTP, on the same model and machine.

    python benchmarks/serving.py                # some ten minutes
    python benchmarks/serving.py --quick        # two minutes, a smaller world, shorter rounds
    python benchmarks/serving.py --profile cards --json numbers.json

Each server is one process on the loopback interface, and wrk sends it transactions of a simulated
population, each once, over 1, 8 and 32 open connections:

- *ours*: `fraud-assets serve` on a prepared installation: it checks the request, updates the
  features of payer and payee, scores, and acknowledges once the answer is in its journal; beside
  that it writes the answers into its store (SQLite);
- *plain*: FastAPI, pydantic, two look-ups by `pandas.read_sql`, a one-row DataFrame,
  `predict_proba`, an INSERT and a commit, as a `def` route; and the same as an `async def` route,
  which waits for itself but spares the threads' quarrel. The quicker one counts;
- *MLflow*: `mlflow models serve`. It can neither look anything up nor store anything, so the
  features are in its requests: the easier task;
- *empty FastAPI* and *empty ASGI*: a constant, on uvicorn.

Short rounds alternate between the servers, and the order moves on by one each turn; medians are
given. A round begins with a second that is not counted. Servers that are not measured are stopped
by a signal, so that what they do in the background costs the others nothing. Ours is left running
until its answers are in the database, and how long that takes is given too. Client and server
share the machine's cores. At the end every check is printed; one that fails ends with code 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import serving_checks as checks
import serving_servers as servers
from rich.console import Console
from serving_load import Load, LoadError, Round, ensure_wrk
from serving_machine import Stopwatch, cores
from serving_servers import Server, ServerFailedError, ServerPlan
from serving_tables import BARE, EMPTY, MLFLOW, OURS, PLAIN, PLAIN_ASYNC, Cell, cells, goals, show
from serving_world import HISTORY_DAYS, World, make_world
from terminal import terminal

LEVELS = (1, 8, 32)
WARM_SECONDS = 1
NAMES = (OURS, PLAIN, PLAIN_ASYNC, MLFLOW, EMPTY, BARE)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    volume: int
    turns: int
    seconds: int


@dataclass(frozen=True)
class Measured:
    """All rounds of all servers, those that only warmed up apart, and what storing took."""

    rounds: list[Round]
    warming: list[Round]
    store_seconds: list[float]
    others: list[float]

    def of(self, server: str) -> list[Round]:
        """Every round in which a server got transactions."""
        return [one for one in (*self.warming, *self.rounds) if one.server == server]


def plans(world: World, names: Sequence[str]) -> list[ServerPlan]:
    """How the wanted servers are started."""
    known = {
        OURS: servers.ours,
        PLAIN: servers.plain,
        PLAIN_ASYNC: servers.plain_async,
        MLFLOW: servers.mlflow,
    }
    constant = {EMPTY: servers.empty, BARE: servers.bare}
    return [known[name](world) if name in known else constant[name]() for name in names]


def measure(
    world: World, running: Sequence[Server], load: Load, size: Size, console: Console
) -> Measured:
    """All turns; every server sleeps before and after."""
    found = Measured([], [], [], [])
    position = 0
    store = world.settings.data_dir / "store.db"
    for turn in range(size.turns):
        clock = Stopwatch([server.pid for server in running])
        order = [*running[turn % len(running) :], *running[: turn % len(running)]]
        for level in LEVELS:
            warm = load.needed(level, WARM_SECONDS)
            for server in order:
                what = f"turn {turn + 1} of {size.turns}: {server.plan.name} at {level}"
                with console.status(what):
                    server.wake()
                    found.warming.append(load.run(server, level, WARM_SECONDS, position))
                    one = load.run(server, level, size.seconds, position + warm)
                    found.rounds.append(one)
                    if server.plan.name == OURS:
                        found.store_seconds.append(checks.wait_until_stored(store))
                    server.sleep()
            position += warm + load.needed(level, size.seconds)
        found.others.append(clock.others())
    return found


def check(world: World, running: Sequence[Server], found: Measured) -> list[checks.Check]:
    """Everything that can be checked of the servers that were measured."""
    by_name = {server.plan.name: server for server in running}
    made = [checks.rounds_check([*found.rounds, *found.warming])]
    first = world.stream.height - checks.SAMPLES
    for name in (PLAIN, PLAIN_ASYNC):
        if name in by_name:
            server = by_name[name]
            server.wake()
            store = servers.plain_folder(world, name) / "plain.db"
            made.append(checks.stored_check(world, server, found.of(name), store))
            made.append(checks.plain_answers(world, server, first))
            server.sleep()
    seen = world.stream.tail(checks.SAMPLES)
    if OURS in by_name:
        server, store = by_name[OURS], world.settings.data_dir / "store.db"
        server.wake()
        made.append(checks.stored_check(world, server, found.of(OURS), store))
        check, seen = checks.our_answers(world, server, store, first)
        made.append(check)
        server.sleep()
    if MLFLOW in by_name:
        by_name[MLFLOW].wake()
        made.append(checks.mlflow_answers(world, by_name[MLFLOW], seen))
        by_name[MLFLOW].sleep()
    return made


def tell_of_ours(world: World, found: Measured, console: Console) -> None:
    """What the table does not say of our service."""
    mine = [one for one in found.rounds if one.server == OURS]
    if not mine:
        return
    lasting = [
        one.answered / (one.seconds + stored)
        for one, stored in zip(mine, found.store_seconds, strict=True)
        if one.connections == max(LEVELS)
    ]
    share = checks.alert_share(world.settings.data_dir / "store.db")
    console.print(
        f"ours at {max(LEVELS)}, counting the time until the last answer was in the database: "
        f"{statistics.median(lasting):,.0f} answers/s; {share:.2%} of the answers were alerts"
    )


def written(path: Path, world: World, found: Measured, made: Sequence[checks.Check]) -> None:
    """All numbers as JSON."""
    table: dict[tuple[str, int], Cell] = cells(found.rounds)
    content = {
        "profile": world.profile_name,
        "volume": world.volume,
        "cores": cores(),
        "others": found.others,
        "medians": [
            {"server": s, "connections": n, **asdict(one)} for (s, n), one in table.items()
        ],
        "goals": [{**asdict(one), "is_met": one.is_met} for one in goals(table)],
        "checks": [asdict(one) for one in made],
        "store_seconds": found.store_seconds,
        "rounds": [{**asdict(one), "rate": one.rate} for one in found.rounds],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def run(given: argparse.Namespace, console: Console) -> bool:
    """The benchmark; whether every check holds."""
    size = Size(20_000, 2, 1) if given.quick else Size(given.volume, given.turns, given.seconds)
    started = time.monotonic()
    ensure_wrk()
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name, ExitStack() as stack:
        folder = Path(name)
        length = checks.SAMPLES + size.turns * sum(
            Load.needed(level, WARM_SECONDS) + Load.needed(level, size.seconds) for level in LEVELS
        )
        with console.status(f"{HISTORY_DAYS[given.profile]} days of history, and a champion"):
            world = make_world(
                folder, profile_name=given.profile, volume=size.volume, transactions=length
            )
        running = []
        for number, plan in enumerate(plans(world, given.servers)):
            with console.status(f"starting {plan.name}"):
                running.append(stack.enter_context(Server(plan, folder / f"server-{number}")))
            running[-1].sleep()
        load = Load(world, folder)
        found = measure(world, running, load, size, console)
        made = check(world, running, found)
        title = (
            f"Profile '{given.profile}', {size.volume:,} transactions a day of history, "
            f"{size.turns} rounds of {size.seconds} s each"
        )
        show(console, title, cells(found.rounds), made)
        tell_of_ours(world, found, console)
        if given.json is not None:
            written(given.json, world, found, made)
    others = ", ".join(f"{one:.0%}" for one in found.others)
    console.print(
        f"{cores()} cores for client and server, of which other processes took {others} in the "
        f"{size.turns} turns; {time.monotonic() - started:.0f} s in all"
    )
    return not any(one.problem for one in made)


def main() -> None:
    """Measure, print, and say by the exit code whether the checks hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=sorted(HISTORY_DAYS), default="simulator")
    parser.add_argument("--quick", action="store_true", help="a small world, 2 turns, 1 s rounds")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of a round")
    parser.add_argument("--volume", type=int, default=50_000, help="transactions a day of history")
    parser.add_argument("--servers", nargs="+", choices=NAMES, default=NAMES, metavar="NAME",
                        help=f"only these of: {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all numbers there")
    given = parser.parse_args()
    console = terminal()
    servers.end_on_signals()
    try:
        holds = run(given, console)
    except (LoadError, ServerFailedError, httpx.HTTPError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; every server has been ended")
    if not holds:
        sys.exit(1)


if __name__ == "__main__":
    main()
