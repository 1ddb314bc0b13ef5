"""A model judged on parts of the rows: by kind, amount, new payee, time of day and fraud scenario.

An average hides the group in which a model fails, or which it bothers with false alerts (Mitchell
et al. 2019, "Model Cards for Model Reporting", call this disaggregated evaluation). Numbers over
all rows belong in `evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from fraud_assets.modeling.bootstrap import Interval, day_bootstrap_average_precision
from fraud_assets.modeling.decision import ALERT
from fraud_assets.modeling.metrics import Array
from fraud_assets.transactions.columns import (
    AMOUNT,
    DAY,
    DECISION,
    EVENT_TIME,
    KIND,
    LABEL,
    SCENARIO,
    SCORE,
)

NEW_PAYEE: Final = "is_new_payee"
"""The feature of `NewPairFeature`: 1 if the payer had not paid this payee before."""

HOURS_PER_BAND: Final = 6

MIN_LEGITIMATE_ROWS: Final = 500
"""A group with fewer does not enter a false positive ratio: a rate of 1 % would rest on fewer than
five rows, and the largest of several such rates is chance."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SliceEvaluation(_Model):
    """A part of the rows: those of one kind, band of amounts or of hours, or one fraud scenario.

    A scenario's AP ranks its frauds against all legitimate rows; its `rows` are its frauds, and
    it has no false positives of its own. `low` and `high` are two-sided limits at the
    evaluation's confidence: of AP by a day-block bootstrap (None where all resamplings agree), of
    recall and the false positive rate (the share of legitimate rows that were alerted) by Wilson's
    score interval (1927), which counts rows as independent, so that it is narrow where the frauds
    of a slice share a card. None is "not computable".
    """

    dimension: str
    value: str
    rows: int
    positives: int
    alerts: int
    caught: int
    average_precision: float | None
    average_precision_low: float | None
    average_precision_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    false_positive_rate: float | None
    false_positive_rate_low: float | None
    false_positive_rate_high: float | None


class FalsePositiveRatio(_Model):
    """How unevenly the false alerts fall on the groups of one dimension.

    `ratio` is the largest over the smallest false positive rate of the groups with at least
    `MIN_LEGITIMATE_ROWS` legitimate rows; `highest` and `lowest` name these two groups. Where
    there is no ratio, `note` says why; it is empty otherwise.
    """

    dimension: str
    highest: str | None
    highest_rate: float | None
    lowest: str | None
    lowest_rate: float | None
    ratio: float | None
    note: str


@dataclass(frozen=True)
class _Columns:
    """The rows as arrays of one length; `day` counts from any origin."""

    day: Array
    label: Array
    score: Array
    alert: Array


@dataclass(frozen=True)
class _Certainty:
    samples: int
    seed: int
    confidence: float


def evaluate_slices(
    frame: pl.DataFrame, *, samples: int = 1000, seed: int = 7, confidence: float = 0.95
) -> tuple[SliceEvaluation, ...]:
    """Slices by kind, amount, new payee, hour and scenario, in this order, as far as they exist.

    Amounts are cut at powers of ten and hours into quarters of a day (UTC): quantiles would move
    with the data, so that the slices of two evaluations could not be compared. Rows in which the
    column of a dimension is null are in none of its slices.

    Args:
        frame: `day`, `label` (0/1), `score`, `decision` ("alert"/"pass") and `amount`, and as
            far as there are any `kind`, `is_new_payee`, `event_time` and `scenario`.
        samples: resamplings of the days for the interval of AP.
        seed: of the resampling.
        confidence: of all intervals.
    """
    # Each slice is then in order already, so that ranking its rows takes one pass and no sort.
    frame = frame.sort(SCORE, descending=True, maintain_order=True)
    rows = _Columns(
        day=frame.get_column(DAY).to_physical().to_numpy(),
        label=frame.get_column(LABEL).to_numpy(),
        score=frame.get_column(SCORE).to_numpy(),
        alert=(frame.get_column(DECISION) == ALERT).fill_null(value=False).to_numpy(),
    )
    certainty = _Certainty(samples, seed, confidence)
    found = [
        _slice(dimension, name(value), rows, members, members, certainty=certainty)
        for dimension, group, name in _dimensions(frame)
        for value, members in _groups(frame, group)
    ]
    if SCENARIO in frame.columns:
        legitimate = np.flatnonzero(rows.label == 0)
        fraud = pl.when(pl.col(LABEL) == 1).then(pl.col(SCENARIO).cast(pl.String))
        for value, members in _groups(frame, fraud):
            ranked = np.sort(np.concatenate([members, legitimate]))
            found.append(_slice("scenario", str(value), rows, members, ranked, certainty=certainty))
    return tuple(found)


def false_positive_ratios(slices: Sequence[SliceEvaluation]) -> tuple[FalsePositiveRatio, ...]:
    """The ratio for each dimension of `slices` that has false positive rates, in their order."""
    groups: dict[str, list[SliceEvaluation]] = {}
    for one in slices:
        if one.dimension != "scenario":
            groups.setdefault(one.dimension, []).append(one)
    return tuple(_ratio(dimension, found) for dimension, found in groups.items())


