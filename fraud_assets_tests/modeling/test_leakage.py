"""Leaks are found: a feature that knows the answer, and a feature that sees its own label."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.leakage import (
    ShuffledLabelControl,
    best_single_feature_auc,
    leakage_alarms,
    shuffled_label_control,
    shuffled_labels,
)
from fraud_assets.transactions.labels import LABELS_SCHEMA
from fraud_assets.transactions.profile import load_profile

FIRST = date(2026, 3, 2)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 14
DELAY = 2
AS_OF = FIRST + timedelta(days=DAYS + DELAY)


def days(first, last):
    return [FIRST + timedelta(days=i) for i in range(first, last)]


TRAIN, TEST = days(5, 9), days(9, DAYS)


def bank(per_day=500, seed=0, weekend_frauds=1.0):
    """Transactions at terminals, of which some are compromised for days; with a day's shape."""
    rng = np.random.default_rng(seed)
    n = DAYS * per_day
    seconds = np.sort(rng.choice(DAYS * 86_400, n, replace=False))
    day = seconds // 86_400
    moments = [MIDNIGHT + timedelta(seconds=int(s)) for s in seconds]
    terminal = rng.integers(0, 60, n)
    compromised = rng.integers(-4, DAYS, 60)
    hot = (day >= compromised[terminal]) & (day < compromised[terminal] + 4) & (terminal % 2 == 0)
    share = np.where(hot, 0.5, 0.02)
    share = np.where(np.array([m.weekday() >= 5 for m in moments]), share * weekend_frauds, share)
    label = (rng.random(n) < share).astype(np.int8)
    order = np.array([int(m.timestamp()) * 1_000_000 for m in moments], dtype=np.int64)
    rows = pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "event_time": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "event_order_us": order,
            "amount": np.round(rng.lognormal(3, 1, n) * np.where(label == 1, 2.0, 1.0), 2),
            "payer_id": [f"p{i}" for i in rng.integers(0, 200, n)],
            "payee_id": [f"s{i}" for i in terminal],
            "label": label,
        }
    )
    return rows.drop("label"), rows


def told(rows, delay):
    """Labels that become known `delay` after their transactions."""
    return rows.with_columns(
        (pl.col("event_time") + delay).alias("label_known_at"),
        pl.lit("source").alias("label_source"),
        pl.lit(None, pl.String).alias("scenario"),
    ).select(*LABELS_SCHEMA)


def features(delay_days):
    profile = load_profile("cards")
    label = profile.columns.label.model_copy(update={"delay_days": delay_days})
    columns = profile.columns.model_copy(update={"label": label})
    return FeatureSet.from_profile(profile.model_copy(update={"columns": columns}))


def control(transactions, labels, delay_days, **changed):
    arguments = {"train_days": TRAIN, "test_days": TEST, "as_of": AS_OF, "seed": 7, "threads": 1}
    return shuffled_label_control(
        features(delay_days), transactions, labels, **(arguments | changed)
    )


@pytest.fixture(scope="module")
def honest():
    transactions, rows = bank()
    return transactions, told(rows, timedelta(days=DELAY))


@pytest.fixture(scope="module")
def hasty():
    """Every label is known with its transaction, and used at once."""
    transactions, rows = bank()
    return transactions, told(rows, timedelta(0))


def test_honest_features_predict_nothing_of_shuffled_labels(honest):
    found = control(*honest, DELAY)
    assert found.passed is True
    assert abs(found.roc_auc - 0.5) <= found.limit - 0.5 < 0.12
    assert found.average_precision < 2 * found.fraud_share
    labels = honest[1].filter(pl.col("event_time").dt.date().is_in(TEST))
    assert (found.rows, found.positives) == (labels.height, labels["label"].sum())
    assert found.fraud_share == found.positives / found.rows
    assert found.note == ""


def test_features_that_hold_their_own_label_are_found_out(hasty):
    found = control(*hasty, 0)
    assert found.passed is False
    assert found.roc_auc > 0.8 > found.limit
    assert found.average_precision > 2 * found.fraud_share


def test_the_same_labels_behind_their_delay_pass(hasty):
    assert control(*hasty, DELAY).passed is True


def test_days_of_different_fraud_rates_are_no_leak():
    # Pooled over the days, `is_weekend` alone would predict the shuffled labels.
    transactions, rows = bank(weekend_frauds=12.0)
    labels = told(rows, timedelta(days=DELAY))
    weekend = pl.col("event_time").dt.weekday() >= 6
    judged = shuffled_labels(labels, 7).filter(pl.col("event_time").dt.date().is_in(TEST))
    pooled = roc_auc_score(judged["label"], judged.select(weekend).to_series())
    found = control(transactions, labels, DELAY)
    assert pooled > found.limit
    assert found.passed is True


