"""What counts as damage to a day's inputs, what does not, and how much of a model it concerns."""

import math
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.monitoring.data_quality import STUCK_ROWS, broken_weights, measure_quality
from fraud_assets.monitoring.drift import DriftColumns, DriftColumnsError
from fraud_assets.transactions.profile import MonitoringChoices

CHOICES = MonitoringChoices()
STRICT = MonitoringChoices(
    max_missing_increase=0.0, max_unseen_share=0.0, max_out_of_range_share=0.0
)
COLUMNS = DriftColumns(numeric=("amount", "count_7d"), categorical=("kind",))


def frame(rows, seed):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "amount": rng.lognormal(3.0, 1.5, rows),
            "count_7d": rng.poisson(4, rows).astype(np.float32),
            "kind": rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT"], rows),
        }
    )


def measured(current, reference, columns=COLUMNS, choices=CHOICES):
    return measure_quality(current, reference, columns, choices)


def one_column(current, reference, choices=CHOICES):
    text = any(isinstance(value, str) for value in (*current, *reference))
    dtype = pl.String if text else pl.Float64
    sides = (pl.DataFrame({"x": side}, schema={"x": dtype}) for side in (current, reference))
    columns = DriftColumns((), ("x",)) if text else DriftColumns(("x",), ())
    (found,) = measured(*sides, columns, choices).columns
    return found


def test_another_day_of_the_same_kind_is_whole():
    result = measured(frame(20_000, 1), frame(10_000, 2))

    assert result.broken_columns == ()
    assert [one.broken for one in result.columns] == [False] * 3
    assert [one.reason for one in result.columns] == [None] * 3
    assert result.worst_missing_increase == 0.0
    assert result.worst_unseen_share == 0.0
    assert 0.0 < result.worst_out_of_range_share < 0.001


def test_values_that_are_missing_now_break_a_column():
    gone = pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("amount"))

    result = measured(frame(4_000, 1).with_columns(amount=gone), frame(4_000, 2))

    (broken,) = (one for one in result.columns if one.broken)
    assert (broken.column, broken.missing, broken.reference_missing) == ("amount", 0.25, 0.0)
    assert broken.missing_increase == result.worst_missing_increase == 0.25
    assert broken.reason == "25.0% missing, 0.0% in the reference"


def test_values_that_were_always_missing_are_no_damage():
    found = one_column([None, None, None, 1.0, 2.0] * 200, [None, None, 1.0, 2.0] * 200)

    assert found.missing_increase == pytest.approx(0.1)
    assert (found.broken, found.missing) == (False, 0.6)
    fewer = one_column([1.0, 2.0] * 500, [None, 1.0, 2.0, 1.0] * 200)
    assert (fewer.missing_increase, fewer.broken) == (-0.25, False)


def test_nan_and_infinity_are_missing_and_not_out_of_range():
    found = one_column([math.nan, math.inf, -math.inf, None, 1.0] * 200, [0.0, 1.0, 2.0] * 300)

    assert (found.missing, found.out_of_range_share, found.broken) == (0.8, 0.0, True)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_is_missing_in_the_reference_is_no_end_of_its_range(missing):
    found = one_column([5.0] * 900 + [1.0] * 100, [1.0, 2.0, missing] * 300)

    assert found.out_of_range_share == 0.9
    assert found.reference_missing == pytest.approx(1 / 3)


def test_values_outside_the_range_break_a_column_beyond_the_limit():
    reference = np.linspace(10.0, 20.0, 1_001)
    inside = np.linspace(10.0, 20.0, 950)

    some = one_column([*inside, *[9.0] * 25, *[21.0] * 25], reference)
    assert (some.out_of_range_share, some.broken, some.reason) == (0.05, False, None)
    more = one_column([*inside, *[9.0] * 35, *[21.0] * 35], reference)
    assert more.broken is True
    assert more.reason == "6.9% of the rows are outside 10 to 20, the range of the reference"
    assert (more.unseen_share, more.sort) == (None, "number")