def wilson_interval(
    successes: int, trials: int, confidence: float
) -> tuple[float | None, float | None]:
    """Wilson's score interval of a share (1927); None without trials.

    It stays inside 0 and 1 and has a width even where no trial, or every one, was a success: a
    slice in which 3 of 3 frauds were caught has not shown a recall of 1.
    """
    from scipy.special import ndtri

    if trials == 0:
        return None, None
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / trials
    scale = 1 + z**2 / trials
    middle = (share + z**2 / (2 * trials)) / scale
    half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / scale
    low = 0.0 if successes == 0 else float(middle - half)
    high = 1.0 if successes == trials else float(middle + half)
    return low, high


def _dimensions(frame: pl.DataFrame) -> Iterator[tuple[str, pl.Expr, Callable[[Any], str]]]:
    """Each dimension with the group of a row (the groups' order too), and the groups' names."""
    if KIND in frame.columns:
        yield "kind", pl.col(KIND).cast(pl.String), str
    yield "amount", _power_of_ten(pl.col(AMOUNT)), _band
    if NEW_PAYEE in frame.columns:
        yield "new_payee", pl.col(NEW_PAYEE).cast(pl.Int32), _payee
    if EVENT_TIME in frame.columns:
        yield "hour", pl.col(EVENT_TIME).dt.hour().cast(pl.Int32) // HOURS_PER_BAND, _hours


def _power_of_ten(amount: pl.Expr) -> pl.Expr:
    power = amount.clip(lower_bound=1.0).log10().floor().cast(pl.Int32)
    # The logarithm of 1,000 comes out as 2.9999999999999996.
    return power + (amount >= pl.lit(10.0).pow(power + 1)).cast(pl.Int32)


def _band(power: int) -> str:
    return f"{10**power:,} to {10 ** (power + 1):,}" if power else "under 10"


def _payee(new: int) -> str:
    return "new payee" if new else "known payee"


def _hours(band: int) -> str:
    first = band * HOURS_PER_BAND
    return f"{first:02}:00 to {first + HOURS_PER_BAND - 1:02}:59"


def _groups(frame: pl.DataFrame, group: pl.Expr) -> Iterator[tuple[Any, npt.NDArray[np.uint32]]]:
    """Each value of `group` in order, nulls left out, with the positions of its rows in order."""
    rows = frame.select(group.alias("value"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
    members = rows.drop_nulls().group_by("value").agg(pl.col("row").sort()).sort("value")
    yield from zip(members["value"], (one.to_numpy() for one in members["row"]), strict=True)


def _slice(
    dimension: str,
    value: str,
    rows: _Columns,
    members: npt.NDArray[np.uint32],
    ranked: npt.NDArray[np.integer[Any]],
    *,
    certainty: _Certainty,
) -> SliceEvaluation:
    """The slice of the rows `members`, whose AP is that among the rows `ranked`."""
    label, alert = rows.label[members] == 1, rows.alert[members]
    positives, caught = int(label.sum()), int((label & alert).sum())
    legitimate, false_alerts = label.size - positives, int((~label & alert).sum())
    precision = day_bootstrap_average_precision(
        rows.day[ranked], rows.label[ranked], rows.score[ranked],
        samples=certainty.samples, seed=certainty.seed, confidence=certainty.confidence,
    )  # fmt: skip
    if precision.low == precision.high:
        # Resampling eight frauds that were all ranked first says that no other value is possible.
        precision = Interval(precision.estimate, None, None)
    recall_low, recall_high = wilson_interval(caught, positives, certainty.confidence)
    rate_low, rate_high = wilson_interval(false_alerts, legitimate, certainty.confidence)
    return SliceEvaluation(
        dimension=dimension,
        value=value,
        rows=label.size,
        positives=positives,
        alerts=int(alert.sum()),
        caught=caught,
        average_precision=precision.estimate,
        average_precision_low=precision.low,
        average_precision_high=precision.high,
        recall=caught / positives if positives else None,
        recall_low=recall_low,
        recall_high=recall_high,
        false_positive_rate=false_alerts / legitimate if legitimate else None,
        false_positive_rate_low=rate_low,
        false_positive_rate_high=rate_high,
    )


def _ratio(dimension: str, groups: Sequence[SliceEvaluation]) -> FalsePositiveRatio:
    rates = sorted(
        (
            (one.false_positive_rate, one.value, one.rows - one.positives)
            for one in groups
            if one.false_positive_rate is not None
            and one.rows - one.positives >= MIN_LEGITIMATE_ROWS
        ),
        key=lambda rate: rate[0],
    )
    if len(rates) < 2:
        return FalsePositiveRatio(
            dimension=dimension, highest=None, highest_rate=None, lowest=None, lowest_rate=None,
            ratio=None,
            note=f"fewer than two groups have {MIN_LEGITIMATE_ROWS} legitimate rows",
        )  # fmt: skip
    (low, lowest, legitimate), (high, highest, _) = rates[0], rates[-1]
    if high == 0:
        return FalsePositiveRatio(
            dimension=dimension, highest=None, highest_rate=None, lowest=None, lowest_rate=None,
            ratio=None, note="no false alert in any group",
        )  # fmt: skip
    return FalsePositiveRatio(
        dimension=dimension,
        highest=highest,
        highest_rate=high,
        lowest=lowest,
        lowest_rate=low,
        ratio=high / low if low > 0 else None,
        note="" if low > 0 else f"no false alert on {legitimate} legitimate rows of {lowest}",
    )
