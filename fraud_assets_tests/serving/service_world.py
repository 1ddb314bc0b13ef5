"""A small world for the tests of the service: days in a lake, a registered champion, settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from fraud_assets.features.online.events import OnlineTransaction
from fraud_assets.lake import LABELS, VALIDATED, Lake
from fraud_assets.serving.requests import RequestRules, ScoreRequest
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import ApiSettings, Settings
from fraud_assets.store.answers import StoredAnswer
from fraud_assets.transactions.labels import labels_known_on
from fraud_assets.transactions.profile import Profile, load_profile
from fraud_assets.transactions.simulator import SimulatorConfig
from fraud_assets.transactions.sources.simulated import SimulatorSource
from fraud_assets.transactions.validation import validate_day

FIRST = date(2026, 3, 2)
DAYS = 12


@dataclass(frozen=True)
class World:
    """Validated days and the labels that became known on each."""

    profile: Profile
    transactions: dict[date, pl.DataFrame]
    labels: dict[date, pl.DataFrame]

    @property
    def days(self) -> list[date]:
        return sorted(self.transactions)

    def write(self, root: str, days: Iterable[date]) -> Lake:
        lake = Lake(root)
        for day in days:
            lake.write_day(VALIDATED, day, self.transactions[day])
            lake.write_day(LABELS, day, self.labels[day])
        return lake


def make_world(customers: int = 300, per_day: int = 250) -> World:
    profile = load_profile("simulator")
    config = SimulatorConfig(customers=customers, transactions_per_day=per_day)
    source = SimulatorSource(config, FIRST, DAYS)
    transactions: dict[date, pl.DataFrame] = {}
    labels: dict[date, pl.DataFrame] = {}
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        transactions[day] = validate_day(source.read_day(day), profile, day).validated
        labels[day] = labels_known_on(pl.concat(transactions.values()), day, profile)
    return World(profile, transactions, labels)


def request_of(row: dict[str, Any], **changes: Any) -> ScoreRequest:
    told = {
        "transaction_id": row["transaction_id"],
        "event_time": row["event_time"].isoformat(),
        "amount": row["amount"],
        "payer_id": row["payer_id"],
        "payee_id": row["payee_id"],
        "kind": row["kind"],
        **changes,
    }
    return msgspec.json.decode(msgspec.json.encode(told), type=ScoreRequest)


def transaction_of(row: dict[str, Any]) -> OnlineTransaction:
    rules = RequestRules(load_profile("simulator"), max_ahead_seconds=0)
    return rules.read(request_of(row), row["event_time"])


def requests_of(frame: pl.DataFrame) -> list[ScoreRequest]:
    return [request_of(row) for row in frame.iter_rows(named=True)]


@asynccontextmanager
async def running(settings: Settings, worker: str = "w0") -> AsyncIterator[ScoringService]:
    """A service that is up; it is stopped at the end."""
    service = ScoringService(settings, worker=worker)
    await service.start()
    try:
        await up(service)
        yield service
    finally:
        await service.stop()


async def up(service: ScoringService) -> None:
    async with asyncio.timeout(30):
        while service.readiness():
            await asyncio.sleep(0.01)


async def answers_of(
    service: ScoringService, requests: Iterable[ScoreRequest]
) -> list[StoredAnswer]:
    return [(await service.score(request))[0] for request in requests]


def settings_in(folder: Path, uri: str, **api: Any) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=folder,
        profile="simulator",
        mlflow_tracking_uri=uri,
        registered_model="fraud",
        api=ApiSettings(**{"refresh_seconds": 0.05} | api),
    )