def test_labels_whose_day_tells_their_class_leave_nothing_to_judge(honest):
    # Frauds are reported at once and the rest matures: within a day and day known, all are alike.
    transactions, labels = honest
    early = labels.with_columns(
        pl.when(pl.col("label") == 1)
        .then(pl.col("event_time") + timedelta(days=1))
        .otherwise("label_known_at")
        .alias("label_known_at")
    )
    found = control(transactions, early, DELAY)
    assert found.passed is found.roc_auc is found.limit is None
    assert (found.rows, found.positives) == (0, 0)
    assert "0 frauds of 2026-03-11 to 2026-03-15 share event day and day known" in found.note


def test_a_handful_of_frauds_is_too_few_to_tell(honest):
    transactions, labels = honest
    frauds = labels.filter((pl.col("label") == 1) & pl.col("event_time").dt.date().is_in(TEST))
    kept = frauds.head(4)["transaction_id"].implode()
    few = labels.filter(
        (pl.col("label") == 0)
        | ~pl.col("event_time").dt.date().is_in(TEST)
        | pl.col("transaction_id").is_in(kept)
    )
    found = control(transactions, few, DELAY)
    assert (found.positives, found.passed, found.limit) == (4, None, None)
    assert "too few to tell a leak from chance" in found.note


def test_training_days_of_one_class_are_not_computable(honest):
    transactions, labels = honest
    only = labels.filter((pl.col("label") == 0) | pl.col("event_time").dt.date().is_in(TEST))
    found = control(transactions, only, DELAY)
    assert found.passed is None
    assert found.note == "the labels of 2026-03-07 to 2026-03-10 are not of both classes"


def test_labels_that_are_unknown_as_of_the_day_are_not_judged(honest):
    early = control(*honest, DELAY, as_of=TEST[1] + timedelta(days=DELAY))
    assert 0 < early.rows < control(*honest, DELAY).rows


def test_the_same_seed_gives_the_same_control_for_any_number_of_threads(honest):
    transactions, labels = honest
    first = control(transactions, labels, DELAY)
    again = control(
        transactions, labels.sample(fraction=1.0, shuffle=True, seed=2), DELAY, threads=2
    )
    assert first == again
    assert control(transactions, labels, DELAY, seed=8).roc_auc != first.roc_auc


@pytest.mark.parametrize(
    ("train", "test"), [([], TEST), (TRAIN, []), (TEST, TRAIN), (TRAIN, [TRAIN[-1]])]
)
def test_days_that_are_not_in_order_are_refused(honest, train, test):
    with pytest.raises(ValueError, match="the test days after the train days"):
        control(*honest, DELAY, train_days=train, test_days=test)


def test_the_limit_is_four_standard_errors_of_the_rank_statistic(honest):
    found = control(*honest, DELAY)
    assert found.limit == pytest.approx(0.5 + 4 / np.sqrt(12 * found.positives), rel=0.03)


def label_events(happened, waited, label):
    """One label per transaction: the day it happened, the days until it was known, its value."""
    number = np.arange(len(label))
    moments = [MIDNIGHT + timedelta(days=d, seconds=int(i)) for i, d in enumerate(happened)]
    known = [moment + timedelta(days=w) for moment, w in zip(moments, waited, strict=True)]
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in number],
            "event_time": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "event_order_us": number,
            "label": pl.Series(label, dtype=pl.Int8),
            "label_known_at": pl.Series(known, dtype=pl.Datetime("us", "UTC")),
        }
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_shuffling_keeps_each_days_labels_and_everything_else(data, seed):
    n = data.draw(st.integers(1, 40))
    columns = (
        data.draw(st.lists(st.integers(0, most), min_size=n, max_size=n)) for most in (3, 2, 1)
    )
    rows = label_events(*columns)
    shuffled = shuffled_labels(rows, seed)
    key = [pl.col("event_time").dt.date(), pl.col("label_known_at").dt.date().alias("known")]
    for column in (pl.len(), pl.col("label").sum()):
        before, after = (
            f.group_by(key).agg(column).sort("event_time", "known") for f in (rows, shuffled)
        )
        assert after.equals(before)
    kept = shuffled.drop("label").sort("event_order_us")
    assert kept.equals(rows.drop("label").sort("event_order_us"))


