"""Does the service stay as it is? A steady stream for some minutes, and what grows meanwhile.

    python benchmarks/soak.py                          # ten minutes, 200 transactions a second
    python benchmarks/soak.py --minutes 60 --rate 400

The service runs on a prepared installation. Transactions of a simulated population happen "now", at
an even rate. The history in the lake holds, as far back as the state of the features remembers, a
stretch of just as many transactions a second: as much expires as comes in, and the state, which
lets go of expired ones in bulk, should stay within twice its size. (The memory of answers for
repeated requests, which otherwise fills up for hours, is set small, and so is the time for which
late transactions are awaited.)

Every five seconds it is looked at: memory, open files, threads, what the journal holds that the
database does not, what the state holds, and the latencies since, counted from when a transaction
was due, so that waiting counts. (The journal's files grow to 8 MB and are then removed; their
largest size in a minute is shown and not judged. The database keeps all answers.) The verdict
compares the last third with the first after the warm-up, and gives the slope with its interval
(Theil and Sen, 95 %): what grows does so beyond doubt, and by more than its tolerance. The
exit code is 1 if something grows or a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import psutil
from rich.console import Console
from rich.table import Table
from serving_machine import tree
from serving_servers import Server, ServerFailedError, end_on_signals, ours
from serving_steady import Sample, Steadiness, judge
from serving_world import World, make_world
from terminal import terminal

from fraud_assets.lake import VALIDATED, Lake
from fraud_assets.transactions import columns as c

LATE_DAYS = 0.01
SAMPLE_SECONDS = 5.0
MOST_UNDER_WAY = 64
MOST_FAILURES = 1_000
"""After which it ends early: something is wrong from the start."""

SPARE_SECONDS = 180
"""The stretch of history is longer by so much: the service takes a while to start."""

ENDED_IN_ORDER = (0, -signal.SIGTERM)
"""Uvicorn ends by the signal that it was sent, once all is done."""

SETTINGS = {
    "FRAUD_API__LATE_DAYS": str(LATE_DAYS),
    "FRAUD_API__REMEMBERED_ANSWERS": "1000",
    "FRAUD_API__SNAPSHOT_SECONDS": "60",
}


@dataclass
class Sent:
    """What has been sent so far; latencies in milliseconds since the last look."""

    answered: int = 0
    failed: int = 0
    first_failure: str = ""
    latencies: list[float] = field(default_factory=list)

    def taken(self) -> list[float]:
        """The latencies, which are then forgotten."""
        found, self.latencies = self.latencies, []
        return found


def remembered_stretch(world: World, rate: int, seconds: int) -> None:
    """Let the lake hold transactions that the state will forget while the soak goes on."""
    lake = Lake(world.settings.lake_root)
    start = datetime.now(UTC) - timedelta(days=world.features.lookback_days + LATE_DAYS)
    start_us = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    number = pl.int_range(pl.len(), dtype=pl.Int64)
    order = start_us + number * (1_000_000 // rate)
    stretch = world.stream.head(rate * seconds).with_columns(
        pl.format("P{}", pl.col(c.TRANSACTION_ID)).alias(c.TRANSACTION_ID),
        order.alias(c.EVENT_ORDER),
        order.cast(pl.Datetime("us", "UTC")).alias(c.EVENT_TIME),
    )
    for (day,), rows in stretch.group_by(pl.col(c.EVENT_TIME).dt.date()):
        if not lake.has_day(VALIDATED, day):
            continue
        before = lake.read_days(VALIDATED, [day])
        both = pl.concat([before, rows.select(before.columns)]).sort(c.EVENT_ORDER)
        lake.write_day(VALIDATED, day, both.unique(c.EVENT_ORDER, keep="first").sort(c.EVENT_ORDER))


async def send(server: Server, world: World, sent: Sent, *, rate: int, seconds: float) -> None:
    """An even stream, each transaction when it is due; at most `MOST_UNDER_WAY` at once."""
    room = asyncio.Semaphore(MOST_UNDER_WAY)
    limits = httpx.Limits(max_connections=MOST_UNDER_WAY)
    rows = world.stream.select(c.TRANSACTION_ID, c.AMOUNT, c.PAYER, c.PAYEE, c.KIND)
    started = time.monotonic()
    headers = {"content-type": "application/json"}
    async with (
        httpx.AsyncClient(limits=limits, timeout=30.0, headers=headers) as client,
        asyncio.TaskGroup() as all_,
    ):
        for number, row in enumerate(rows.head(int(rate * seconds)).iter_rows(named=True)):
            if sent.failed >= MOST_FAILURES:
                break
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await room.acquire()
            all_.create_task(_one(client, server.url, row, sent, due=due, room=room))


async def _one(
    client: httpx.AsyncClient,
    url: str,
    row: dict[str, object],
    sent: Sent,
    *,
    due: float,
    room: asyncio.Semaphore,
) -> None:
    body = {name: value for name, value in row.items() if value is not None}
    body[c.EVENT_TIME] = datetime.now(UTC).isoformat()
    problem = ""
    try:
        answer = await client.post(url, content=json.dumps(body))
        if answer.status_code != 200:
            problem = f"{answer.status_code} {answer.text[:300]}"
    except httpx.HTTPError as error:
        problem = repr(error)
    finally:
        room.release()
    sent.latencies.append((time.monotonic() - due) * 1e3)
    sent.answered += not problem
    sent.failed += bool(problem)
    sent.first_failure = sent.first_failure or problem


async def watch(server: Server, world: World, sent: Sent, samples: list[Sample]) -> None:
    """A look every `SAMPLE_SECONDS`, until it is cancelled."""
    started = time.monotonic()
    async with httpx.AsyncClient(timeout=10.0) as client:
        for number in range(1, 1_000_000):
            await asyncio.sleep(max(0.0, started + number * SAMPLE_SECONDS - time.monotonic()))
            server.check()
            with suppress(psutil.NoSuchProcess, httpx.HTTPError):
                metrics = (await client.get(server.at("/metrics"))).text
                minutes = (time.monotonic() - started) / 60
                samples.append(_sample(server, world, sent, metrics, minutes))


def _sample(server: Server, world: World, sent: Sent, metrics: str, minutes: float) -> Sample:
    processes = tree(server.pid)
    latencies = sent.taken() or [float("nan")]
    journal = world.settings.serving_dir / "journal"
    files = [path for path in journal.rglob("*") if path.is_file()]
    return Sample(
        minutes=minutes,
        answered=sent.answered,
        failed=sent.failed,
        values={
            "memory, MB": sum(one.memory_info().rss for one in processes) / 1e6,
            "open files": sum(one.num_fds() for one in processes),
            "threads": sum(one.num_threads() for one in processes),
            "not stored yet": _metric(metrics, "journal_waiting"),
            "state, transactions": _metric(metrics, "state_events"),
            "p50, ms": float(np.percentile(latencies, 50)),
            "p99, ms": float(np.percentile(latencies, 99)),
        },
        journal_mb=sum(_size(path) for path in files) / 1e6,
        database_mb=sum(_size(path) for path in world.settings.data_dir.glob("store.db*")) / 1e6,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a segment that has just been stored
        return 0


def _metric(text: str, name: str) -> float:
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else float("nan")


async def soak(
    server: Server, world: World, sent: Sent, *, rate: int, minutes: float
) -> list[Sample]:
    """Send and look, for so many minutes."""
    samples: list[Sample] = []
    looking = asyncio.create_task(watch(server, world, sent, samples))
    try:
        await send(server, world, sent, rate=rate, seconds=minutes * 60)
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    return samples


def show_minutes(samples: list[Sample], console: Console) -> None:
    """A line for each minute."""
    table = Table(title="medians of each minute")
    names = list(samples[0].values)
    for name in ("minute", "answered", "failed", *names, "journal, MB", "database, MB"):
        table.add_column(name, justify="right")
    for minute in range(int(samples[-1].minutes) + 1):
        own = [one for one in samples if int(one.minutes) == minute]
        if own:
            medians = [f"{np.nanmedian([s.values[n] for s in own]):,.1f}" for n in names]
            table.add_row(
                str(minute + 1), f"{own[-1].answered:,}", str(own[-1].failed), *medians,
                f"{max(one.journal_mb for one in own):,.1f}", f"{own[-1].database_mb:,.1f}",
            )  # fmt: skip
    console.print(table)


def show_verdict(found: list[Steadiness], sent: Sent, console: Console) -> None:
    """What grows."""
    table = Table(title="after the warm-up: the last third against the first")
    for name in ("", "first", "last", "slope an hour", "95 % interval", "verdict"):
        table.add_column(name, justify="right" if name else "left")
    for one in found:
        verdict = "[red]grows[/red]" if one.grows else "[green]steady[/green]"
        table.add_row(
            one.name, f"{one.first:,.2f}", f"{one.last:,.2f}", f"{one.slope:+,.2f}",
            f"{one.low:+,.2f} … {one.high:+,.2f}", verdict,
        )  # fmt: skip
    console.print(table)
    failures = f"{sent.failed:,} requests failed, the first with: {sent.first_failure}"
    console.print(failures if sent.failed else f"all {sent.answered:,} requests were answered")


def main() -> None:
    """Prepare, soak, and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=200, help="transactions a second")
    given = parser.parse_args()
    if not (1 <= given.rate <= 5_000 and 1 <= given.minutes <= 1_440):
        parser.error("1 to 5,000 transactions a second for 1 to 1,440 minutes")
    console = terminal()
    end_on_signals()
    seconds, sent = int(given.minutes * 60) + SPARE_SECONDS, Sent()
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as name:
            folder = Path(name)
            with console.status("history, a champion, and what is to be forgotten"):
                world = make_world(
                    folder, profile_name="simulator", volume=20_000,
                    transactions=given.rate * seconds,
                )  # fmt: skip
                remembered_stretch(world, given.rate, seconds)
            plan = ours(world, **SETTINGS)
            with Server(plan, folder / "server") as server:
                with console.status(f"{given.minutes:g} minutes at {given.rate} a second"):
                    samples = asyncio.run(
                        soak(server, world, sent, rate=given.rate, minutes=given.minutes)
                    )
                code = server.stop()
    except (ServerFailedError, ExceptionGroup) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; the service has been ended")
    show_minutes(samples, console)
    found = judge(samples, warm_minutes=max(1.0, given.minutes / 10))
    show_verdict(found, sent, console)
    console.print(f"the service ended with code {code} when it was asked to")
    if sent.failed or any(one.grows for one in found) or code not in ENDED_IN_ORDER:
        sys.exit(1)


if __name__ == "__main__":
    main()
