"""The load: bodies for each kind of server, and wrk, which sends them and measures.

wrk keeps its connections open, has one request under way on each, and corrects its latencies for
the requests that it could not send while it waited for a slow answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from serving_machine import cpu_seconds
from serving_servers import Server
from serving_world import World

from fraud_assets.transactions import columns as c

SCRIPT = Path(__file__).resolve().with_name("serving.lua")
MOST_PER_SECOND = {1: 9_000, 8: 22_000, 32: 28_000}
"""Distinct transactions at hand for a second of each number of connections."""

FEATURES_PER_SECOND = 1_500
"""The same for MLflow, whose bodies are larger."""


class LoadError(RuntimeError):
    """wrk is not there, or failed."""


@dataclass(frozen=True)
class Round:
    """One run of wrk; latencies in milliseconds, the server's processor time in microseconds."""

    server: str
    connections: int
    first: int
    answered: int
    issued: int
    seconds: float
    p50: float
    p95: float
    p99: float
    cpu_us: float
    failures: int

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds


def ensure_wrk() -> str:
    """The path of wrk, installed by apt-get where it is missing and that is allowed.

    Raises:
        LoadError: it is missing and could not be installed; says how to.
    """
    found = shutil.which("wrk")
    if found is None and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "install", "-y", "wrk"], check=False, capture_output=True)
        found = shutil.which("wrk")
    if found is None:
        raise LoadError(
            "wrk is needed to load the servers: `sudo apt-get install wrk`, `brew install wrk`, "
            "or build https://github.com/wg/wrk"
        )
    return found


def transaction_bodies(transactions: pl.DataFrame) -> list[str]:
    """A JSON body for each transaction, as our service and the plain one take it."""
    wanted = [
        pl.col(c.TRANSACTION_ID),
        pl.col(c.EVENT_TIME).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        *(pl.col(name) for name in (c.AMOUNT, c.PAYER, c.PAYEE)),
        *([pl.col(c.KIND)] if transactions[c.KIND].null_count() == 0 else []),
    ]
    return transactions.select(wanted).write_ndjson().splitlines()


def feature_bodies(features: pl.DataFrame, world: World) -> list[str]:
    """A JSON body of one row of model inputs for each row of features, as MLflow takes it."""
    columns = list(world.model.encoder.columns)
    matrix = world.model.encoder.encode(features).astype(float)
    return [
        json.dumps(
            {
                "dataframe_split": {
                    "columns": columns,
                    "data": [[None if value != value else value for value in row]],  # noqa: PLR0124
                }
            }
        )
        for row in matrix.tolist()
    ]


class Load:
    """Sends stretches of the world's stream.

    Args:
        world: whose stream it is.
        folder: for the bodies of one round at a time.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._wrk = ensure_wrk()
        self._file = folder / "bodies.jsonl"

    @staticmethod
    def needed(connections: int, seconds: float) -> int:
        """Transactions that a round may send at most."""
        return int(MOST_PER_SECOND[connections] * seconds)

    def run(self, server: Server, connections: int, seconds: float, first: int) -> Round:
        """One round: at most `needed` transactions of the stream from `first` on.

        Raises:
            LoadError: wrk failed.
            ServerFailedError: the server ended.
        """
        self._file.write_text("\n".join(self._bodies(server, connections, seconds, first)) + "\n")
        command = [
            *(self._wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
            *("--timeout", "30s", "-s", str(SCRIPT), server.url, "--", str(self._file)),
            *(["again"] if server.plan.takes == "anything" else []),
        ]
        before = cpu_seconds([server.pid])
        answer = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=seconds + 90
        )
        used = cpu_seconds([server.pid]) - before
        server.check()
        lines = [one for one in answer.stdout.splitlines() if one.startswith("RESULT ")]
        if answer.returncode or not lines:
            raise LoadError(f"{' '.join(command)} failed:\n{answer.stdout}\n{answer.stderr}")
        found = json.loads(lines[-1].removeprefix("RESULT "))
        return Round(
            server=server.plan.name,
            connections=connections,
            first=first,
            answered=found["answered"],
            issued=found["issued"],
            seconds=found["seconds"],
            p50=found["p50_us"] / 1e3,
            p95=found["p95_us"] / 1e3,
            p99=found["p99_us"] / 1e3,
            cpu_us=1e6 * used / max(1, found["answered"]),
            failures=found["refused"] + found["broken"] + found["slow"],
        )

    def _bodies(
        self, server: Server, connections: int, seconds: float, first: int
    ) -> Iterable[str]:
        makers: dict[str, Callable[[], list[str]]] = {
            "transactions": lambda: transaction_bodies(
                self._world.stream.slice(first, self.needed(connections, seconds))
            ),
            "anything": lambda: transaction_bodies(self._world.stream.slice(first, 10_000)),
            "features": lambda: feature_bodies(
                self._world.features_of(
                    self._world.stream.slice(first, int(FEATURES_PER_SECOND * seconds))
                ),
                self._world,
            ),
        }
        return makers[server.plan.takes]()
