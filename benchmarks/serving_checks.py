"""Whether the answers were right, and whether what was answered is in the databases.

A number of a server that answers wrongly is worth nothing: every check that fails is said, and
fails the benchmark.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import polars as pl
from serving_load import Round, feature_bodies, transaction_bodies
from serving_servers import Server, plain_folder
from serving_world import World

from fraud_assets.transactions import columns as c

TOLERANCE = 1e-6
SAMPLES = 200
STORE_SECONDS = 120.0
"""How long is waited for answers to reach the database."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """Something that was looked at; `problem` is empty if it is as it should be."""

    what: str
    problem: str = ""


def ask(server: Server, bodies: Sequence[str]) -> list[Any]:
    """The answers to requests that are sent one after another.

    Raises:
        httpx.HTTPError: one of them is no 200.
    """
    headers = {"content-type": "application/json"}
    found = []
    with httpx.Client(headers=headers, timeout=30.0) as client:
        for body in bodies:
            answer = client.post(server.url, content=body)
            answer.raise_for_status()
            found.append(answer.json())
    return found


def rounds_check(rounds: Sequence[Round]) -> Check:
    """Whether every request of every round was answered with success."""
    what = f"{sum(one.answered for one in rounds):,} answers, none of them an error"
    bad = [one for one in rounds if one.failures or not one.answered]
    names = ", ".join(f"{one.server} at {one.connections}: {one.failures}" for one in bad)
    return Check(what, f"failures of {names}" if bad else "")


def stored_rows(store: Path) -> int:
    """Answers in a database from which none is ever removed; at once, however many."""
    with _reading(store) as connection:
        return int(connection.execute("SELECT max(rowid) FROM answers").fetchone()[0] or 0)


def wait_until_stored(store: Path) -> float:
    """Wait until nothing more arrives in the database; returns after how long the last one did.

    The end of the stream cannot be counted: wrk hangs up on its last requests.
    """
    started = time.monotonic()
    before, last = stored_rows(store), 0.0
    quiet = started
    while time.monotonic() - started < STORE_SECONDS:
        time.sleep(0.1)
        now = stored_rows(store)
        if now != before:
            before, last = now, time.monotonic() - started
            quiet = time.monotonic()
        elif time.monotonic() - quiet > 0.8:
            break
    return last


def stored_check(world: World, server: Server, rounds: Sequence[Round], store: Path) -> Check:
    """Whether the database holds one row for each transaction that was sent, and nothing else.

    When a round ends, wrk hangs up on at most one request of each connection, and nobody knows
    whether those were answered. What of them is not in the database is sent again, as a payment
    system would; then all that was issued has been acknowledged.
    """
    wait_until_stored(store)  # what was under way when the server was put to sleep
    ids = world.stream[c.TRANSACTION_ID]
    issued = pl.concat([ids.slice(one.first, one.issued) for one in rounds])
    doubtful = sum(one.issued - one.answered for one in rounds)
    limit = sum(one.connections for one in rounds)
    missing = issued.filter(~issued.is_in(_stored_ids(store).implode()))
    name = server.plan.name
    if doubtful > limit or missing.len() > doubtful:
        return Check(
            f"{name}: what was acknowledged is stored",
            f"{missing.len()} are missing, and only {doubtful} were under way at the ends",
        )
    again = world.stream.filter(pl.col(c.TRANSACTION_ID).is_in(missing.implode()))
    ask(server, transaction_bodies(again))
    wait_until_stored(store)
    stored = _stored_ids(store)
    what = (
        f"{name}: {issued.len():,} transactions acknowledged ({missing.len()} of them sent again "
        f"after wrk had hung up), {stored.len():,} stored"
    )
    same = stored.len() == issued.len() and stored.sort().equals(issued.sort())
    return Check(what, "" if same else "the ids differ")


def our_answers(
    world: World, server: Server, store: Path, first: int
) -> tuple[Check, pl.DataFrame]:
    """Transactions sent one by one after all rounds, against the batch's features and model.

    The batch gets the lake's history and every transaction that the store holds.

    Returns:
        The check, and all transactions that the service has seen.
    """
    sample = world.stream.slice(first, SAMPLES)
    answers = ask(server, transaction_bodies(sample))
    ours = np.array([one["probability"] for one in answers])
    wait_until_stored(store)
    seen = world.stream.filter(pl.col(c.TRANSACTION_ID).is_in(_stored_ids(store).implode()))
    features = world.features_of(seen).tail(SAMPLES)
    expected = world.model.probabilities(features)
    served = {one["served_by"] for one in answers} | {one["fallback"] for one in answers}
    what = (
        f"ours: {SAMPLES} probabilities after {seen.height:,} transactions equal those of the "
        f"batch (largest difference {_largest(ours, expected):.1g})"
    )
    if served != {"champion", None}:
        return Check(what, f"not the champion answered: {served}"), seen
    return Check(what, "" if _largest(ours, expected) <= TOLERANCE else "they differ"), seen


def mlflow_answers(world: World, server: Server, seen: pl.DataFrame) -> Check:
    """MLflow on the features of the last transactions seen, calibrated as the champion is."""
    features = world.features_of(seen).tail(SAMPLES)
    answers = ask(server, feature_bodies(features, world))
    raw = np.array([one["predictions"][0] for one in answers], dtype=np.float64)
    theirs = world.model.calibrator.apply(np.log(raw / (1 - raw)))
    largest = _largest(theirs, world.model.probabilities(features))
    what = (
        f"{server.plan.name}: {SAMPLES} probabilities on the same features equal ours "
        f"(largest difference {largest:.1g})"
    )
    return Check(what, "" if largest <= TOLERANCE else "they differ")


def plain_answers(world: World, server: Server, first: int) -> Check:
    """The plain service against the model on the features that its tables hold."""
    sample = world.stream.slice(first, SAMPLES)
    answers = ask(server, transaction_bodies(sample))
    theirs = np.array([one["probability"] for one in answers])
    with _reading(plain_folder(world, server.plan.name) / "plain.db") as connection:
        customers, terminals = (
            pl.read_database(f"SELECT * FROM {table}", connection, infer_schema_length=None)
            for table in ("customers", "terminals")
        )
    hour = pl.col(c.EVENT_TIME).dt.hour()
    features = sample.join(customers, on=c.PAYER, how="left", maintain_order="left")
    features = features.join(terminals, on=c.PAYEE, how="left", maintain_order="left")
    features = features.with_columns(
        hour.alias("hour"),
        (hour <= 6).alias("is_night"),
        (pl.col(c.EVENT_TIME).dt.weekday() >= 6).alias("is_weekend"),
        pl.lit(None, pl.Float32).alias("is_new_payee"),
    )
    margin = world.model.estimator.margin(world.model.encoder.encode(features))
    largest = _largest(theirs, 1 / (1 + np.exp(-margin.astype(np.float64))))
    what = (
        f"{server.plan.name}: {SAMPLES} probabilities equal the model's on the features looked up "
        f"(largest difference {largest:.1g})"
    )
    return Check(what, "" if largest <= TOLERANCE else "they differ")


def alert_share(store: Path) -> float:
    """Share of the answers that are alerts, which get reasons and so take longer."""
    with _reading(store) as connection:
        row = connection.execute("SELECT avg(decision = 'alert') FROM answers").fetchone()
    return float(row[0] or 0.0)


def _largest(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max())


def _stored_ids(store: Path) -> pl.Series:
    with _reading(store) as connection:
        rows = connection.execute("SELECT transaction_id FROM answers").fetchall()
    return pl.Series([row[0] for row in rows], dtype=pl.String)


class _reading:  # noqa: N801 - a context manager
    """A connection that is closed at the end, as `sqlite3`'s own is not."""

    def __init__(self, store: Path) -> None:
        self._connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()
