"""One small trained model per family, and a registry that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.bundle import load_bundle, save_bundle
from fraud_assets.modeling.estimators import ESTIMATORS
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import train_candidate
from fraud_assets.transactions.profile import load_profile

NAMES = ("is_night", "amount", "kind", "payer_amount_ratio", "unused", "payee_risk_7d")
"""What the service's values are; the models know them in another order."""

FAMILIES = tuple(ESTIMATORS)


def make_labelled(days: int, per_day: int) -> pl.DataFrame:
    """Labelled feature rows from 2025-03-01 on, about 4 % fraud, with gaps."""
    rng = np.random.default_rng(1)
    n = days * per_day
    amount = rng.lognormal(4, 1, n)
    ratio = rng.lognormal(0, 0.7, n).astype(np.float32)
    risk = np.where(rng.random(n) < 0.1, rng.random(n), 0.0).astype(np.float32)
    kind = rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT"], n, p=[0.6, 0.3, 0.1])
    logit = -6 + 1.2 * np.log(ratio) + 5 * risk + 1.5 * (kind == "TRANSFER") + 0.4 * np.log(amount)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "day": [date(2025, 3, 1) + timedelta(days=i // per_day) for i in range(n)],
            "payer_id": [f"p{i}" for i in rng.integers(0, per_day // 2, n)],
            "amount": amount,
            "payer_amount_ratio": ratio,
            "payee_risk_7d": risk,
            "is_night": (rng.random(n) < 0.2).astype(np.float32),
            "kind": kind,
            "label": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8),
        }
    ).with_columns(
        pl.when(pl.int_range(n) % 11 != 0).then("payer_amount_ratio"),
        (pl.col("day").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=12)).alias("event_time"),
    )


@pytest.fixture(scope="session")
def labelled() -> pl.DataFrame:
    """Sixteen days of 300 rows."""
    return make_labelled(16, 300)


@pytest.fixture(scope="session")
def bundles(
    labelled: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, str]]:
    """Per family a bundle and its hash. Do not change the files: copy them."""
    profile = load_profile("simulator")
    found = {}
    for family in FAMILIES:
        training = profile.training.model_copy(
            update={
                "estimator": family, "window_days": 8, "validation_days": 3, "gate_days": 2,
                "folds": 2, "trials": 1, "max_rounds": 60, "monotone": {},
            }
        )  # fmt: skip
        split = SplitPlan.as_of(date(2025, 3, 16), 1, training, date(2025, 3, 1))
        candidate = train_candidate(
            labelled,
            split,
            (("amount", "payer_amount_ratio", "payee_risk_7d", "is_night"), ("kind",)),
            profile.model_copy(update={"training": training}),
            threads=1,
        )
        folder = tmp_path_factory.mktemp(family) / "model"
        found[family] = (folder, save_bundle(candidate, folder))
    return found


@pytest.fixture(scope="session")
def models(bundles: Mapping[str, tuple[Path, str]]) -> dict[str, FraudModel]:
    """The models of `bundles`, loaded."""
    return {
        family: load_bundle(*bundle, version=str(number))
        for number, (family, bundle) in enumerate(bundles.items(), 1)
    }


@dataclass(frozen=True)
class Registered:
    """A registry and the version of each family in it; no alias is set."""

    registry: ModelRegistry
    versions: dict[str, str]
    run_id: str


@pytest.fixture(scope="session")
def registered(
    bundles: Mapping[str, tuple[Path, str]], tmp_path_factory: pytest.TempPathFactory
) -> Registered:
    """Shared by all tests: leave its aliases as they were."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        folder = tmp_path_factory.mktemp("mlflow")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        client = MlflowClient(uri)
        experiment = client.create_experiment(
            "fraud", artifact_location=(folder / "artifacts").as_uri()
        )
        run_id = str(client.create_run(experiment).info.run_id)
        registry = ModelRegistry(uri, "fraud", folder / "cache")
        versions = {
            family: registry.register(*bundle, run_id, {}) for family, bundle in bundles.items()
        }
    return Registered(registry, versions, run_id)
