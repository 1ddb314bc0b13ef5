"""Installations with a real history, made once; each test works on a copy of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from fraud_assets.assets import (
    CHAMPION,
    EVALUATION,
    FEATURES,
    LABELS,
    MODEL,
    QUARANTINED,
    RAW,
    VALIDATED,
)
from fraud_assets.assets.models.setting import CANDIDATE_FILE, EVALUATION_FILE
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING
from fraud_assets.lake import Lake
from fraud_assets.metadata import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    EvaluationRecord,
    ModelRecord,
    Record,
    latest,
)
from fraud_assets.modeling.dataset import labelled_rows
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.settings import Settings
from fraud_assets.simulation import quiet_logs
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import Promotion, champion_on, history, record
from fraud_assets.transactions.profile import load_profile
from fraud_assets.transactions.simulator import SimulatorConfig
from fraud_assets.transactions.simulator.config import FraudScenario

FIRST = date(2026, 3, 1)
DAYS = 20
TRAINED = 18
"""Index of the day of the first model; the day after it is there too."""

WORLD = SimulatorConfig(
    transactions_per_day=2000,
    shift=None,
    scenarios=(
        FraudScenario(
            name="account_takeover", kind="account_takeover", share=0.018, amount_factor=6.0
        ),
        FraudScenario(
            name="mule_payees", kind="mule_payees", share=0.01, frauds_per_episode_day=3.0,
            amount_factor=1.8,
        ),
    ),
)  # fmt: skip

TRAINING = {
    "window_days": 10, "validation_days": 3, "gate_days": 5, "folds": 2, "trials": 2,
    "max_rounds": 60,
}  # fmt: skip
# The tests must not depend on how busy the machine is.
GATE = {"bootstrap_samples": 200, "max_latency_ms": 1000.0}


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def profile_with(changes: dict[str, Any]) -> dict[str, Any]:
    """The simulator's profile with small choices, and a column that is the answer.

    Args:
        changes: fields of the profile's sections, such as `{"gate": {"min_positives": 5}}`, and
            `answer_is_a_feature`.
    """
    content = load_profile("simulator").model_dump(mode="json")
    content["derived"] = {"answer": "CAST(isFraud AS DOUBLE) + amount / 1000000000.0"}
    answer = changes.get("answer_is_a_feature", False)
    content["numeric"].append({"name": "answer", "column": "answer", "feature": answer})
    for section, small in (("training", TRAINING), ("gate", GATE), ("decision", {})):
        content[section].update({**small, **changes.get(section, {})})
    return content


class Installation:
    """One folder with its lake, store and registry, and a Dagster instance in memory.

    MLflow keeps absolute paths: artefacts that were logged before a folder was copied are read
    where they were first written. Nothing ever changes them there.
    """

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **changes: Any) -> None:
        profile = folder / "profile.yaml"
        profile.write_text(yaml.safe_dump(profile_with(changes)), "utf-8")
        self.folder, self.instance = folder, instance
        self.settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            profile=str(profile),
            first_day=FIRST,
            days=DAYS + 2,
            history_days=3,
            threads=1,
            simulator=WORLD,
        )
        self.lake = Lake(self.settings.lake_root)
        self.registry = ModelRegistry(
            self.settings.mlflow_uri,
            self.settings.registered_model,
            self.settings.cache_dir / "models",
        )
        self.repository = build_defs(self.settings).get_repository_def()

    def run(
        self,
        job: str,
        index: int,
        *assets: str,
        until: int | None = None,
        config: dict[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialise a day, or the days to `until` in one run; all assets of the job or some."""
        tags = {}
        if until is not None:
            tags = {RANGE_START_TAG: str(day(index)), RANGE_END_TAG: str(day(until))}
        with quiet_logs():
            return self.repository.get_job(job).execute_in_process(
                instance=self.instance,
                partition_key=None if until is not None else str(day(index)),
                tags=tags,
                asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
                run_config={"ops": {MODEL: {"config": config}}} if config else None,
                raise_on_error=False,
            )

    def close_history(self, *assets: str) -> None:
        assert self.run(DAILY_PIPELINE, 0, *assets, until=DAYS - 1).success

    def train(self, index: int, **config: Any) -> ModelRecord:
        """Materialise the candidate of a day."""
        assert self.run(RETRAINING, index, MODEL, config=config or None).success
        return self.candidate(index)

    def train_on_shuffled_labels(self, index: int) -> ModelRecord:
        """The candidate of a day that learnt nothing, and the labels as they were again."""
        kept = {one: self.lake.read_days(LABELS, [one]) for one in self.lake.days(LABELS)}
        for one, labels in kept.items():
            self.lake.write_day(LABELS, one, labels.with_columns(pl.col("label").shuffle(seed=3)))
        trained = self.train(index)
        for one, labels in kept.items():
            self.lake.write_day(LABELS, one, labels)
        return trained

    def judge(self, index: int) -> EvaluationRecord:
        """Materialise the report and the promotion of the candidate that the lake names."""
        assert self.run(RETRAINING, index, EVALUATION, CHAMPION).success
        return self.said(EVALUATION, index, EvaluationRecord)

    def candidate(self, index: int) -> ModelRecord:
        return ModelRecord.model_validate(self.lake.read_json(MODEL, day(index), CANDIDATE_FILE))

    def name_candidate(self, index: int, candidate: ModelRecord) -> None:
        """Let the lake say that this is the day's candidate."""
        text = candidate.model_dump_json(indent=1)
        self.lake.write_document(MODEL, day(index), CANDIDATE_FILE, text)

    def report(self, index: int) -> dict[str, Any]:
        return self.lake.read_json(EVALUATION, day(index), EVALUATION_FILE)

    def refusals(self, index: int) -> dict[str, str]:
        """The gate's conditions that did not hold, with their reasons."""
        checks = self.report(index)["decision"]["checks"]
        return {check["name"]: check["reason"] for check in checks if not check["passed"]}

    def said(self, asset: str, index: int, kind: type[Record]) -> Any:
        return latest(self.instance, asset, day(index), kind)

    def shown(self, asset: str) -> dict[str, Any]:
        """The metadata of the newest materialisation of an asset."""
        found = self.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
        return {name: value.value for name, value in found.asset_materialization.metadata.items()}

    def decisions(self) -> list[Promotion]:
        with PredictionStore(self.settings.store_sqlalchemy_url) as store:
            return history(store)

    def champion(self, on: date = date.max) -> str | None:
        """The version that the promotions put in force."""
        with PredictionStore(self.settings.store_sqlalchemy_url) as store:
            found = champion_on(store, on)
        return found.version if found else None

    def decide_by_hand(self, index: int, action: str, version: str, model_hash: str) -> None:
        with PredictionStore(self.settings.store_sqlalchemy_url) as store:
            record(
                store,
                Promotion(
                    day=day(index), action=action, version=version, model_hash=model_hash,
                    reason="by hand",
                ),
            )  # fmt: skip

    def checks(self, name: str) -> list[dg.AssetCheckEvaluation]:
        """The results of a check of `evaluation_report`, the newest first."""
        key = dg.AssetCheckKey(dg.AssetKey(EVALUATION), name)
        found = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=20)
        events = [one.event.dagster_event for one in found]
        return [
            event.asset_check_evaluation_data
            for event in events
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]

    def split(self, index: int) -> SplitPlan:
        profile = load_profile(self.settings.profile)
        return SplitPlan.as_of(day(index), profile.label_delay_days, profile.training, FIRST)

    def gate_rows(self, index: int) -> pl.DataFrame:
        """The rows on which the candidate of a day is judged, known payers among them."""
        labels = self.lake.read_days(LABELS, [day(i) for i in range(index + 1)])
        features = self.lake.read_days(FEATURES, self.split(index).gate_days)
        return labelled_rows(features, labels, day(index))

    def know_few_labels_of_the_gate(self, index: int, one_in: int) -> None:
        """Of the gate's transactions of each class, only every so manieth has a label."""
        gate_days = self.split(index).gate_days
        for one in self.lake.days(LABELS):
            labels = self.lake.read_days(LABELS, [one])
            judged = pl.col("event_time").dt.date().is_in(gate_days)
            number = pl.int_range(pl.len()).over("label")
            self.lake.write_day(LABELS, one, labels.filter(~judged | (number % one_in == 0)))