def test_the_ends_of_the_range_are_inside():
    found = one_column([10.0, 20.0] * 500, [10.0, 15.0, 20.0] * 300, STRICT)

    assert (found.out_of_range_share, found.broken) == (0.0, False)


def test_any_other_value_is_out_of_the_range_of_a_constant():
    found = one_column([5.0] * 900 + [5.01] * 100, [5.0] * 1_000)

    assert (found.out_of_range_share, found.broken) == (0.1, True)
    assert "outside 5 to 5" in found.reason


def test_a_kind_that_was_never_there_breaks_a_column():
    result = measured(frame(3_000, 1).with_columns(kind=pl.lit("CRYPTO")), frame(3_000, 2))
    found = next(one for one in result.columns if one.column == "kind")

    assert (found.unseen_share, found.out_of_range_share, found.sort) == (1.0, None, "category")
    assert found.broken is True
    assert "100.0% of the rows are of a kind that the reference never had" in found.reason
    assert result.worst_unseen_share == 1.0


def test_a_missing_kind_is_missing_and_not_new():
    found = one_column(["a", None] * 500, ["a", "b"] * 500)

    assert (found.missing, found.unseen_share) == (0.5, 0.0)


def test_a_column_of_many_rare_kinds_is_not_broken_by_some_more_of_them():
    rng = np.random.default_rng(4)
    kinds = rng.zipf(1.4, (2, 4_000))

    found = one_column(*([f"device {kind}" for kind in side] for side in kinds))

    assert found.unseen_share > CHOICES.max_unseen_share
    assert found.by_chance == pytest.approx(found.unseen_share, abs=0.03)
    assert found.broken is False
    replaced = one_column([f"new {kind}" for kind in kinds[0]], [f"{kind}" for kind in kinds[1]])
    assert replaced.broken is True


def test_a_small_reference_allows_for_the_values_that_it_did_not_happen_to_have():
    rng = np.random.default_rng(5)
    outside = [one_column(rng.lognormal(0, 2, 500), rng.lognormal(0, 2, 19)) for _ in range(300)]

    assert outside[0].by_chance == pytest.approx(2 / 20)
    half_missing = one_column([1.0, None] * 50, rng.lognormal(0, 2, 19))
    assert half_missing.by_chance == pytest.approx(1 / 20)
    assert np.mean([one.out_of_range_share for one in outside]) == pytest.approx(0.1, abs=0.02)


def test_a_column_that_is_stuck_is_broken_though_its_value_is_an_ordinary_one():
    result = measured(frame(2_000, 1).with_columns(count_7d=4.0), frame(2_000, 2))

    assert result.broken_columns == ("count_7d",)
    found = result.columns[1]
    assert (found.out_of_range_share, found.missing_increase, found.stuck) == (0.0, 0.0, True)
    assert found.reason.startswith("every value is 4, 8")
    assert found.reason.endswith("% were another before")
    kind = one_column(["a"] * 1_000, ["a", "b"] * 500)
    assert (kind.stuck, kind.reason) == (True, "every value is a, 50.0% were another before")


def test_a_column_that_was_constant_before_is_not_stuck():
    for value in (5.0, "a"):
        found = one_column([value] * 1_000, [value] * 1_000, STRICT)
        assert (found.stuck, found.broken) == (False, False)


@pytest.mark.parametrize(("now", "before"), [(6.0, 5.0), ("b", "a")])
def test_another_constant_is_out_of_range_or_new_and_not_stuck(now, before):
    found = one_column([now] * 1_000, [before] * 1_000)

    assert (found.stuck, found.broken, found.damaged_share) == (False, True, 1.0)


def test_a_rare_flag_that_nobody_raised_is_not_stuck():
    rows = 1_000
    reference = [0.0] * 9_900 + [1.0] * 100

    quiet = one_column([0.0] * rows, reference)
    assert (quiet.stuck, quiet.broken) == (False, False)
    enough = one_column([0.0] * STUCK_ROWS * 100, reference)
    assert (enough.stuck, enough.broken) == (True, True)


