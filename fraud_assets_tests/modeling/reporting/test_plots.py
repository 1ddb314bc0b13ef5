"""Pictures: real, small, 500 pixels wide, repeatable, and drawn even of nothing."""

import base64
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.reporting import plots
from fraud_assets.modeling.slices import SliceEvaluation, evaluate_slices

RNG = np.random.default_rng(0)
ROWS = 6000
LOGIT = RNG.normal(-5, 2, ROWS)
LABEL = (RNG.random(ROWS) < 1 / (1 + np.exp(-LOGIT))).astype(int)
SCORE = 1 / (1 + np.exp(-LOGIT))
OTHER = 1 / (1 + np.exp(-(LOGIT + RNG.normal(0, 2, ROWS))))
AMOUNT = RNG.lognormal(4, 1, ROWS)
DAY = np.repeat(np.arange(6), ROWS // 6)
DAYS = [date(2026, 1, 1) + timedelta(days=i) for i in range(12)]
MONEY = {"review_cost": 5.0, "loss_share": 1.0, "days": 6}
NONE, EMPTY = np.zeros(ROWS), np.array([])
SLICES = evaluate_slices(
    pl.DataFrame(
        {
            "day": [DAYS[i] for i in DAY],
            "label": LABEL,
            "score": SCORE,
            "decision": np.where(SCORE > 0.2, "alert", "pass"),
            "amount": AMOUNT,
            "kind": RNG.choice(["TRANSFER", "CASH_OUT", "PAYMENT"], ROWS),
            "is_new_payee": RNG.integers(0, 2, ROWS).astype(np.float32),
            "scenario": [
                "a scenario whose name is too long for it" if one else None for one in LABEL
            ],
        }
    ),
    samples=50,
)
NO_FRAUDS = SLICES[0].model_copy(
    update={"positives": 0, "caught": 0, "recall": None, "recall_low": None, "recall_high": None}
)

PICTURES = {
    "precision_recall": lambda: plots.precision_recall(
        LABEL, SCORE, OTHER, day=DAY, alerts_per_day=50
    ),
    "reliability": lambda: plots.reliability(LABEL, OTHER),
    "cost_curve": lambda: plots.cost_curve(LABEL, AMOUNT, SCORE, threshold=0.05, **MONEY),
    "average_precision_by_day": lambda: plots.average_precision_by_day(
        DAYS, [0.5, None, *[0.6] * 10], [0.4, None, *[0.5] * 10]
    ),
    "drift_bars": lambda: plots.drift_bars({f"column_{i}": i / 50 for i in range(20)}, 0.1),
    "slice_bars": lambda: plots.slice_bars(SLICES, 0.5),
    "slice_bars of many slices": lambda: plots.slice_bars(SLICES * 4),
}
BAR = "#3077b3"  # the candidate's colour at 85 % over white
OF_NOTHING = {
    "precision_recall": lambda: plots.precision_recall(NONE, SCORE),
    "reliability": lambda: plots.reliability(EMPTY, EMPTY),
    "cost_curve without frauds": lambda: plots.cost_curve(NONE, AMOUNT, SCORE, **MONEY),
    "cost_curve without rows": lambda: plots.cost_curve(EMPTY, EMPTY, EMPTY, **MONEY),
    "average_precision_by_day": lambda: plots.average_precision_by_day(DAYS[:1], [None]),
    "drift_bars": lambda: plots.drift_bars({}, 0.1),
    "slice_bars": lambda: plots.slice_bars([]),
    "slice_bars without frauds": lambda: plots.slice_bars([NO_FRAUDS]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_500_pixels_wide(name, small_picture):
    small_picture(PICTURES[name]())


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_input_gives_the_same_bytes(name):
    assert PICTURES[name]() == PICTURES[name]()


@pytest.mark.parametrize("name", OF_NOTHING)
def test_what_is_not_computable_is_drawn_as_such(name, opened):
    assert opened(OF_NOTHING[name]()).width == 500


def test_the_champion_and_the_threshold_are_seen_in_the_picture():
    assert plots.precision_recall(LABEL, SCORE) != plots.precision_recall(LABEL, SCORE, OTHER)
    assert plots.cost_curve(LABEL, AMOUNT, SCORE, **MONEY) != plots.cost_curve(
        LABEL, AMOUNT, SCORE, threshold=0.05, **MONEY
    )


def test_drift_bars_are_sorted_whatever_the_order_of_the_columns():
    assert plots.drift_bars({"a": 0.2, "b": 0.1}, 0.1) == plots.drift_bars(
        {"b": 0.1, "a": 0.2}, 0.1
    )


def test_the_largest_drift_is_on_top_and_in_the_warning_colour(painted):
    png = plots.drift_bars({"a": 0.05, "b": 0.2}, 0.1)

    assert painted(png, plots.CHAMPION)[0].mean() < painted(png, plots.CANDIDATE)[0].mean()


def with_recall(recall: float) -> SliceEvaluation:
    return SLICES[0].model_copy(
        update={"recall": recall, "recall_low": recall / 2, "recall_high": (1 + recall) / 2}
    )


def test_slices_stand_from_top_to_bottom_with_bars_as_long_as_their_recall(painted):
    high, low = with_recall(0.9), with_recall(0.1)

    upper, _ = painted(plots.slice_bars([high, low]), BAR)
    lower, _ = painted(plots.slice_bars([low, high]), BAR)
    assert upper.mean() < lower.mean()
    assert upper.size == pytest.approx(lower.size, rel=0.05)
    assert painted(plots.slice_bars([high]), BAR)[0].size > 5 * (
        painted(plots.slice_bars([low]), BAR)[0].size
    )


def test_a_slice_without_frauds_has_no_bar_and_is_no_recall_of_zero(painted):
    nothing, zero = plots.slice_bars([NO_FRAUDS]), plots.slice_bars([with_recall(0.0)])

    assert painted(nothing, BAR)[0].size == 0
    assert nothing != zero


def test_the_recall_over_all_rows_and_the_intervals_are_seen_in_the_picture():
    bare = [one.model_copy(update={"recall_low": None, "recall_high": None}) for one in SLICES]

    assert plots.slice_bars(SLICES) != plots.slice_bars(SLICES, 0.5)
    assert plots.slice_bars(SLICES) != plots.slice_bars(bare)


def test_a_markdown_image_holds_the_very_bytes():
    png = PICTURES["drift_bars"]()
    text = plots.as_markdown_image(png, "drift")
    head, data = text.removesuffix(")").split("base64,")
    assert head == "![drift](data:image/png;"
    assert base64.b64decode(data) == png


def test_drawing_leaves_no_global_figure_behind():
    PICTURES["reliability"]()
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
