"""The picture of a simulation shows what was realised and what was done, and gaps as gaps."""

from datetime import date, timedelta

import pytest

from fraud_assets.modeling.reporting.plots import CANDIDATE
from fraud_assets.monitoring.reporting.timeline import TimelineDay, timeline

DRIFT = "#da8f49"  # the champion's colour at 80 % over white


def day(at: int, **changes) -> TimelineDay:
    values = {
        "day": date(2026, 10, 1) + timedelta(days=at), "average_precision": 0.5,
        "drift_share": 0.4, "scored_by": "1", "promoted": None,
    }  # fmt: skip
    return TimelineDay(**{**values, **changes})


DAYS = [day(at) for at in range(12)]


@pytest.mark.parametrize("length", [0, 1, 12])
def test_any_number_of_days_is_drawn_the_same_each_time(opened, length):
    png = timeline(DAYS[:length], 0.3)

    assert opened(png).size == (900, 360)
    assert timeline(DAYS[:length], 0.3) == png


def test_a_training_is_marked_by_how_it_ended():
    pngs = [
        timeline([*DAYS[:5], day(5, promoted=ended), *DAYS[6:]], 0.3)
        for ended in (None, True, False)
    ]

    assert len(set(pngs)) == 3


@pytest.mark.parametrize(
    ("field", "colour"), [("average_precision", CANDIDATE), ("drift_share", DRIFT)]
)
def test_what_is_not_computable_is_a_gap(painted, field, colour):
    gap = [*DAYS[:4], *(day(at, **{field: None}) for at in range(4, 9)), *DAYS[9:]]

    whole, left = (painted(timeline(days, 0.3), colour)[0].size for days in (DAYS, gap))
    assert 0 < left < whole


def test_another_champion_is_named():
    changed = [*DAYS[:6], *(day(at, scored_by="2") for at in range(6, 12))]

    assert timeline(changed, 0.3) != timeline(DAYS, 0.3)