def test_several_kinds_of_damage_are_all_told():
    found = one_column([None, 900.0] * 500, np.linspace(0.0, 1.0, 1_000))

    assert found.reason == (
        "50.0% missing, 0.0% in the reference; "
        "50.0% of the rows are outside 0 to 1, the range of the reference; "
        "every value is 900, 100.0% were another before"
    )


def test_nothing_can_be_said_of_a_side_without_rows():
    rows = frame(1_000, 1)
    for current, reference, side in ((rows.clear(), rows, "current"), (rows, rows.clear(), "ref")):
        result = measured(current, reference)
        assert result.broken_columns == ()
        assert {one.broken for one in result.columns} == {None}
        assert {one.missing_increase for one in result.columns} == {None}
        assert all(one.reason.startswith(f"no rows in the {side}") for one in result.columns)
        worst = (result.worst_missing_increase, result.worst_unseen_share)
        assert (*worst, result.worst_out_of_range_share) == (None, None, None)


@pytest.mark.parametrize("values", [[1.0, 2.0], ["a", "b"]])
def test_values_where_the_reference_had_none_cannot_be_judged(values):
    columns = DriftColumns((), ("x",)) if values == ["a", "b"] else DriftColumns(("x",), ())
    current = pl.DataFrame({"x": values * 500})

    result = measured(current, current.with_columns(x=pl.lit(None, current.schema["x"])), columns)

    (found,) = result.columns
    assert (found.broken, found.reason) == (None, "no value in the reference sample")
    assert (found.unseen_share, found.out_of_range_share) == (None, None)
    assert found.missing_increase == -1.0


@pytest.mark.parametrize("values", [[1.0, 2.0], ["a", "b"]])
def test_a_column_that_lost_every_value_is_broken(values):
    found = one_column([None] * 1_000, values * 500)

    assert (found.broken, found.stuck, found.missing_increase) == (True, False, 1.0)


def test_broken_columns_come_worst_first_in_the_names_and_in_the_table():
    current = frame(2_000, 1).with_columns(
        amount=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise(pl.col("amount")),
        kind=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("X")).otherwise(pl.col("kind")),
    )

    result = measured(current, frame(2_000, 2))

    assert result.broken_columns == ("kind", "amount")
    table = result.table()
    assert table["column"].to_list() == ["kind", "amount", "count_7d"]
    assert table["broken"].to_list() == [True, True, False]
    assert table.row(0, named=True) == vars(result.columns[2])


def test_what_is_broken_comes_before_what_only_varies():
    kinds = np.random.default_rng(4).zipf(1.3, (2, 2_000))
    day, base = (
        frame(2_000, seed).with_columns(kind=pl.Series(side).cast(pl.String))
        for seed, side in enumerate(kinds)
    )
    some_missing = pl.when(pl.int_range(pl.len()) % 9 > 0).then(pl.col("amount"))

    result = measured(day.with_columns(amount=some_missing), base)

    assert result.worst_unseen_share > result.worst_missing_increase > 0.1
    assert result.table()["column"].to_list() == ["amount", "kind", "count_7d"]


def test_a_table_of_nothing_has_its_columns():
    table = measured(frame(10, 1), frame(10, 2), DriftColumns((), ())).table()

    assert table.height == 0
    assert table.columns[0] == "column"


def test_a_lacking_column_is_named_with_its_side():
    with pytest.raises(DriftColumnsError, match="the current frame lacks count_7d, kind"):
        measured(frame(10, 1).drop("kind", "count_7d"), frame(10, 2))
    with pytest.raises(DriftColumnsError, match="the reference frame lacks amount"):
        measured(frame(10, 1), frame(10, 2).drop("amount"))


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float32, pl.Boolean])
def test_numbers_of_any_type_are_measured(dtype):
    columns = DriftColumns(("x",), ())
    rows = pl.DataFrame({"x": [0, 1] * 500}).cast(dtype)

    assert measured(rows, rows, columns).columns[0].broken is False
    assert measured(rows.with_columns(x=pl.lit(7)), rows, columns).broken_columns == ("x",)


