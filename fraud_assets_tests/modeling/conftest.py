"""Small synthetic days of labelled features, one candidate trained on them, and a gate report."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.baselines import BaselineEvaluation
from fraud_assets.modeling.bundle import load_bundle, save_bundle
from fraud_assets.modeling.decision import DecisionPolicy
from fraud_assets.modeling.evaluation import compare, evaluate
from fraud_assets.modeling.gate import decide_promotion
from fraud_assets.modeling.leakage import ShuffledLabelControl
from fraud_assets.modeling.manifest import DayWindow, FamilyResult, FoldRecord, ModelManifest
from fraud_assets.modeling.report import GateReport
from fraud_assets.modeling.reporting.document import ReportDocument, ReportDocumentError
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import Candidate, train_candidate
from fraud_assets.transactions.profile import (
    DecisionChoices,
    GateChoices,
    Profile,
    load_profile,
)

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


GATE_CHOICES = GateChoices(bootstrap_samples=200)
MONEY = DecisionChoices(alert_budget_per_day=30, review_cost=5.0)


def make_gate_frames(days: int, per_day: int, seed: int = 2) -> list[pl.DataFrame]:
    """Scored gate days of a good candidate, a middling one and a worse one, with every slice."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    logit = rng.normal(-6, 2, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    hour = rng.integers(0, 24, n)
    noon = [datetime(2025, 3, 12 + i // per_day, hour[i], tzinfo=UTC) for i in range(n)]
    scenario = rng.choice(["account_takeover", "compromised_terminal", "mule_payee"], n)
    rows = pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "event_time": pl.Series(noon, dtype=pl.Datetime("us", "UTC")),
            "day": [one.date() for one in noon],
            "payer_id": [f"p{i}" for i in rng.integers(0, n // 3, n)],
            "amount": rng.lognormal(4, 1.5, n) * (1 + 4 * label),
            "kind": rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT"], n, p=[0.7, 0.2, 0.1]),
            "is_new_payee": (rng.random(n) < 0.2 + 0.4 * label).astype(np.float32),
            "label": label,
            "scenario": [
                str(s) if fraud else None for s, fraud in zip(scenario, label, strict=True)
            ],
        }
    )

    def scored(noise: float, threshold: float) -> pl.DataFrame:
        score = 1 / (1 + np.exp(-(logit + noise * rng.normal(size=n))))
        decision = np.where(score >= threshold, "alert", "pass")
        return rows.with_columns(
            pl.Series("score", score), pl.Series("decision", decision), threshold=threshold
        )

    return [scored(0.3, 0.15), scored(1.2, 0.2), scored(2.0, 0.4)]


def make_gate_report(days: int = 5, per_day: int = 4000) -> GateReport:
    """A report whose parts are measured on `make_gate_frames`; the candidate is promoted."""
    ours, middling, theirs = make_gate_frames(days, per_day)
    sure = {"samples": GATE_CHOICES.bootstrap_samples, "seed": 7}
    judged, beaten = (evaluate(one, decision=MONEY, **sure) for one in (ours, theirs))
    comparison = compare(ours, theirs, decision=MONEY, **sure)
    by_amount = ours.with_columns(score=pl.col("amount") / pl.col("amount").max())
    baselines = []
    for name, detail, rival in (
        ("one rule", "ranks by amount, the larger the more suspicious", by_amount),
        ("logistic regression", "logistic regression on all 6 features", middling),
    ):
        found = evaluate(rival, decision=MONEY, **sure)
        baselines.append(
            BaselineEvaluation(
                name=name, detail=detail, average_precision=found.average_precision.estimate,
                card_precision=found.card_precision, roc_auc=found.roc_auc,
                candidate_gain=compare(ours, rival, decision=MONEY, **sure).average_precision_gain,
            )
        )  # fmt: skip
    return GateReport(
        champion_title="champion 3",
        candidate=judged,
        champion=beaten,
        comparison=comparison,
        decision=decide_promotion(
            comparison, judged, GATE_CHOICES, latency_ms=1.2, champion="champion 3"
        ),
        latency_ms=1.2,
        best_single_feature="payee_risk_7d",
        best_single_feature_auc=0.81,
        baselines=tuple(baselines),
        control=ShuffledLabelControl(
            rows=40_000, positives=320, fraud_share=0.008, roc_auc=0.507, average_precision=0.009,
            limit=0.565, passed=True, note="",
        ),
        candidate_rows=ours,
        champion_rows=theirs,
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_profile() -> Profile:
    """Short slices, two trials, a small budget."""
    profile = load_profile("simulator")
    return profile.model_copy(
        update={
            "training": profile.training.model_copy(
                update={
                    "window_days": 8, "validation_days": 3, "gate_days": 2, "folds": 3, "trials": 2,
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


@pytest.fixture(scope="session")
def gate_report() -> GateReport:
    """A promoted candidate's report, on five days with every kind of slice."""
    return make_gate_report()


@pytest.fixture
def gate_document(gate_report: GateReport) -> dict[str, Any]:
    """The report as it is written down and read again; each test has one of its own."""
    document: dict[str, Any] = json.loads(json.dumps(gate_report.document(), allow_nan=False))
    return document


@pytest.fixture
def hollow_document(gate_document: dict[str, Any]) -> dict[str, Any]:
    """The same report with None wherever its type allows "not computable"."""

    def hollowed(value: Any) -> None:
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        for key, held in list(steps):
            if isinstance(held, dict | list):
                hollowed(held)
            elif held is not None:
                value[key] = None
                try:
                    ReportDocument.read(gate_document)
                except ReportDocumentError:
                    value[key] = held

    for part in ("comparison", "baselines", "control"):
        hollowed(gate_document[part])
    for model in ("candidate", "champion"):
        judged = gate_document[model]
        judged["slices"], judged["by_day"] = judged["slices"][::4], judged["by_day"][:1]
        hollowed(judged)
    return gate_document | {"best_single_feature": None, "best_single_feature_auc": None}


@pytest.fixture(scope="session")
def manifest() -> ModelManifest:
    """The record of a model that was chosen among four families on three folds."""
    first = date(2025, 1, 19)

    def window(begin: int, end: int) -> DayWindow:
        return DayWindow(first=first + timedelta(begin), last=first + timedelta(end))

    importance = {
        "payer_amount_ratio": 0.31, "payee_risk_7d": 0.22, "amount": 0.2, "kind": 0.12,
        "is_new_payee": 0.1, "payer_count_1d": 0.05,
    }  # fmt: skip
    folds = tuple(
        FoldRecord(
            train_window=window(3 * k, 28 + 3 * k),
            validation_window=window(36 + 3 * k, 38 + 3 * k),
            train_rows=57_000, train_positives=480, rows=6_000, positives=50 + k,
            average_precision=0.52 + 0.02 * k, card_precision=0.3 + 0.01 * k,
            card_precision_ceiling=0.4, roc_auc=0.93, brier=None if k == 0 else 0.0061,
            expected_calibration_error=None if k == 0 else 0.0024,
        )
        for k in range(3)
    )  # fmt: skip
    families = tuple(
        FamilyResult(
            family=name, average_precision=value, low=None if value is None else value - 0.06,
            high=None if value is None else value + 0.05, deviation=None if value is None else 0.02,
            folds=3 if value else 0, trials=6 if value else 0, chosen=name == "xgboost", note=note,
        )
        for name, value, note in (
            ("xgboost", 0.54, ""), ("lightgbm", 0.532, ""), ("random_forest", 0.49, ""),
            ("logistic_regression", None, "left out: cannot keep monotone constraints"),
        )
    )  # fmt: skip
    return ModelManifest(
        profile="cards", estimator="xgboost",
        features=dict.fromkeys(importance, "Float32") | {"kind": "String"},
        trained_as_of=date(2025, 3, 23), label_delay_days=7,
        train_window=window(9, 44), fold_train_window=folds[-1].train_window,
        validation_window=folds[-1].validation_window,
        gate_window=DayWindow(first=date(2025, 3, 12), last=date(2025, 3, 16)),
        lookback_days=30, reference_window=window(31, 44), reference_is_warm=True,
        train_rows=72_000, train_rows_used=50_000, train_positives=610, validation_rows=6_000,
        validation_positives=52, params={"max_depth": 5, "learning_rate": 0.0834512, "gamma": 1e-6},
        rounds=183, trials=18, seed=7, training={"trials": 6},
        imbalance="none", monotone={"payee_risk_7d": 1}, folds=folds,
        fold_average_precision=0.54, fold_deviation=0.02, families=families,
        param_importance={"max_depth": 0.7, "learning_rate": 0.3}, feature_importance=importance,
        policy_version="policy-0123456789ab",
        metrics={"average_precision": 0.56, "card_precision": None, "savings": 0.41},
        typical_values={"amount": 44.2, "kind": "PAYMENT", "payee_risk_7d": 0.0},
        versions={"xgboost-cpu": "3.2.0", "scikit-learn": "1.7.2"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def policy() -> DecisionPolicy:
    """A threshold that leaves 24 alerts a day."""
    return DecisionPolicy(
        threshold=0.15, alert_budget_per_day=30, review_cost=5.0, loss_share=0.9,
        validation_days=3, validation_alerts=72, validation_frauds_caught=31, validation_frauds=52,
        validation_cost=4210.0, validation_cost_without_alerts=9120.5,
    )  # fmt: skip
