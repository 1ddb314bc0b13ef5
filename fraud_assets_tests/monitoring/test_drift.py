"""Real Evidently runs on small frames: what it computes, and what is refused."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from fraud_assets.monitoring.column_drift import evidently_scale
from fraud_assets.monitoring.drift import (
    DriftColumns,
    DriftColumnsError,
    drift_columns,
    measure_drift,
    sample_rows,
)
from fraud_assets.transactions.profile import MonitoringChoices

CHOICES = MonitoringChoices(sample_rows=10_000, min_rows=1_000)
COLUMNS = DriftColumns(numeric=("amount", "count_7d"), categorical=("kind",))


def frame(rows, seed, *, amount=3.0, kinds=(0.5, 0.3, 0.2)):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "amount": rng.lognormal(amount, 1.0, rows),
            "count_7d": rng.poisson(4, rows).astype(np.float32),
            "kind": rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT"], rows, p=kinds),
            "score": rng.beta(1, 60, rows),
        }
    )


def column(result, name):
    return next(one for one in result.columns if one.column == name)


def measured(current, reference, columns=COLUMNS, choices=CHOICES, *, seed=7, html=False):
    return measure_drift(current, reference, columns, choices, seed, html=html)


def one_column(current, reference, *, categorical=False):
    names = ((), ("x",)) if categorical else (("x",), ())
    dtype = pl.String if categorical else pl.Float64
    result = measured(
        pl.DataFrame({"x": current}, schema={"x": dtype}),
        pl.DataFrame({"x": reference}, schema={"x": dtype}),
        DriftColumns(*names),
        MonitoringChoices(min_rows=1),
    )
    assert result.status == "measured"
    return column(result, "x"), result


def test_two_samples_of_one_distribution_do_not_drift():
    result = measured(frame(5_000, 1), frame(8_000, 2))
    assert result.drift_share == 0.0
    assert result.drifted_columns == ()
    assert result.score_drift.drifted is False
    assert all(0.0 < one.value < 0.1 for one in result.columns)


def test_shifted_columns_are_named_the_furthest_first():
    result = measured(frame(5_000, 1, amount=4.0, kinds=(0.3, 0.3, 0.4)), frame(5_000, 2))
    assert result.drifted_columns == ("amount", "kind")
    assert result.drift_share == pytest.approx(2 / 3)
    assert column(result, "amount").current > 2 * column(result, "amount").reference
    assert column(result, "kind").current == "CASH_OUT"
    assert column(result, "kind").reference == "PAYMENT"


def test_the_score_is_reported_beside_the_inputs_and_not_in_their_share():
    moved = frame(5_000, 1).with_columns(pl.col("score") * 3)
    result = measured(moved, frame(5_000, 2))
    assert result.score_drift.drifted is True
    assert result.drift_share == 0.0
    assert "score" not in [one.column for one in result.columns]
    assert result.table()["column"][0] == "score"


def test_a_score_on_one_side_only_has_no_value_and_none_at_all_no_entry():
    one_side = measured(frame(2_000, 1), frame(2_000, 2).drop("score"))
    assert one_side.score_drift.value is None
    assert one_side.score_drift.reason == "no value in the reference sample"
    neither = measured(frame(2_000, 1).drop("score"), frame(2_000, 2).drop("score"))
    assert neither.score_drift is None


def test_values_are_those_of_scipy_on_the_same_rows():
    current, reference = frame(4_000, 1, amount=3.4), frame(6_000, 2)
    result = measured(current, reference)
    for name in ("amount", "count_7d", "score"):
        found = result.score_drift if name == "score" else column(result, name)
        base, day = (f[name].cast(pl.Float64).to_numpy() for f in (reference, current))
        expected = wasserstein_distance(base, day) / np.std(base)
        assert found.value == pytest.approx(expected, abs=1e-6)
    kinds = ["CASH_OUT", "PAYMENT", "TRANSFER"]
    p, q = ([(f["kind"] == kind).mean() for kind in kinds] for f in (reference, current))
    assert column(result, "kind").value == pytest.approx(jensenshannon(p, q), abs=1e-6)


def test_values_are_those_of_an_evidently_report():
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    current, reference = frame(3_000, 1, amount=3.4), frame(3_000, 2)
    result = measured(current, reference)
    definition = DataDefinition(
        numerical_columns=["amount", "count_7d"], categorical_columns=["kind"]
    )
    preset = DataDriftPreset(
        columns=["amount", "count_7d", "kind"], num_method="wasserstein",
        cat_method="jensenshannon", num_threshold=0.1, cat_threshold=0.1,
    )  # fmt: skip
    day, base = (
        Dataset.from_pandas(f.to_pandas(), data_definition=definition) for f in (current, reference)
    )
    run = Report([preset]).run(day, base)
    metrics = run.dict()["metrics"]
    assert metrics[0]["value"]["share"] == pytest.approx(result.drift_share)
    theirs = {m["config"]["column"]: m["value"] for m in metrics[1:]}
    for name, value in theirs.items():
        assert column(result, name).value == pytest.approx(value, abs=1e-6)


def test_too_few_rows_are_a_result_and_not_an_error():
    result = measured(frame(12, 1), frame(2_000, 2), html=True)
    assert result.status == "too_few_rows"
    assert result.reason == "too few rows: 12 < 1000"
    assert (result.rows_current, result.rows_reference) == (12, 2_000)
    assert result.drift_share is None
    assert result.html is None
    assert result.table().is_empty()
    other = measured(frame(2_000, 1), frame(999, 2))
    assert other.reason == "too few reference rows: 999 < 1000"
    assert measured(frame(0, 1), frame(0, 2)).reason == "too few rows: 0 < 1000"


def test_a_missing_column_is_an_error_that_names_it():
    with pytest.raises(DriftColumnsError, match="the reference frame lacks count_7d, kind"):
        measured(frame(2_000, 1), frame(2_000, 2).drop("count_7d", "kind"))


def test_missing_values_are_left_out_of_the_distance_and_counted():
    rng = np.random.default_rng(3)
    day = rng.normal(size=4_000)
    gaps = np.where(np.arange(4_000) % 2, day, np.nan).tolist()
    gaps[0], gaps[2], gaps[4] = None, math.inf, -math.inf
    found, result = one_column(gaps, rng.normal(size=4_000))
    assert found.drifted is False
    assert found.current_missing == 0.5
    assert found.reference_missing == 0.0
    assert result.drift_share == 0.0


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize("side", ["current", "reference"])
def test_an_all_missing_column_has_no_value(categorical, side):
    values = ["a", "b"] * 500 if categorical else [1.0, 2.0] * 500
    sides = {"current": values, "reference": values} | {side: [None] * 1_000}
    found, result = one_column(**sides, categorical=categorical)
    assert found.value is None
    assert found.drifted is None
    assert found.reason == f"no value in the {side} sample"
    assert getattr(found, side) is None
    assert result.drift_share is None
    assert result.reason == "no column has a value"


def test_columns_without_a_value_do_not_count_in_the_share():
    empty = pl.lit(None, pl.Float32).alias("count_7d")
    current = frame(5_000, 1, amount=4.0).with_columns(empty)
    result = measured(current, frame(5_000, 2), html=True)
    assert result.drift_share == 0.5
    assert result.not_computable == {"count_7d": "no value in the current sample"}
    assert b"amount" in result.html


def test_a_column_that_is_the_same_constant_has_not_moved():
    found, _ = one_column([5.0] * 1_000, [5.0] * 1_000)
    assert (found.value, found.drifted) == (0.0, False)
    same, _ = one_column(["a"] * 1_000, ["a"] * 1_000, categorical=True)
    assert (same.value, same.drifted) == (0.0, False)


@pytest.mark.parametrize("current", [[5.0001] * 1_000, [5.0, 6.0] * 500])
def test_a_constant_reference_gives_no_scale(current):
    found, _ = one_column(current, [5.0] * 1_000)
    assert found.value is None
    assert found.reason == "constant in the reference (5): no scale to measure by"
    assert found.current == pytest.approx(np.mean(current))


def test_a_constant_day_against_a_varied_reference_is_drift():
    found, _ = one_column([9.0] * 1_000, np.random.default_rng(1).normal(5, 1, 1_000))
    assert found.drifted is True


def test_unseen_categories_are_drift_up_to_the_largest_distance():
    found, _ = one_column(["new"] * 1_000, ["old"] * 1_000, categorical=True)
    assert found.value == pytest.approx(math.sqrt(math.log(2)))
    few, _ = one_column(["old"] * 999 + ["new"], ["old"] * 1_000, categorical=True)
    assert few.drifted is False


def test_values_that_chance_explains_are_not_called_drift():
    rng = np.random.default_rng(5)
    found, _ = one_column(rng.normal(size=60), rng.normal(size=5_000))
    assert found.value is None
    assert found.reason.startswith("60 current and 5000 reference values: chance alone gives")
    many = [f"k{i}" for i in range(400)]
    wide, _ = one_column(rng.choice(many, 1_000), rng.choice(many, 1_000), categorical=True)
    assert wide.value is None
    assert wide.reason.startswith("399 categories in 1000 current")


@pytest.mark.parametrize("categorical", [False, True])
def test_the_chance_that_is_refused_is_the_chance_that_occurs(categorical):
    rng = np.random.default_rng(6)
    values = []
    for _ in range(20):
        if categorical:
            day, base = rng.choice(list("abcdefgh"), 300), rng.choice(list("abcdefgh"), 2_000)
        else:
            day, base = rng.normal(size=300), rng.normal(size=2_000)
        values.append(one_column(day, base, categorical=categorical)[0].value)
    pooled = 1 / 300 + 1 / 2_000
    expected = math.sqrt(7 / 8 * pooled) if categorical else 1.3 * math.sqrt(pooled)
    assert np.mean(values) == pytest.approx(expected, rel=0.25)


def test_a_column_of_tiny_scale_moves_by_its_own_scale():
    rng = np.random.default_rng(8)
    base, day = rng.normal(0.002, 1e-5, 2_000), rng.normal(0.00201, 1e-5, 2_000)
    found, _ = one_column(day, base)
    assert evidently_scale(base) == 1e5
    assert found.value == pytest.approx(wasserstein_distance(base, day) / np.std(base), abs=1e-6)
    assert found.drifted is True


def test_samples_are_seeded_ordered_and_no_larger_than_asked():
    rows = pl.DataFrame({"x": range(50_000)})
    drawn = sample_rows(rows, 1_000, (7, 0))
    assert drawn.height == 1_000
    assert drawn["x"].is_sorted()
    assert drawn.equals(sample_rows(rows, 1_000, (7, 0)))
    assert not drawn.equals(sample_rows(rows, 1_000, (8, 0)))
    assert sample_rows(rows, 50_000, (7, 0)) is rows


def test_a_sample_finds_what_all_rows_show():
    current, reference = frame(40_000, 1, amount=3.5), frame(40_000, 2)
    small = measured(current, reference, choices=MonitoringChoices(sample_rows=4_000))
    whole = measured(current, reference, choices=MonitoringChoices(sample_rows=40_000))
    assert small.drifted_columns == whole.drifted_columns == ("amount",)
    assert column(small, "amount").value == pytest.approx(column(whole, "amount").value, rel=0.2)
    assert small.rows_current == 40_000


def test_the_page_is_self_contained_and_the_same_each_time():
    current, reference = frame(3_000, 1, amount=4.0), frame(3_000, 2)
    tiny = pl.col("score") * 1e-4
    sides = current.with_columns(tiny), reference.with_columns(tiny)
    first = measured(*sides, html=True)
    again = measured(*sides, html=True)
    assert first.html == again.html
    page = first.html.decode()
    assert "<script src" not in page
    assert "<link" not in page
    assert "Drift in column 'amount'" in page
    assert "Drift in column 'score (times" in page
    assert "Value Drift for column kind" in page
    score = f"Drift score: {round(first.score_drift.value, 3)}"
    assert score in page
    assert f"Drift score: {round(column(first, 'kind').value, 3)}" in page


SCRIPT = """
import hashlib, numpy as np, polars as pl
from fraud_assets.monitoring.drift import DriftColumns, measure_drift
from fraud_assets.transactions.profile import MonitoringChoices
rng = np.random.default_rng(1)
names = np.array([f"category {i}" for i in range(12)])
def frame():
    return pl.DataFrame({"kind": names[rng.integers(0, 12, 3000)], "x": rng.normal(size=3000)})
choices = MonitoringChoices(sample_rows=2000)
r = measure_drift(frame(), frame(), DriftColumns(("x",), ("kind",)), choices, 7, html=True)
print(r.columns, hashlib.sha256(r.html).hexdigest())
"""


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(capsys):
    """Texts hash differently there, and Evidently goes through sets of them."""
    exec(SCRIPT, {})
    here = capsys.readouterr().out
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert here == there
    assert "jensenshannon" in here


def test_the_clock_is_no_drift_column_and_the_amount_is_one_once():
    features = SimpleNamespace(
        numeric_names=("amount", "hour", "is_night", "is_weekend", "payer_count_1d"),
        categorical_names=("kind", "card_type"),
    )
    assert drift_columns(features) == DriftColumns(
        numeric=("amount", "payer_count_1d"), categorical=("kind", "card_type")
    )
    features.numeric_names = ("payer_count_1d",)
    assert drift_columns(features).numeric == ("amount", "payer_count_1d")


def test_evidently_is_not_imported_before_it_is_used():
    code = (
        "import sys, fraud_assets.monitoring.drift; "
        "print([m for m in ('evidently', 'pandas', 'sklearn', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
