"""Small synthetic days of labelled features, and one candidate trained on them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.bundle import load_bundle, save_bundle
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import Candidate, train_candidate
from fraud_assets.transactions.profile import Profile, load_profile

NUMERIC = ("amount", "payer_amount_ratio", "payee_risk_7d", "is_night")
CATEGORICAL = ("kind",)


def make_rows(days: int, per_day: int, seed: int = 1) -> pl.DataFrame:
    """Labelled feature rows from 2025-03-01 on, about 4 % fraud, mostly learnable."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    first = date(2025, 3, 1)
    amount = rng.lognormal(4, 1, n)
    ratio = rng.lognormal(0, 0.7, n).astype(np.float32)
    risk = np.where(rng.random(n) < 0.1, rng.random(n), 0.0).astype(np.float32)
    kind = rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT"], n, p=[0.6, 0.3, 0.1])
    logit = -6 + 1.2 * np.log(ratio) + 5 * risk + 1.5 * (kind == "TRANSFER") + 0.4 * np.log(amount)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    day = [first + timedelta(days=i // per_day) for i in range(n)]
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "day": day,
            "payer_id": [f"p{i}" for i in rng.integers(0, per_day // 2, n)],
            "amount": amount,
            "payer_amount_ratio": ratio,
            "payee_risk_7d": risk,
            "is_night": (rng.random(n) < 0.2).astype(np.float32),
            "kind": kind,
            "label": label,
        }
    ).with_columns(
        pl.when(pl.int_range(pl.len()) % 11 == 0)
        .then(None)
        .otherwise(pl.col("payer_amount_ratio"))
        .alias("payer_amount_ratio"),
        (pl.col("day").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=12)).alias("event_time"),
    )


@pytest.fixture(scope="session")
def small_profile() -> Profile:
    """Short slices, two trials, a small budget."""
    profile = load_profile("simulator")
    return profile.model_copy(
        update={
            "training": profile.training.model_copy(
                update={
                    "window_days": 8, "validation_days": 3, "gate_days": 2, "trials": 2,
                    "max_rounds": 40, "timeout_seconds": 600.0,
                }
            ),
            "decision": profile.decision.model_copy(
                update={"alert_budget_per_day": 20, "review_cost": 5.0}
            ),
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def labelled() -> pl.DataFrame:
    """Sixteen days of 400 rows."""
    return make_rows(16, 400)


@pytest.fixture(scope="session")
def split(small_profile: Profile) -> SplitPlan:
    """Trained as of the sixteenth day with a delay of one day."""
    return SplitPlan.as_of(date(2025, 3, 16), 1, small_profile.training, date(2025, 3, 1))


@pytest.fixture(scope="session")
def feature_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Numeric and categorical features of `labelled`."""
    return NUMERIC, CATEGORICAL


@pytest.fixture(scope="session")
def candidate(labelled, split, feature_names, small_profile) -> Candidate:
    """Trained once for all tests of the folder."""
    return train_candidate(labelled, split, feature_names, small_profile, threads=1)


@pytest.fixture(scope="session")
def bundle(candidate: Candidate, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The candidate on disk, and its hash. Do not change the files: copy them."""
    folder = tmp_path_factory.mktemp("bundle") / "model"
    return folder, save_bundle(candidate, folder)


@pytest.fixture(scope="session")
def model(bundle: tuple[Path, str]) -> FraudModel:
    """The candidate as it is used."""
    return load_bundle(*bundle, version="3")