@dataclass(frozen=True)
class FirstDay:
    """The day of the first model."""

    index: int = TRAINED

    @property
    def day(self) -> date:
        return day(self.index)

    @property
    def next_day(self) -> date:
        return day(self.index + 1)


class Stages:
    """Copies of folders, and the instances that are open on them."""

    def __init__(self, make_folder: Callable[[], Path], stack: ExitStack) -> None:
        self._make_folder, self._stack = make_folder, stack

    def __call__(self, origin: Installation | None, **changes: Any) -> Installation:
        """A new installation: empty, or a copy of `origin` with these changes of the profile."""
        folder = self._make_folder()
        if origin is not None:
            # Whatever is written replaces its file, so that links are as good as copies; but
            # SQLite writes into its own.
            shutil.copytree(origin.folder, folder, dirs_exist_ok=True, copy_function=_link_or_copy)
        instance = self._stack.enter_context(dg.DagsterInstance.ephemeral())
        return Installation(folder, instance, **changes)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def first_day() -> FirstDay:
    return FirstDay()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    with ExitStack() as stack:
        yield Stages(lambda: tmp_path_factory.mktemp("stage"), stack)


@pytest.fixture(scope="session")
def with_candidate(stage: Stages) -> Installation:
    """History and a candidate, version 1, that nobody has judged."""
    made = stage(None)
    made.close_history(RAW, VALIDATED, QUARANTINED, LABELS, FEATURES)
    assert made.train(TRAINED).version == "1"
    return made


@pytest.fixture(scope="session")
def with_champion(stage: Stages, with_candidate: Installation) -> Installation:
    """The candidate has been judged against the rules, and promoted."""
    made = stage(with_candidate)
    judged = made.judge(TRAINED)
    assert judged.promote, judged.reasons
    return made


@pytest.fixture(scope="session")
def with_weak_champion(stage: Stages, with_candidate: Installation) -> Installation:
    """A model of shuffled labels, version 2, in force since the day of the candidate."""
    made = stage(with_candidate)
    weak = made.train_on_shuffled_labels(TRAINED - 1)
    made.decide_by_hand(TRAINED - 1, "promote", weak.version, weak.model_hash)
    made.registry.set_alias("champion", weak.version)
    return made


@pytest.fixture
def branch(tmp_path: Path) -> Iterator[Stages]:
    """Copies that belong to one test."""
    with ExitStack() as stack:
        yield Stages(lambda: tmp_path, stack)
