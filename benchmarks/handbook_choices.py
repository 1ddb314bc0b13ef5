"""What each group of features, each family and each way of rebalancing is worth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from handbook_data import (
    DELAY,
    FIRST_DAY,
    FOLDS,
    HANDBOOK_FEATURES,
    WEEK,
    between,
    matrix,
    test_rows,
)
from handbook_figures import SEED, Scored, gain, judged
from rich.console import Console
from rich.table import Table

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling import metrics
from fraud_assets.modeling.estimators import ESTIMATORS
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import train_candidate
from fraud_assets.transactions.columns import DAY, LABEL
from fraud_assets.transactions.profile import Profile

FIXED_MODEL = {
    "max_depth": 4, "learning_rate": 0.06, "max_bin": 512, "subsample": 0.8,
    "colsample_bytree": 0.6,
}  # fmt: skip
FIXED_ROUNDS = 250
KEPT_LEGITIMATE = 0.25
"""Legitimate rows that the fixed model learns from, weighted up; all of them score the same."""


def fixed_scores(
    rows: pl.DataFrame, features: Sequence[str], window_days: int = 60
) -> list[tuple[pl.DataFrame, np.ndarray]]:
    """The four test weeks by XGBoost with `FIXED_MODEL`, on the trailing mature days."""
    weeks = []
    for fold in FOLDS:
        last = fold.train_days[1]
        train = between(rows, last - timedelta(days=window_days - 1), last)
        test = test_rows(rows, fold)
        weeks.append((test, fixed_score(train, test, features)))
    return weeks


def fixed_score(train: pl.DataFrame, test: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """Margins of `test` by the fixed model."""
    import xgboost

    label = train[LABEL].to_numpy()
    kept = (label == 1) | (np.random.default_rng(SEED).random(label.size) < KEPT_LEGITIMATE)
    weight = np.where(label == 1, 1.0, 1 / KEPT_LEGITIMATE)[kept]
    learnt = xgboost.QuantileDMatrix(
        matrix(train.filter(pl.Series(kept)), features),
        label=label[kept], weight=weight, max_bin=FIXED_MODEL["max_bin"],
    )  # fmt: skip
    booster = xgboost.train(
        {**FIXED_MODEL, "objective": "binary:logistic", "base_score": 0.5, "seed": SEED},
        learnt,
        FIXED_ROUNDS,
    )
    return np.asarray(booster.inplace_predict(matrix(test, features), predict_type="margin"))


def feature_groups(rows: pl.DataFrame, profile: Profile, console: Console) -> dict[str, Any]:
    """What each group of the profile's features adds to the Handbook's fifteen."""
    extra = [n for n in FeatureSet.from_profile(profile).names if n not in HANDBOOK_FEATURES]
    known = [n for n in extra if n.startswith("payee_")]
    own = [n for n in extra if n.startswith("payer_")]
    groups = {
        "the Handbook's 15, its training week": ((), WEEK),
        "the Handbook's 15, 60 trailing days": ((), 60),
        "  + largest amounts, ratio, 14 and 60 days of the payer": (own, 60),
        "  + known frauds of the terminal": (known, 60),
        "  + known frauds without their smallest amount": (
            [n for n in known if n != "payee_smallest_known_fraud"], 60,
        ),
        "all of the profile": (extra, 60),
    }  # fmt: skip
    table = Table(title=f"Features by a fixed model ({FIXED_ROUNDS} trees)")
    for name in ("features", "AP", "CP@100", "gain in AP over 60 days of the 15"):
        table.add_column(name, justify="left" if name == "features" else "right")
    base = None
    found = {}
    for name, (more, days) in groups.items():
        with console.status(name):
            weeks = fixed_scores(rows, (*HANDBOOK_FEATURES, *more), days)
        result = judged(weeks)
        if base is None and days == 60:
            base = weeks
        better = gain(weeks, base) if base is not None else None
        found[name] = {**asdict(result), "gain": asdict(better) if better else None}
        table.add_row(
            name, str(result.average_precision), str(result.card_precision), str(better or "")
        )
    console.print(table)
    return found


def by_defaults(
    rows: pl.DataFrame, profile: Profile, choices: dict[str, Any]
) -> tuple[Scored, list[tuple[float, float]]]:
    """The four weeks by `train_candidate` with default parameters and one fold.

    Returns:
        The scores of each week, and per week the calibration error of the model's own
        probabilities (the margin through a sigmoid) and of the calibrated ones.
    """
    chosen = {"trials": 0, "folds": 1, **choices}
    training = profile.training.model_copy(update=chosen)
    profile = profile.model_copy(update={"training": training})
    features = FeatureSet.from_profile(profile).names
    weeks, errors = [], []
    for fold in FOLDS:
        test = test_rows(rows, fold)
        as_of = fold.test_days[-1] + timedelta(days=DELAY)
        split = SplitPlan.as_of(as_of, DELAY, training, FIRST_DAY)
        found = train_candidate(
            rows.filter(pl.col(DAY).is_in(split.learning_days)), split, (features, ()), profile,
            threads=os.cpu_count() or 1,
        )  # fmt: skip
        margin = np.asarray(found.estimator.margin(found.encoder.encode(test)), dtype=np.float64)
        calibrated = found.calibrator.apply(margin)
        label = test[LABEL].to_numpy()
        own = 1 / (1 + np.exp(-margin))
        errors.append(
            tuple(metrics.expected_calibration_error(label, one) for one in (own, calibrated))
        )
        weeks.append((test, calibrated))
    return weeks, errors


def families(rows: pl.DataFrame, profile: Profile, console: Console) -> dict[str, Any]:
    """Every family by its defaults, and its gain over XGBoost."""
    return _choices(
        rows, profile, console, "Families with their defaults, the profile's features",
        {name: {"estimator": name} for name in ESTIMATORS},
    )  # fmt: skip


def imbalance(rows: pl.DataFrame, profile: Profile, console: Console) -> dict[str, Any]:
    """What rebalancing the training rows does."""
    methods = ("none", "class_weight", "undersample", "smote")
    return _choices(
        rows, profile, console, "Rebalancing the training rows (XGBoost, defaults)",
        {name: {"imbalance": name} for name in methods},
    )  # fmt: skip


def _choices(
    rows: pl.DataFrame,
    profile: Profile,
    console: Console,
    title: str,
    choices: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    table = Table(title=title)
    first = next(iter(choices))
    columns = ("choice", "AP", f"gain over {first}", "CP@100", "ECE, own", "ECE, calibrated")
    for name in columns:
        table.add_column(name, justify="left" if name == "choice" else "right")
    base: Scored | None = None
    found = {}
    for name, choice in choices.items():
        with console.status(f"{title}: {name}"):
            weeks, errors = by_defaults(rows, profile, choice)
        result, better = judged(weeks), gain(weeks, base) if base is not None else None
        base = base or weeks
        own, calibrated = (float(np.mean(part)) for part in zip(*errors, strict=True))
        found[name] = {**asdict(result), "ece": own, "ece_calibrated": calibrated}
        table.add_row(
            name, str(result.average_precision), str(better or ""), str(result.card_precision),
            f"{own:.4f}", f"{calibrated:.4f}",
        )  # fmt: skip
    console.print(table)
    return found
