"""Whether the rate of something has changed: alerts per transaction, or frauds per transaction.

Only counts of days are compared here; which days, and what follows, is the caller's business. Days
are the unit: frauds come in campaigns, so that counts of days vary by more than the chance of
single rows allows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DayCount = tuple[int, int]
"""Events and rows of one day."""


@dataclass(frozen=True)
class RateChange:
    """The rate of the current days against that of the reference days.

    `current` and `reference` are events per row; `ratio` is the first over the second, and `low`
    and `high` its interval. `moved` is None where it cannot be said, and `reason` then says why;
    the numbers that cannot be computed are None.
    """

    current: float | None
    reference: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    moved: bool | None = None
    reason: str | None = None


def compare_rates(
    current: Sequence[DayCount],
    reference: Sequence[DayCount],
    factor: float,
    confidence: float = 0.99,
) -> RateChange:
    """Whether a rate has moved: by at least `factor`, and by more than days vary anyway.

    Counts of days are taken as quasi-Poisson (McCullagh & Nelder 1989, chapters 6 and 9): their
    variance is a multiple of their mean, which `dispersion` estimates from the reference's days as
    if these were independent of each other. Given how many events there are in all, those of the
    current days are binomial, with that multiple of its variance. The ratio's interval is Wilson's
    (1927) of their odds, with Student's t for the reference's degrees of freedom. The usual one of
    the log ratio, Wald's, is so wide around a count of 0 that it would miss alerts that stop.

    Where one side has no events, half an event is added to both (Haldane 1956, Anscombe 1956), so
    that the ratio is neither 0 nor infinite.

    Args:
        current: (events, rows) of each day in question.
        reference: (events, rows) of each day to compare with; two at least, better seven.
        factor: how many times higher or lower a rate must be, at least 1.
        confidence: of the interval, between 0 and 1.

    Raises:
        ValueError: `factor` or `confidence` is out of range, or a day has fewer rows than events.
    """
    if not factor >= 1.0 or not 0.0 < confidence < 1.0:
        raise ValueError(f"factor {factor} is below 1, or confidence {confidence} not in (0, 1)")
    wrong = [day for day in (*current, *reference) if not 0 <= day[0] <= day[1]]
    if wrong:
        raise ValueError(f"{wrong[0][0]} events in {wrong[0][1]} rows of a day")
    events, rows = _total(current)
    base_events, base_rows = _total(reference)
    rate = events / rows if rows else None
    base_rate = base_events / base_rows if base_rows else None
    if rate is None or base_rate is None:
        side = "current" if rate is None else "reference"
        return RateChange(rate, base_rate, reason=f"no rows on the {side} days")
    if events + base_events == 0:
        reason = f"no events in {rows} current and {base_rows} reference rows"
        return RateChange(rate, base_rate, reason=reason)

    half = 0.5 if events == 0 or base_events == 0 else 0.0
    a, b = events + half, base_events + half
    ratio = a / b * (base_rows / rows)
    freedom = sum(1 for _, count in reference if count) - 1
    if freedom < 1:
        reason = "one reference day: how much days vary cannot be told"
        return RateChange(rate, base_rate, ratio, reason=reason)
    width = _log_width(1.0 / a + 1.0 / b, dispersion(reference), freedom, confidence)
    low, high = ratio * math.exp(-width), ratio * math.exp(width)
    moved = max(ratio, 1.0 / ratio) >= factor and not low <= 1.0 <= high
    return RateChange(rate, base_rate, ratio, low, high, moved)


def dispersion(days: Sequence[DayCount]) -> float:
    """How many times the variance of a Poisson count days have: Pearson's chi-square over n - 1.

    At least 1; 1 also where it cannot be estimated (fewer than two days with rows, no events).
    """
    counts = np.array([day for day in days if day[1]], dtype=np.float64).reshape(-1, 2)
    events, rows = counts[:, 0], counts[:, 1]
    if rows.size < 2 or events.sum() == 0.0:
        return 1.0
    expected = rows * events.sum() / rows.sum()
    return max(1.0, float(np.sum((events - expected) ** 2 / expected)) / (rows.size - 1))


def _total(days: Sequence[DayCount]) -> DayCount:
    return sum(events for events, _ in days), sum(rows for _, rows in days)


def _log_width(variance: float, dispersion: float, freedom: int, confidence: float) -> float:
    """Half the width of the interval of the log ratio, `variance` being 1/a + 1/b of two counts.

    Wilson's bounds of binomial odds are as far from their logarithm as 2 asinh(w / 2), where w is
    the distance of Wald's (Newcombe 2001, "Logit confidence intervals and the inverse sinh").
    """
    from scipy.special import stdtrit

    t = float(stdtrit(freedom, 0.5 + confidence / 2))
    return 2.0 * math.asinh(t * math.sqrt(dispersion * variance) / 2.0)
