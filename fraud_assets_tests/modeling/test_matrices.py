"""Which rows become matrices, and that those that judge stay as they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.encoding import MissingFeaturesError, fit_encoder
from fraud_assets.modeling.matrices import (
    WATCHED_PART,
    column_directions,
    day_numbers,
    fold_rows,
    known_before,
    needed_columns,
    of_days,
    rows_to_fit,
)
from fraud_assets.transactions.profile import TrainingChoices

NAMES = (("amount", "risk"), ("kind",))
FIRST = date(2025, 5, 1)


def frame(days: int = 6, per_day: int = 200, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = days * per_day
    risk = rng.random(n)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "day": [FIRST + timedelta(days=i // per_day) for i in range(n)],
            "amount": rng.lognormal(4, 1, n),
            "risk": np.where(rng.random(n) < 0.1, np.nan, risk),
            "kind": rng.choice(["A", "B"], n, p=[0.8, 0.2]),
            "payer_id": "p",
            "label": (rng.random(n) < 0.1 * risk).astype(np.int8),
        },
        schema_overrides={"day": pl.Date},
    )


def choices(**others: Any) -> TrainingChoices:
    return TrainingChoices(**{"seed": 3, **others})


def test_rows_of_days_include_both_ends_and_nothing_else() -> None:
    found = of_days(frame(), [FIRST + timedelta(days=2), FIRST + timedelta(days=3)])

    assert found["day"].unique().sort().to_list() == [date(2025, 5, 3), date(2025, 5, 4)]
    assert found.height == 400
    assert np.unique(day_numbers(found)).tolist() == [20_211, 20_212]  # days since 1970


def test_columns_that_nobody_reads_are_left_behind() -> None:
    assert needed_columns(frame(), NAMES).columns == [
        "day", "amount", "risk", "kind", "payer_id", "label",
    ]  # fmt: skip


def test_the_encoder_knows_the_fold_s_training_rows_only() -> None:
    rows = frame()
    train = rows.filter(pl.col("day") < date(2025, 5, 5))
    later = rows.filter(pl.col("day") >= date(2025, 5, 5)).with_columns(pl.lit("NEW").alias("kind"))

    found = fold_rows(train, later, NAMES, choices())

    assert np.isnan(found.validation.matrix[:, 2]).all()
    assert found.train.categorical == found.validation.categorical == (2,)


def test_few_rows_are_watched_all_and_share_the_matrix() -> None:
    rows = frame()

    found = fold_rows(rows, rows, NAMES, choices())

    assert found.watched is found.validation


def test_of_many_validation_rows_a_weighted_sample_is_watched() -> None:
    rows = frame()

    found = fold_rows(rows, rows, NAMES, choices(max_train_rows=WATCHED_PART * 500))

    assert found.validation.label.size == rows.height == found.day.size
    assert found.watched.label.size == 500
    assert found.watched.weight.sum() == pytest.approx(rows.height)
    assert found.watched.label.sum() == found.validation.label.sum()
    assert found.watched.categorical == (2,)


def test_training_rows_are_thinned_to_the_limit_with_weights() -> None:
    rows = frame()

    found = rows_to_fit(rows, fit_encoder(rows, *NAMES), choices(max_train_rows=700))

    assert found.label.size == 700
    assert found.label.sum() == rows["label"].sum()
    assert found.weight.sum() == pytest.approx(rows.height)


@pytest.mark.parametrize("imbalance", ["none", "class_weight", "undersample", "smote"])
def test_whatever_is_done_about_rarity_the_rows_that_judge_stay_as_they_are(
    imbalance: str,
) -> None:
    rows = frame()
    train = rows.filter(pl.col("day") < date(2025, 5, 5))
    later = rows.filter(pl.col("day") >= date(2025, 5, 5))
    plain = fold_rows(train, later, NAMES, choices())

    found = fold_rows(train, later, NAMES, choices(imbalance=imbalance, frauds_per_legitimate=0.5))

    np.testing.assert_array_equal(found.validation.matrix, plain.validation.matrix)
    np.testing.assert_array_equal(found.validation.label, later["label"].to_numpy())
    np.testing.assert_array_equal(found.watched.matrix, plain.watched.matrix)
    assert found.validation.weight is found.watched.weight is None
    changed = (
        found.train.weight is not None or found.train.label.mean() > 2 * plain.train.label.mean()
    )
    assert changed == (imbalance != "none")


def test_directions_stand_at_the_columns_of_the_matrix() -> None:
    assert column_directions({"risk": 1, "amount": -1}, NAMES) == (-1, 1, 0)
    assert column_directions({"risk": 1}, NAMES) == (0, 1, 0)
    assert column_directions({}, NAMES) is None


@pytest.mark.parametrize("name", ["riks", "kind"])
def test_a_direction_of_something_else_than_a_numeric_feature_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"training\.monotone names {name},.*: amount, risk"):
        column_directions({"risk": 1, name: -1}, NAMES)


def test_an_absent_feature_is_named() -> None:
    with pytest.raises(MissingFeaturesError, match="risk"):
        fold_rows(frame().drop("risk"), frame(), NAMES, choices())


def test_a_label_that_became_known_later_was_unknown_when_the_fold_was_judged():
    noon = datetime(2026, 3, 5, 12, tzinfo=UTC)
    rows = pl.DataFrame(
        {"label": [0, 1, 1], "label_known_at": [noon, noon + timedelta(hours=12), noon]}
    )
    assert known_before(rows, date(2026, 3, 6)).height == 2
    assert known_before(rows, date(2026, 3, 7)).height == 3
    assert known_before(rows, date(2026, 3, 5)).is_empty()
    assert known_before(rows.select("label"), date(2026, 3, 5)).height == 3