NUMBERS = st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=1, max_size=40)
KINDS = st.lists(st.one_of(st.none(), st.sampled_from("abcde")), min_size=1, max_size=40)


def two_columns(numbers, kinds):
    rows = min(len(numbers), len(kinds))
    schema = {"n": pl.Float64, "k": pl.String}
    return pl.DataFrame({"n": numbers[:rows], "k": kinds[:rows]}, schema=schema)


PAIR = DriftColumns(("n",), ("k",))


@settings(max_examples=60, deadline=None)
@given(numbers=NUMBERS, kinds=KINDS)
def test_identical_frames_are_never_broken(numbers, kinds):
    rows = two_columns(numbers, kinds)

    result = measured(rows, rows, PAIR, STRICT)

    assert result.broken_columns == ()
    assert all(one.damaged_share == 0.0 for one in result.columns)


@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(st.tuples(NUMBERS, KINDS), st.tuples(NUMBERS, KINDS)), seed=st.integers(0, 99)
)
def test_the_order_of_the_rows_changes_nothing_and_shares_are_shares(sides, seed):
    current, reference = (two_columns(*side) for side in sides)

    result = measured(current, reference, PAIR, STRICT)

    mixed = (side.sample(fraction=1.0, shuffle=True, seed=seed) for side in (current, reference))
    assert measured(*mixed, PAIR, STRICT) == result
    for one in result.columns:
        shares = (one.missing, one.reference_missing, one.unseen_share, one.out_of_range_share)
        shares = (*shares, one.by_chance, one.damaged_share)
        assert all(0.0 <= share <= 1.0 for share in shares if share is not None)
        assert (one.reason is None) == (one.broken is False)


def test_a_day_of_a_large_table_takes_milliseconds():
    rng = np.random.default_rng(1)
    columns = DriftColumns(tuple(f"x{i}" for i in range(26)), tuple(f"k{i}" for i in range(4)))

    def wide(rows):
        kinds = np.array([f"kind {i}" for i in range(200)])
        return pl.DataFrame(
            {name: rng.lognormal(0, 1, rows).astype(np.float32) for name in columns.numeric}
            | {name: kinds[rng.integers(0, 200, rows)] for name in columns.categorical}
        )

    current, reference = wide(20_000), wide(10_000)
    taken = []
    for _ in range(5):
        start = time.process_time()
        measured(current, reference, columns)
        taken.append(time.process_time() - start)

    assert min(taken) < 0.1  # 16 ms on an idle core


def test_the_weight_of_broken_inputs_is_told_by_version():
    importances = {
        "3": {"amount": 0.5, "kind": 0.2, "count_7d": 0.3},
        "2": {"count_7d": 1.0},
        "rules-1": {"payee_risk_7d": 1.0},
        "unknown": {},
    }

    found = broken_weights(["amount", "kind", "amount"], importances)

    assert found == {"3": pytest.approx(0.7), "2": 0.0, "rules-1": 0.0}
    assert broken_weights([], importances) == {"3": 0.0, "2": 0.0, "rules-1": 0.0}


@given(
    shares=st.dictionaries(st.sampled_from("abcdef"), st.floats(0.001, 1), min_size=1),
    broken=st.lists(st.sampled_from("abcdefg")),
)
def test_a_weight_is_a_share_and_of_all_inputs_the_whole(shares, broken):
    total = sum(shares.values())
    shares = {name: share / total for name, share in shares.items()}

    assert 0.0 <= broken_weights(broken, {"1": shares})["1"] <= 1.0
    assert broken_weights(list(shares), {"1": shares})["1"] == pytest.approx(1.0)
