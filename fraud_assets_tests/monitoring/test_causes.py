"""Which drifted inputs are named as likely causes, in which order, and how they are told."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.monitoring.causes import cause_table, drifted_weight, find_causes
from fraud_assets.monitoring.column_drift import ColumnDrift
from fraud_assets.monitoring.drift import DriftColumns, measure_drift
from fraud_assets.transactions.profile import MonitoringChoices

LIMIT = 0.1


def column(name, value, *, current=5.2, reference=3.1, reason=None):
    return ColumnDrift(
        column=name,
        method="jensenshannon" if isinstance(current, str) else "wasserstein",
        value=value,
        threshold=LIMIT,
        drifted=None if value is None else value >= LIMIT,
        current=current,
        reference=reference,
        current_missing=0.0,
        reference_missing=0.0,
        reason=reason,
    )


def test_a_moderate_drift_of_a_main_input_comes_before_a_heavy_one_of_a_side_issue():
    columns = [column("side", 2.0), column("main", 0.3), column("still", 0.01)]

    causes = find_causes(columns, {"main": 0.7, "still": 0.28, "side": 0.02}, None)

    assert [one.feature for one in causes] == ["main", "side", "still"]
    assert [one.weight for one in causes] == pytest.approx([0.21, 0.04, 0.0028])
    assert [one.drifted for one in causes] == [True, True, False]


def test_an_input_counts_by_the_larger_of_its_two_contributions():
    columns = [column("risen", 1.0), column("fallen", 1.0)]

    risen, fallen = find_causes(
        columns, {"risen": 0.2, "fallen": 0.8}, {"risen": 0.9, "fallen": 0.1}
    )

    assert (risen.trained_share, risen.today_share, risen.weight) == (0.2, 0.9, 0.9)
    assert (fallen.trained_share, fallen.today_share, fallen.weight) == (0.8, 0.1, 0.8)


def test_an_input_that_is_no_feature_of_the_model_weighs_nothing():
    (cause,) = find_causes([column("amount", 3.0)], {"kind": 1.0}, {"kind": 1.0})

    assert (cause.trained_share, cause.today_share, cause.weight) == (0.0, 0.0, 0.0)


def test_inputs_without_a_distance_come_last_without_a_weight():
    empty = column("empty", None, reason="no value in the current sample")

    *_, last = find_causes([empty, column("still", 0.0)], {"empty": 1.0}, None)

    assert (last.feature, last.distance, last.drifted, last.weight) == ("empty", None, None, None)
    assert last.sentence == (
        "empty cannot be compared: no value in the current sample; "
        "share of the contributions 100.0% in training"
    )


@pytest.mark.parametrize("today", [None, {}])
def test_shares_that_are_not_known_are_none_and_not_zero(today):
    (known,) = find_causes([column("amount", 0.5)], {"amount": 0.4}, today)
    assert (known.trained_share, known.today_share, known.weight) == (0.4, None, 0.2)

    (unknown,) = find_causes([column("amount", 0.5)], {}, today)
    assert (unknown.trained_share, unknown.weight) == (None, None)
    assert unknown.sentence.endswith("share of the contributions not known")

    (only_today,) = find_causes([column("amount", 0.5)], {}, {"amount": 0.6})
    assert (only_today.trained_share, only_today.weight) == (None, 0.3)


def test_a_cause_is_told_with_its_numbers():
    moved, kind, still = find_causes(
        [
            column("count_7d", 0.4242),
            column("kind", 0.2, current="TRANSFER", reference="PAYMENT"),
            column("still", 0.031),
        ],
        {"count_7d": 0.5, "kind": 0.4, "still": 0.1},
        {"count_7d": 0.6, "kind": 0.395, "still": 0.005},
    )

    assert moved.sentence == (
        "count_7d has drifted by 0.424 (limit 0.1): mean 5.2, before 3.1; "
        "share of the contributions 50.0% in training, 60.0% today"
    )
    assert kind.sentence == (
        "kind has drifted by 0.2 (limit 0.1): mostly TRANSFER, before PAYMENT; "
        "share of the contributions 40.0% in training, 39.5% today"
    )
    assert still.sentence == (
        "still has not drifted: 0.031 (limit 0.1); "
        "share of the contributions 10.0% in training, 0.5% today"
    )


def test_the_cause_of_a_made_drift_is_found():
    rng = np.random.default_rng(2)
    day, base = (
        pl.DataFrame({name: rng.normal(size=4_000) for name in ("a", "b", "c")}) for _ in range(2)
    )
    result = measure_drift(
        day.with_columns(pl.col("b") + 0.5), base, DriftColumns(("a", "b", "c")),
        MonitoringChoices(), 7, html=False,
    )  # fmt: skip

    causes = find_causes(result.columns, {"a": 0.4, "b": 0.3, "c": 0.3}, None)

    assert [one.feature for one in causes if one.drifted] == ["b"]
    assert causes[0].feature == "b"
    assert drifted_weight(result.columns, {"a": 0.4, "b": 0.3, "c": 0.3}) == 0.3


def test_the_table_has_a_row_per_cause_in_their_order():
    causes = find_causes([column("a", 0.2), column("b", None, reason="r")], {"a": 1.0}, None)

    table = cause_table(causes)

    assert table.rows(named=True) == [vars(one) for one in causes]
    assert cause_table(()).columns == table.columns
    assert cause_table(()).schema == table.schema


def test_the_weight_of_the_drifted_inputs_leaves_out_what_was_not_measured():
    columns = [column("a", 0.2), column("b", 0.05), column("c", None, reason="r")]

    assert drifted_weight(columns, {"a": 0.25, "b": 0.25, "c": 0.25, "hour": 0.25}) == 0.25
    assert drifted_weight(columns[1:], {"b": 1.0}) == 0.0


def test_the_weight_of_the_drifted_inputs_may_be_unknown():
    assert drifted_weight([column("a", 0.2)], {}) is None
    assert drifted_weight([column("a", None, reason="r")], {"a": 1.0}) is None
    assert drifted_weight([], {"a": 1.0}) is None


NAMES = "abcdefgh"
VALUES = st.one_of(st.none(), st.floats(0, 50))
SHARES = st.dictionaries(st.sampled_from(NAMES), st.floats(0.01, 1), min_size=1).map(
    lambda found: {name: share / sum(found.values()) for name, share in found.items()}
)


@given(
    values=st.lists(VALUES, min_size=1, max_size=8), trained=SHARES, today=st.none() | SHARES,
    order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_causes_are_in_the_order_of_their_weights_and_shares_are_shares(
    values, trained, today, order
):
    columns = [column(name, value) for name, value in zip(NAMES, values, strict=False)]

    causes = find_causes(columns, trained, today)

    assert sorted(one.feature for one in causes) == [one.column for one in columns]
    weights = [one.weight for one in causes]
    known = [weight for weight in weights if weight is not None]
    assert known == sorted(known, reverse=True)
    assert weights == known + [None] * (len(weights) - len(known))
    assert all(one.weight is None or 0.0 <= one.weight <= one.distance for one in causes)
    weight = drifted_weight(columns, trained)
    assert (weight is None) == all(value is None for value in values)
    assert weight is None or 0.0 <= weight <= 1.0
    order.shuffle(columns)
    assert set(find_causes(columns, trained, today)) == set(causes)