def test_shuffling_moves_the_labels_and_every_place_is_as_likely():
    rows = label_events([0] * 5, [1] * 5, [1, 0, 0, 0, 0])
    places = np.zeros(5)
    for seed in range(2_000):
        places += shuffled_labels(rows, seed).sort("event_order_us")["label"].to_numpy()
    assert places.sum() == 2_000
    assert np.abs(places - 400).max() < 4 * np.sqrt(2_000 * 0.2 * 0.8)


def test_what_the_control_cannot_see_is_left_to_the_causality_tests():
    # Labels known an hour later and used without their delay: real ones of other transactions tell
    # of a compromised terminal, shuffled ones do not.
    transactions, rows = bank()
    labels = told(rows, timedelta(hours=1))
    assert control(transactions, labels, 0).passed is True
    computed = compute_features(features(0), transactions, labels, TEST, threads=1)
    joined = computed.join(labels, on="transaction_id")
    assert roc_auc_score(joined["label"], joined["payee_risk_1d"]) > 0.65


def scored(rows=2_000, seed=0):
    rng = np.random.default_rng(seed)
    logit = rng.normal(-4, 1.5, rows)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "amount": np.round(rng.lognormal(3, 2, rows), 2),
            "label": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8),
            "score": logit + rng.normal(0, 1, rows),
        }
    )


def test_the_feature_that_knows_the_answer_is_named():
    frame = scored()
    label = frame["label"]
    rng = np.random.default_rng(5)
    frame = frame.with_columns(
        honest=pl.col("score"),
        leak=pl.Series(-label.to_numpy() + rng.normal(0, 0.01, label.len())),
        gappy=pl.when(pl.col("label") == 1).then(pl.col("score")).otherwise(None),
    )
    name, area = best_single_feature_auc(frame, ["honest", "leak"])
    assert (name, area) == ("leak", pytest.approx(1.0, abs=1e-3))
    assert best_single_feature_auc(frame, ["honest", "gappy"]) == ("gappy", 1.0)
    name, area = best_single_feature_auc(frame, ["honest"])
    assert area == pytest.approx(roc_auc_score(label, frame["score"]))


def test_a_missing_number_ranks_below_all_others():
    frame = pl.DataFrame(
        {"x": [1.0, 1.0, None, float("nan"), 2.0, 2.0], "label": [1, 1, 0, 0, 0, 0]}
    )
    assert best_single_feature_auc(frame, ["x"]) == ("x", 0.5)


def test_a_category_is_judged_on_rows_it_was_not_measured_on():
    frame = scored().with_columns(
        unique=pl.col("transaction_id"),
        telling=pl.when(pl.col("label") == 1).then(pl.lit("x")).otherwise(pl.lit("y")),
    )
    assert best_single_feature_auc(frame, ["unique"]) == ("unique", pytest.approx(0.5))
    assert best_single_feature_auc(frame, ["unique", "telling"]) == ("telling", 1.0)


def test_without_features_or_with_one_class_no_feature_is_named():
    frame = scored()
    assert best_single_feature_auc(frame.with_columns(label=pl.lit(0)), ["amount"]) == (None, None)
    assert best_single_feature_auc(frame, []) == (None, None)


def control_with(area: float) -> ShuffledLabelControl:
    return ShuffledLabelControl(
        rows=1_000, positives=40, fraud_share=0.04, roc_auc=area, average_precision=0.05,
        limit=0.68, passed=area <= 0.68, note="",
    )  # fmt: skip


HONEST = {
    "best_single_feature": "payee_risk_7d",
    "best_single_feature_auc": 0.83,
    "rule_average_precision": 0.3,
    "average_precision": 0.76,
    "control": control_with(0.52),
}


def test_an_honest_candidate_raises_no_alarm():
    assert leakage_alarms(**HONEST) == ()


@pytest.mark.parametrize(
    ("changed", "name", "words"),
    [
        ({"best_single_feature_auc": 0.97}, "single feature", "payee_risk_7d alone"),
        ({"rule_average_precision": 0.61}, "one rule", "0.610"),
        ({"average_precision": 0.99}, "average precision", "0.990"),
        ({"control": control_with(0.8)}, "shuffled labels", "0.800"),
    ],
)
def test_each_thing_that_is_too_good_raises_its_own_alarm(changed, name, words):
    (alarm,) = leakage_alarms(**HONEST | changed)
    assert alarm.name == name
    assert words in alarm.text


def test_what_could_not_be_computed_raises_no_alarm():
    unknown = dict.fromkeys(HONEST)
    assert leakage_alarms(**unknown) == ()
