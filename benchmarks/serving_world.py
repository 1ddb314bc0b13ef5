"""An installation to be served: days of history, a champion, and what the peers need of both.

    python benchmarks/serving_world.py FOLDER [--profile simulator] [--volume 100000]

Everything is made by the application's own code: simulated days are validated and labelled, a
model is trained on their features and registered as champion, and the days are written to the
lake, from which the service starts warm. Beside it lie the same model in the form of the peers,
and the transactions that will be sent. How they are sent stands in `serving_load`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from history import History

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.lake import LABELS, VALIDATED, Lake
from fraud_assets.modeling.bundle import load_bundle, save_bundle
from fraud_assets.modeling.dataset import labelled_rows
from fraud_assets.modeling.registry import CHAMPION, ModelRegistry
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import train_candidate
from fraud_assets.settings import Settings
from fraud_assets.store.migrate import migrate
from fraud_assets.transactions import columns as c
from fraud_assets.transactions.profile import Profile, load_profile
from fraud_assets.transactions.simulator import Simulator, SimulatorConfig
from fraud_assets.transactions.sources.base import with_source_row
from fraud_assets.transactions.validation import validate_day

HISTORY_DAYS = {"simulator": 24, "cards": 64}
"""Enough for a training, and for every window to be full."""

HANDBOOK_NAMES = {
    "transactionId": "TRANSACTION_ID",
    "timestamp": "TX_DATETIME",
    "amount": "TX_AMOUNT",
    "nameOrig": "CUSTOMER_ID",
    "nameDest": "TERMINAL_ID",
    "isFraud": "TX_FRAUD",
    "scenario": "TX_FRAUD_SCENARIO",
}
TRAINING = {"trials": 0, "folds": 1, "window_days": 14}
"""No search: a found model is of the same size, and finding it takes minutes."""

STEP_US = 200
"""Between two event times. Distinct ones make the order of the transactions the same for all."""


@dataclass(frozen=True)
class World:
    """A prepared installation in `folder`, whose history ends the day before `base`."""

    folder: Path
    profile_name: str
    volume: int
    base: datetime

    @cached_property
    def profile(self) -> Profile:
        """The shipped profile."""
        return load_profile(self.profile_name)

    @cached_property
    def features(self) -> FeatureSet:
        """Its features."""
        return FeatureSet.from_profile(self.profile)

    @property
    def history_days(self) -> list[date]:
        """The days in the lake."""
        count = HISTORY_DAYS[self.profile_name]
        return [self.base.date() - timedelta(days=count - i) for i in range(count)]

    @property
    def plain_folder(self) -> Path:
        """What the plain services read."""
        return self.folder / "plain"

    @property
    def mlflow_model(self) -> Path:
        """The model as MLflow serves it."""
        return self.folder / "mlflow-model"

    @cached_property
    def settings(self) -> Settings:
        """The installation, as the environment below describes it."""
        return Settings(
            _env_file=None,
            data_dir=self.folder / "data",
            profile=self.profile_name,
            first_day=self.history_days[0],
            days=len(self.history_days) + 30,
            history_days=len(self.history_days),
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which the service finds the installation."""
        chosen = self.settings
        return {
            "FRAUD_DATA_DIR": str(chosen.data_dir),
            "FRAUD_PROFILE": chosen.profile,
            "FRAUD_FIRST_DAY": chosen.first_day.isoformat(),
            "FRAUD_DAYS": str(chosen.days),
            "FRAUD_HISTORY_DAYS": str(chosen.history_days),
        }

    @cached_property
    def model(self) -> FraudModel:
        """The champion, as the batch scores with it."""
        folder = self.folder / "bundle"
        return load_bundle(folder, (self.folder / "bundle.sha256").read_text("utf-8"))

    @cached_property
    def history(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Transactions and labels in the lake, as far back as the features look."""
        lake = Lake(self.settings.lake_root)
        reach = max(self.features.lookback_days, self.features.label_lookback_days) + 1
        days = self.history_days[-reach:]
        return lake.read_days(VALIDATED, days), lake.read_days(LABELS, days)

    @cached_property
    def stream(self) -> pl.DataFrame:
        """The transactions to be sent, in order; see `_stream`."""
        return pl.read_parquet(self.folder / "stream.parquet")

    def features_of(self, transactions: pl.DataFrame) -> pl.DataFrame:
        """Features of transactions of the stream, with the history and each other before them."""
        past, labels = self.history
        both = pl.concat([past.select(transactions.columns), transactions])
        days = sorted(set(transactions[c.EVENT_TIME].dt.date()))
        found = compute_features(self.features, both, labels, days)
        return found.filter(pl.col(c.EVENT_ORDER) >= transactions[c.EVENT_ORDER][0])


def make_world(
    folder: Path, *, profile_name: str, volume: int, transactions: int, base: datetime | None = None
) -> World:
    """Prepare an installation in a new folder.

    Args:
        folder: made if need be.
        profile_name: `simulator` or `cards`.
        volume: transactions of a day of history.
        transactions: length of the stream.
        base: event time of the first transaction of the stream; by default an hour ago.
    """
    world = World(folder, profile_name, volume, base or datetime.now(UTC) - timedelta(hours=1))
    simulator = Simulator(SimulatorConfig(transactions_per_day=volume))
    days = world.history_days
    raw = ((day, _raw(simulator, i, day, profile_name)) for i, day in enumerate(days))
    history = History.of(raw, world.profile)
    rows = compute_features(world.features, history.transactions, history.labels, days)
    _train(world, rows, history.labels)
    _register(world)
    _write_lake(world, history)
    migrate(world.settings.store_sqlalchemy_url)
    _prepare_plain(world, rows, history.transactions)
    _prepare_mlflow(world)
    _stream(world, simulator, transactions).write_parquet(folder / "stream.parquet")
    return world


def _raw(simulator: Simulator, index: int, day: date, profile_name: str) -> pl.DataFrame:
    """A simulated day in the columns of the profile."""
    frame = simulator.day(index, day)
    if profile_name == "cards":
        frame = frame.select(pl.col(old).alias(new) for old, new in HANDBOOK_NAMES.items())
    return with_source_row(frame, f"simulation of {day}")


def _train(world: World, rows: pl.DataFrame, labels: pl.DataFrame) -> None:
    day = world.history_days[-1]
    training = world.profile.training.model_copy(update=TRAINING)
    profile = world.profile.model_copy(update={"training": training})
    split = SplitPlan.as_of(day, profile.label_delay_days, training, world.history_days[0])
    learnt = rows.filter(pl.col(c.EVENT_TIME).dt.date().is_in(list(split.learning_days)))
    names = (world.features.numeric_names, world.features.categorical_names)
    candidate = train_candidate(
        labelled_rows(learnt, labels, day), split, names, profile,
        threads=len(os.sched_getaffinity(0)),
    )  # fmt: skip
    digest = save_bundle(candidate, world.folder / "bundle")
    (world.folder / "bundle.sha256").write_text(digest, "utf-8")


def _register(world: World) -> None:
    from mlflow import MlflowClient

    settings = world.settings
    settings.data_dir.mkdir(parents=True)
    cache = settings.cache_dir / "models"
    registry = ModelRegistry(settings.mlflow_uri, settings.registered_model, cache)
    registry.versions()  # creates the registry, quietly
    client = MlflowClient(settings.mlflow_uri, registry_uri=settings.mlflow_uri)
    experiment = client.create_experiment(
        settings.mlflow_experiment, artifact_location=settings.mlflow_artifact_root
    )
    run = client.create_run(experiment).info.run_id
    version = registry.register(world.folder / "bundle", world.model.model_hash, run, {})
    registry.set_alias(CHAMPION, version)


def _write_lake(world: World, history: History) -> None:
    lake = Lake(world.settings.lake_root)
    for day in world.history_days:
        of_day = pl.col(c.EVENT_TIME).dt.date() == day
        lake.write_day(VALIDATED, day, history.transactions.filter(of_day))
        told = pl.col(c.LABEL_KNOWN_AT).dt.date() == day
        lake.write_day(LABELS, day, history.labels.filter(told))


def _prepare_plain(world: World, rows: pl.DataFrame, transactions: pl.DataFrame) -> None:
    """The model, and each customer's and terminal's newest features, as of the last night."""
    folder = world.plain_folder / "files"
    folder.mkdir(parents=True)
    model = world.model
    shutil.copyfile(world.folder / "bundle" / "model.ubj", folder / "model.ubj")
    vocabularies = model.encoder.vocabularies.items()
    choices = {
        "columns": model.encoder.columns,
        "categories": {name: {w: i for i, w in enumerate(words)} for name, words in vocabularies},
        "threshold": model.policy.threshold,
    }
    (folder / "choices.json").write_text(json.dumps(choices), "utf-8")
    tables = newest_features(rows.with_columns(transactions[c.PAYEE]))
    connection = sqlite3.connect(folder / "plain.db")
    with connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE answers (transaction_id TEXT PRIMARY KEY, event_time TEXT, "
            "probability REAL, decision TEXT)"
        )
        for table, frame in tables.items():
            key, *numbers = frame.columns
            columns = ", ".join([f"{key} TEXT PRIMARY KEY", *(f"{name} REAL" for name in numbers)])
            connection.execute(f"CREATE TABLE {table} ({columns})")
            marks = ", ".join("?" * frame.width)
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", frame.iter_rows())
    connection.close()  # the log is emptied into the file, so that it can be copied


def newest_features(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Of each payer (`customers`) and payee (`terminals`) the newest row of its own features."""
    found = {}
    for table, key, prefix in (("customers", c.PAYER, "payer_"), ("terminals", c.PAYEE, "payee_")):
        own = [name for name in rows.columns if name.startswith(prefix) and name != key]
        newest = rows.drop_nulls(key).unique(key, keep="last", maintain_order=True)
        found[table] = newest.select(key, *own)
    return found


def _prepare_mlflow(world: World) -> None:
    import mlflow
    import pandas as pd
    import xgboost
    from mlflow.models import infer_signature

    booster = xgboost.Booster(model_file=world.folder / "bundle" / "model.ubj")
    columns = world.model.encoder.columns
    given = pd.DataFrame([[0.5] * len(columns)], columns=columns)
    signature = infer_signature(given, np.array([0.5], dtype=np.float32))
    mlflow.xgboost.save_model(booster, str(world.mlflow_model), signature=signature)


def _stream(world: World, simulator: Simulator, length: int) -> pl.DataFrame:
    """Validated transactions of the days after the history, closer together than they were.

    `length` canonical rows with new ids and event times of `STEP_US` one after another from the
    world's base on. So a few seconds of load are those of many customers, as many days would be.
    """
    parts: list[pl.DataFrame] = []
    held = 0
    for index, day in _days_after(world):
        raw = _raw(simulator, index, day, world.profile_name)
        parts.append(validate_day(raw, world.profile, day).validated)
        held += parts[-1].height
        if held >= length:
            break
    base_us = world.base.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)
    number = pl.int_range(length, dtype=pl.Int64)
    order = number * STEP_US + base_us // timedelta(microseconds=1)
    return pl.concat(parts).head(length).with_columns(
        pl.format("B{}", number.cast(pl.String).str.zfill(9)).alias(c.TRANSACTION_ID),
        order.alias(c.EVENT_ORDER),
        order.cast(pl.Datetime("us", "UTC")).alias(c.EVENT_TIME),
    )  # fmt: skip


def _days_after(world: World) -> Iterator[tuple[int, date]]:
    # At most a thousand days, where a few are needed.
    first = len(world.history_days)
    for index in range(first, first + 1_000):
        yield index, world.history_days[0] + timedelta(days=index)


def main() -> None:
    """Make a world by itself, to be looked at."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", choices=sorted(HISTORY_DAYS), default="simulator")
    parser.add_argument("--volume", type=int, default=100_000)
    parser.add_argument("--transactions", type=int, default=100_000)
    given = parser.parse_args()
    world = make_world(
        given.folder.resolve(), profile_name=given.profile, volume=given.volume,
        transactions=given.transactions,
    )  # fmt: skip
    for name, value in world.environment.items():
        print(f"export {name}={value}")


if __name__ == "__main__":
    main()
