"""Pictures over days: real, small, repeatable; gaps are gaps, and nothing is drawn of nothing."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest

from fraud_assets.modeling.reporting.plots import CANDIDATE, CHAMPION, QUIET
from fraud_assets.monitoring.reporting import trends

LENGTHS = [0, 1, 2, 60]
BAND = "#d1e2ef"  # the mean's interval, 18 % of its colour over white


@dataclass(frozen=True)
class Moved:
    """An input as `cause_bars` wants it."""

    feature: str
    distance: float | None
    drifted: bool | None
    weight: float | None


CAUSES = [Moved(f"payer_count_{i}d", 0.5 / i, i < 4, 0.2 / i) for i in range(1, 20)]


@pytest.fixture
def pictures(drift_day, performance_day, unmeasured_day, unjudged_day):
    """Every picture of so many days, measured or hollow."""

    def made(length: int, *, hollow: bool = False) -> dict[str, bytes]:
        drift, performance = (
            (unmeasured_day, unjudged_day) if hollow else (drift_day, performance_day)
        )
        drifts = [drift(at) for at in range(length)]
        seen = [performance(at) for at in range(length)]
        return {
            "drift": trends.drift_trend(drifts, 0.3),
            "performance": trends.performance_trend(seen),
            "rates": trends.rates_trend(drifts, seen),
            "causes": trends.cause_bars([] if hollow else CAUSES[:length]),
        }

    return made


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("hollow", [False, True])
def test_a_picture_of_any_number_of_days_is_small_and_500_pixels_wide(
    pictures, opened, length, hollow
):
    for name, png in pictures(length, hollow=hollow).items():
        image = opened(png)
        assert (image.format, image.width) == ("PNG", 500), name
        assert len(png) < 60_000, name
        assert len(image.convert("RGB").getcolors(1 << 16)) > 3, name


def test_the_same_records_give_the_same_bytes(pictures):
    assert pictures(60) == pictures(60)


def test_the_order_of_the_records_does_not_matter(drift_day, performance_day):
    drifts, seen = [[make(at) for at in range(50)] for make in (drift_day, performance_day)]

    assert trends.drift_trend(drifts[::-1], 0.3) == trends.drift_trend(drifts, 0.3)
    assert trends.performance_trend(seen[::-1]) == trends.performance_trend(seen)
    assert trends.rates_trend(drifts[::-1], seen[::-1]) == trends.rates_trend(drifts, seen)
    assert trends.cause_bars(CAUSES[::-1]) == trends.cause_bars(CAUSES)


@pytest.mark.parametrize("length", [0, 1, 60])
def test_of_nothing_there_is_no_line_and_the_reason_instead(pictures, opened, painted, length):
    for name, png in pictures(length, hollow=True).items():
        for colour in (CANDIDATE, CHAMPION, trends.SCORE_COLOUR, trends.FRAUD_COLOUR):
            assert painted(png, colour)[0].size == 0, name
        below_the_title = np.asarray(opened(png).convert("L"))[40:]
        assert below_the_title.min() < 160, name


def test_the_reason_of_the_last_day_is_told(unmeasured_day):
    def told(status: str) -> bytes:
        days = [unmeasured_day(0, status="other"), unmeasured_day(1, status=status)]
        return trends.drift_trend(days[::-1], 0.3)

    assert told("too few rows: 12 < 1000") != told("no model yet")
    assert told("no model yet") == trends.drift_trend(
        [unmeasured_day(0, status="no model yet")], 0.3
    )


def test_a_reason_of_any_length_with_any_sign_is_told(unmeasured_day, opened):
    status = "$\\frac{1}$ " + "a very long reason " * 200

    assert opened(trends.drift_trend([unmeasured_day(0, status=status)], 0.3)).width == 500


@pytest.mark.parametrize("field", ["drift_share", "drifted_weight", "score_drift"])
def test_one_known_value_is_enough_for_a_picture_of_drift(unmeasured_day, opened, field):
    nothing = trends.drift_trend([unmeasured_day(0), unmeasured_day(1)], 0.3)
    pngs = {
        trends.drift_trend([unmeasured_day(0), unmeasured_day(1, **{field: value})], 0.3)
        for value in (0.4, 0.6)
    }

    assert len(pngs) == 2
    assert all(opened(png).height > 2 * opened(nothing).height for png in pngs)


def test_a_day_without_a_value_is_a_gap_and_not_a_zero(drift_day, unmeasured_day, painted):
    days = [drift_day(30 + at) for at in range(12)]
    with_gap = [*days[:5], unmeasured_day(35), *days[6:]]

    rows, columns = painted(trends.drift_trend(days, 0.9), CHAMPION)
    gap_rows, gap_columns = painted(trends.drift_trend(with_gap, 0.9), CHAMPION)
    line = slice(0, 260)  # above the legend
    whole = set(columns[np.isin(rows, np.arange(*line.indices(999)))])
    left = set(gap_columns[np.isin(gap_rows, np.arange(*line.indices(999)))])
    assert gap_rows.min() >= rows.min()
    assert 0 < len(left) < len(whole)


def test_a_day_without_a_record_has_its_place_too(drift_day):
    days = [drift_day(at) for at in (0, 1, 2, 4)]
    closer = [*days[:3], drift_day(4, day=days[2].day + timedelta(days=1))]

    assert trends.drift_trend(days, 0.3) != trends.drift_trend(closer, 0.3)


def test_a_score_that_moves_by_more_than_one_does_not_flatten_the_shares(drift_day, painted):
    calm = [drift_day(30 + at) for at in range(5)]
    wild = [*calm[:4], drift_day(34, score_drift=7.5)]

    shares = [painted(trends.drift_trend(days, 0.3), CANDIDATE)[0].min() for days in (calm, wild)]
    assert abs(shares[0] - shares[1]) < 12
    assert trends.drift_trend(wild, 0.3) == trends.drift_trend(
        [*calm[:4], drift_day(34, score_drift=9.0)], 0.3
    )


def test_whether_the_score_has_drifted_is_seen(drift_day):
    drifted, calm = [[drift_day(0, score_drifted=one)] for one in (True, False)]

    assert trends.drift_trend(drifted, 0.3) != trends.drift_trend(calm, 0.3)


def test_the_threshold_is_seen(drift_day):
    assert trends.drift_trend([drift_day(0)], 0.3) != trends.drift_trend([drift_day(0)], 0.5)


def test_another_champion_is_marked_in_every_picture(drift_day, performance_day):
    """The change alone is seen: all the numbers stay those of one champion."""
    for make, draw in (
        (drift_day, lambda days: trends.drift_trend(days, 0.3)),
        (drift_day, lambda days: trends.rates_trend(days, [])),
        (performance_day, trends.performance_trend),
    ):
        changes = {"champion_version": "2"}
        if make is performance_day:
            changes["model_version"] = "2"
        same = [make(10 + at) for at in range(20)]
        other = [*same[:10], *(one.model_copy(update=changes) for one in same[10:])]
        assert draw(same) != draw(other)


def test_the_interval_of_a_day_is_seen_and_one_without_has_none(performance_day, painted):
    bare = {"average_precision_low": None, "average_precision_high": None}
    with_intervals = trends.performance_trend([performance_day(20 + at) for at in range(5)])
    without = trends.performance_trend([performance_day(20 + at, **bare) for at in range(5)])

    assert painted(with_intervals, QUIET)[0].size > painted(without, QUIET)[0].size


def test_the_weekly_mean_has_its_band(performance_day, painted):
    narrow = [performance_day(20 + at, week_low=0.57, week_high=0.59) for at in range(5)]
    wide = [performance_day(20 + at, week_low=0.3, week_high=0.8) for at in range(5)]
    none = [performance_day(20 + at, week_low=None, week_high=None) for at in range(5)]

    sizes = [painted(trends.performance_trend(days), BAND)[0].size for days in (none, narrow, wide)]
    assert sizes[0] == 0 < sizes[1] < sizes[2]


def test_a_matured_day_without_a_value_is_a_cross_and_no_zero(performance_day, painted):
    blind = {
        "average_precision": None, "average_precision_low": None, "average_precision_high": None
    }  # fmt: skip
    days = [performance_day(20 + at) for at in range(5)]
    at_the_bottom = [
        int(((rows > 290) & (rows < 306)).sum())
        for last in (performance_day(24), performance_day(24, **blind))
        for rows, _ in [painted(trends.performance_trend([*days[:4], last]), QUIET)]
    ]

    assert at_the_bottom[0] == 0
    assert at_the_bottom[1] >= 8
    assert trends.performance_trend(
        [*days[:4], performance_day(24, **blind)]
    ) != trends.performance_trend([*days[:4], performance_day(24, **dict.fromkeys(blind, 0.0))])


def test_the_gate_of_a_day_is_that_of_the_model_that_scored_it(performance_day, painted):
    """A report tells the gate of the champion of its own day, which may be a later model.

    The days go from place 23 (matured) to 59; the second champion, with the lower gate, scored
    from 44 on.
    """
    days = [performance_day(at) for at in range(30, 60)]
    rows, columns = painted(trends.performance_trend(days), CHAMPION)
    level = rows < 270  # above the legend
    rows, columns = rows[level], columns[level]

    first = rows[columns == columns.min()].mean()
    high = columns[np.abs(rows - first) < 2]
    low = columns[rows - first > 5]
    assert high.max() <= low.max()
    assert np.ptp(high) / np.ptp(columns) == pytest.approx((44 - 23) / (60 - 23), abs=0.02)


def test_days_whose_labels_are_not_mature_are_told_apart_and_have_an_estimate(
    performance_day, painted
):
    days = [performance_day(at) for at in range(30)]
    unknown = [one.model_copy(update={"estimated_average_precision": None}) for one in days]

    png = trends.performance_trend(days)
    assert painted(png, trends.NOT_MATURE)[0].size > 2_000
    assert painted(png, trends.ESTIMATED)[0].size > (
        painted(trends.performance_trend(unknown), trends.ESTIMATED)[0].size
    )


def test_before_any_label_has_matured_the_estimate_is_drawn_alone(unjudged_day, painted):
    days = [unjudged_day(at, estimated_average_precision=0.5) for at in range(4)]
    png = trends.performance_trend(days)

    assert painted(png, trends.ESTIMATED)[0].size > 10
    assert painted(png, trends.NOT_MATURE)[0].size > 2_000


def test_the_scale_holds_the_gate_however_low_performance_has_fallen(performance_day, painted):
    low = {
        "average_precision": 0.05, "average_precision_low": 0.03, "average_precision_high": 0.08,
        "week_average_precision": 0.05, "week_low": 0.04, "week_high": 0.06,
        "matured_estimated_average_precision": 0.05, "estimated_average_precision": 0.05,
    }  # fmt: skip
    rows, _ = painted(
        trends.performance_trend([performance_day(20 + at, **low) for at in range(5)]), CHAMPION
    )

    assert rows.min() < 270  # above the legend: on the axes


def test_rates_stand_beside_their_references(drift_day, performance_day, painted):
    drifts = [drift_day(at) for at in range(20)]
    seen = [performance_day(at) for at in range(20)]
    bare = [one.model_copy(update={"reference_alert_share": None}) for one in drifts]

    both, alerts_only = trends.rates_trend(drifts, seen), trends.rates_trend(drifts, [])
    assert painted(both, trends.FRAUD_COLOUR)[0].size > 100
    assert painted(alerts_only, trends.FRAUD_COLOUR)[0].size == 0
    assert painted(trends.rates_trend([], seen), CANDIDATE)[0].size == 0
    assert trends.rates_trend(bare, seen) != both


def test_the_heaviest_cause_is_on_top_whatever_its_distance(painted):
    png = trends.cause_bars([Moved("far", 3.0, False, 0.1), Moved("heavy", 0.2, True, 0.4)])

    heavy, light = painted(png, CHAMPION), painted(png, CANDIDATE)
    top = heavy[0] < 100  # the legend has both colours too
    assert heavy[0][top].mean() < light[0].mean()
    assert np.ptp(heavy[1][top]) > 3 * np.ptp(light[1][light[0] < 100])


def test_only_the_heaviest_causes_are_drawn(opened):
    assert trends.cause_bars(CAUSES, most=5) == trends.cause_bars(CAUSES[:5], most=5)
    assert opened(trends.cause_bars(CAUSES, most=5)).height < (
        opened(trends.cause_bars(CAUSES, most=12)).height
    )


def test_inputs_without_a_weight_are_left_out():
    unknown = [Moved("unknown", None, None, None), Moved("no part of the model", 2.0, True, 0.0)]

    assert trends.cause_bars([*CAUSES, *unknown]) == trends.cause_bars(CAUSES)
    assert trends.cause_bars(unknown) != trends.cause_bars([])


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(opened):
    strange = [Moved("$\\undefined$", 0.4, True, 0.2), Moved("a" * 200, None, None, 0.1)]

    assert opened(trends.cause_bars(strange)).width == 500


def test_drawing_leaves_no_global_figure_behind(pictures):
    pictures(3)
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
