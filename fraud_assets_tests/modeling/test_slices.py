"""A model on parts of the rows: nothing is lost between them, and nothing is made up."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from fraud_assets.modeling.bootstrap import day_bootstrap_average_precision
from fraud_assets.modeling.slices import (
    MIN_LEGITIMATE_ROWS,
    FalsePositiveRatio,
    SliceEvaluation,
    evaluate_slices,
    false_positive_ratios,
    wilson_interval,
)

FIRST = date(2026, 1, 1)
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def judged(days=5, per_day=600, seed=0):
    rng = np.random.default_rng(seed)
    n = days * per_day
    logit = rng.normal(-3.5, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    score = 1 / (1 + np.exp(-logit - rng.normal(0, 1, n)))
    seconds = np.sort(rng.integers(0, days * 86_400, n))
    moments = [MIDNIGHT + timedelta(seconds=int(s)) for s in seconds]
    return pl.DataFrame(
        {
            "event_time": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "kind": rng.choice(["CASH_OUT", "TRANSFER", None], n, p=[0.5, 0.4, 0.1]).tolist(),
            "amount": np.round(rng.lognormal(3, 2, n), 2),
            "is_new_payee": rng.choice([0.0, 1.0, None], n, p=[0.6, 0.3, 0.1]).tolist(),
            "label": label,
            "scenario": [("scam" if i % 2 else "mule") if y else None for i, y in enumerate(label)],
            "score": score,
            "decision": np.where(score > 0.1, "alert", "pass"),
        },
        schema_overrides={"kind": pl.String, "is_new_payee": pl.Float32},
    ).with_columns(day=pl.col("event_time").dt.date())


def by_name(slices, dimension):
    return {one.value: one for one in slices if one.dimension == dimension}


@pytest.fixture(scope="module")
def frame():
    return judged()


@pytest.fixture(scope="module")
def slices(frame):
    return evaluate_slices(frame, samples=200)


def test_every_dimension_has_its_groups_in_order(slices):
    assert list(dict.fromkeys(one.dimension for one in slices)) == [
        "kind", "amount", "new_payee", "hour", "scenario",
    ]  # fmt: skip
    assert list(by_name(slices, "kind")) == ["CASH_OUT", "TRANSFER"]
    assert list(by_name(slices, "amount"))[:4] == [
        "under 10", "10 to 100", "100 to 1,000", "1,000 to 10,000",
    ]  # fmt: skip
    assert list(by_name(slices, "new_payee")) == ["known payee", "new payee"]
    assert list(by_name(slices, "hour")) == [
        "00:00 to 05:59", "06:00 to 11:59", "12:00 to 17:59", "18:00 to 23:59",
    ]  # fmt: skip
    assert list(by_name(slices, "scenario")) == ["mule", "scam"]


@pytest.mark.parametrize(
    ("dimension", "value", "chosen"),
    [
        ("kind", "TRANSFER", pl.col("kind") == "TRANSFER"),
        ("amount", "under 10", pl.col("amount") < 10),
        ("amount", "10 to 100", (pl.col("amount") >= 10) & (pl.col("amount") < 100)),
        ("new_payee", "new payee", pl.col("is_new_payee") == 1),
        ("new_payee", "known payee", pl.col("is_new_payee") == 0),
        ("hour", "06:00 to 11:59", pl.col("event_time").dt.hour().is_between(6, 11)),
    ],
)
def test_a_slice_has_the_numbers_of_its_rows_alone(frame, slices, dimension, value, chosen):
    found, part = by_name(slices, dimension)[value], frame.filter(chosen)
    fraud, alert = part["label"] == 1, part["decision"] == "alert"
    assert found.rows == part.height
    assert found.positives == fraud.sum()
    assert found.alerts == alert.sum()
    assert found.caught == (fraud & alert).sum()
    assert found.recall == found.caught / found.positives
    assert found.false_positive_rate == (~fraud & alert).sum() / (~fraud).sum()
    assert found.average_precision == pytest.approx(
        average_precision_score(part["label"], part["score"])
    )
    expected = day_bootstrap_average_precision(
        part["day"].to_numpy(), part["label"].to_numpy(), part["score"].to_numpy(),
        samples=200, seed=7, confidence=0.95,
    )  # fmt: skip
    assert found.average_precision_low == pytest.approx(expected.low)
    assert found.average_precision_high == pytest.approx(expected.high)
    trials = found.rows - found.positives
    assert (found.recall_low, found.recall_high) == wilson_interval(
        found.caught, found.positives, 0.95
    )
    assert (found.false_positive_rate_low, found.false_positive_rate_high) == wilson_interval(
        found.alerts - found.caught, trials, 0.95
    )


def test_rows_are_in_one_slice_of_a_dimension_and_nulls_in_none(frame, slices):
    for dimension, column in (("kind", "kind"), ("new_payee", "is_new_payee")):
        nulls = frame[column].null_count()
        assert nulls > 0
        assert sum(s.rows for s in by_name(slices, dimension).values()) == frame.height - nulls
    for dimension in ("amount", "hour"):
        assert sum(s.rows for s in by_name(slices, dimension).values()) == frame.height


def test_a_power_of_ten_is_the_first_amount_of_its_band(frame):
    edges = [0.0, 9.99, 10.0, 99.99, 100.0, 999.99, 1_000.0, 999_999.99, 1_000_000.0]
    rows = frame.head(len(edges)).with_columns(amount=pl.Series(edges))
    found = {one.value: one.rows for one in evaluate_slices(rows) if one.dimension == "amount"}
    assert found == {
        "under 10": 2, "10 to 100": 2, "100 to 1,000": 2, "1,000 to 10,000": 1,
        "100,000 to 1,000,000": 1, "1,000,000 to 10,000,000": 1,
    }  # fmt: skip


def test_a_scenario_is_ranked_against_all_legitimate_rows_and_has_no_false_positives(frame, slices):
    mule = by_name(slices, "scenario")["mule"]
    rows = frame.filter((pl.col("label") == 0) | (pl.col("scenario") == "mule"))
    assert mule.rows == mule.positives == (frame["scenario"] == "mule").sum()
    assert mule.average_precision == pytest.approx(
        average_precision_score(rows["label"], rows["score"])
    )
    assert mule.average_precision_low < mule.average_precision < mule.average_precision_high
    assert mule.recall_low < mule.recall < mule.recall_high
    rates = (mule.false_positive_rate, mule.false_positive_rate_low, mule.false_positive_rate_high)
    assert rates == (None, None, None)


def test_a_scenario_that_a_legitimate_row_carries_does_not_count(frame):
    told = frame.with_columns(scenario=pl.lit("mule"))
    found = by_name(evaluate_slices(told, samples=50), "scenario")
    assert found["mule"].rows == frame["label"].sum()


def test_dimensions_without_a_column_are_left_out(frame):
    bare = frame.drop("kind", "is_new_payee", "event_time", "scenario")
    assert {one.dimension for one in evaluate_slices(bare, samples=50)} == {"amount"}
    assert evaluate_slices(frame.clear()) == ()


def test_a_slice_without_frauds_has_counts_and_no_recall_or_precision(frame):
    honest = frame.with_columns(
        label=pl.when(pl.col("kind") == "TRANSFER").then(0).otherwise("label").cast(pl.Int8)
    )
    found = by_name(evaluate_slices(honest, samples=50), "kind")["TRANSFER"]
    assert found.positives == 0
    assert found.average_precision is found.average_precision_low is None
    assert found.recall is found.recall_low is found.recall_high is None
    assert found.false_positive_rate > 0


def test_a_slice_whose_frauds_are_all_of_one_day_has_a_precision_without_an_interval(frame):
    single = frame.with_columns(
        label=pl.when(pl.col("day") == FIRST).then("label").otherwise(0).cast(pl.Int8)
    )
    found = by_name(evaluate_slices(single, samples=50), "kind")["TRANSFER"]
    assert found.average_precision is not None
    assert found.average_precision_low is found.average_precision_high is None


def test_a_slice_that_is_ranked_without_a_fault_claims_no_certainty(frame):
    perfect = frame.with_columns(score=(pl.col("label") + 0.5) / 2)
    found = by_name(evaluate_slices(perfect, samples=50), "kind")["TRANSFER"]
    assert found.average_precision == 1.0
    assert found.average_precision_low is found.average_precision_high is None
    assert found.recall_low is not None


def test_the_order_of_the_rows_does_not_matter(frame, slices):
    shuffled = evaluate_slices(frame.sample(fraction=1.0, shuffle=True, seed=3), samples=200)
    assert [one.value for one in shuffled] == [one.value for one in slices]
    for ours, theirs in zip(slices, shuffled, strict=True):
        assert ours.model_dump(exclude={"dimension", "value"}) == pytest.approx(
            theirs.model_dump(exclude={"dimension", "value"})
        )


def test_the_interval_of_recall_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(4)
    truth, trials = 0.85, 25
    caught = rng.binomial(trials, truth, 4_000)
    covered = [low <= truth <= high for low, high in (
        wilson_interval(int(one), trials, 0.95) for one in caught
    )]  # fmt: skip
    assert 0.93 <= np.mean(covered) <= 0.98


@given(trials=st.integers(1, 10**6), data=st.data())
def test_wilsons_interval_holds_the_share_and_stays_a_share(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials, 0.95)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    assert low < high
    wider = wilson_interval(successes, trials, 0.99)
    assert wider[0] <= low
    assert high <= wider[1]


def test_wilsons_interval_has_the_published_values():
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson_interval(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, 0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20, 0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29, 0.95) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(0, 0, 0.95) == (None, None)


def test_none_and_all_of_any_number_reach_the_ends_exactly():
    for trials in range(1, 300):
        assert wilson_interval(0, trials, 0.95)[0] == 0.0
        assert wilson_interval(trials, trials, 0.95)[1] == 1.0


def group(value, legitimate, false_alerts, dimension="kind"):
    low, high = wilson_interval(false_alerts, legitimate, 0.95)
    return SliceEvaluation(
        dimension=dimension, value=value, rows=legitimate + 3, positives=3,
        alerts=false_alerts + 2, caught=2, average_precision=0.5, average_precision_low=None,
        average_precision_high=None, recall=2 / 3, recall_low=0.2, recall_high=0.9,
        false_positive_rate=false_alerts / legitimate if legitimate else None,
        false_positive_rate_low=low, false_positive_rate_high=high,
    )  # fmt: skip


def test_the_ratio_is_that_of_the_largest_over_the_smallest_rate():
    (found,) = false_positive_ratios(
        [group("a", 1_000, 20), group("b", 2_000, 10), group("c", 1_000, 10)]
    )
    assert found == FalsePositiveRatio(
        dimension="kind", highest="a", highest_rate=0.02, lowest="b", lowest_rate=0.005,
        ratio=4.0, note="",
    )  # fmt: skip


def test_equal_rates_have_the_ratio_one_between_two_groups():
    (found,) = false_positive_ratios([group("a", 1_000, 10), group("b", 2_000, 20)])
    assert found.ratio == 1.0
    assert {found.highest, found.lowest} == {"a", "b"}


def test_small_groups_do_not_enter_the_ratio():
    few = MIN_LEGITIMATE_ROWS - 1
    groups = [group("a", 1_000, 20), group("b", 2_000, 20), group("tiny", few, few)]
    (found,) = false_positive_ratios(groups)
    assert (found.highest, found.ratio) == ("a", 2.0)
    (alone,) = false_positive_ratios([groups[0], groups[2]])
    assert alone.ratio is alone.highest is alone.lowest is None
    assert alone.note == "fewer than two groups have 500 legitimate rows"
    (enough,) = false_positive_ratios([groups[0], group("c", MIN_LEGITIMATE_ROWS, 5)])
    assert enough.ratio == pytest.approx(2.0)


def test_a_group_without_false_alerts_makes_no_infinite_ratio():
    (found,) = false_positive_ratios([group("a", 1_000, 20), group("b", 700, 0)])
    assert found.ratio is None
    assert (found.highest, found.lowest, found.lowest_rate) == ("a", "b", 0.0)
    assert found.note == "no false alert on 700 legitimate rows of b"
    (none,) = false_positive_ratios([group("a", 1_000, 0), group("b", 700, 0)])
    assert none.ratio is none.highest is none.lowest is None
    assert none.note == "no false alert in any group"


def test_each_dimension_has_a_ratio_and_scenarios_have_none(slices):
    found = false_positive_ratios(slices)
    assert [one.dimension for one in found] == ["kind", "amount", "new_payee", "hour"]
    kinds = by_name(slices, "kind").values()
    rates = [one.false_positive_rate for one in kinds]
    assert found[0].ratio == pytest.approx(max(rates) / min(rates))
    assert false_positive_ratios([]) == ()


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(
        st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)).map(
            lambda pair: (max(pair), min(pair))
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_ratio_is_at_least_one_or_says_why_there_is_none(groups):
    (found,) = false_positive_ratios(
        [group(f"g{i}", rows, alerts) for i, (rows, alerts) in enumerate(groups)]
    )
    if found.ratio is None:
        assert found.note
    else:
        assert not found.note
        assert found.ratio >= 1.0
        assert found.highest != found.lowest
        assert found.highest_rate == pytest.approx(found.ratio * found.lowest_rate)
