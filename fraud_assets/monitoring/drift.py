"""How far a day's features and scores have moved from the reference.

Only the comparison of two frames belongs here. One column's distance is made in `column_drift`,
Evidently's page in `drift_html`. Which days make the reference, and that they are older than the
longest window, is the caller's business; what follows from drift is decided in `policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
import polars as pl

from fraud_assets.monitoring.column_drift import (
    ColumnDrift,
    by_distance,
    categorical_drift,
    numeric_drift,
)
from fraud_assets.monitoring.drift_html import drift_page
from fraud_assets.transactions.columns import AMOUNT, SCORE
from fraud_assets.transactions.profile import MonitoringChoices

CALENDAR: Final = frozenset({"hour", "is_night", "is_weekend"})
"""Features of the clock: one day always differs from many in its weekday, which is not drift."""


class DriftColumnsError(ValueError):
    """The frames do not hold the columns that are to be compared."""


class FeatureNames(Protocol):
    """What `drift_columns` needs of a `features.definitions.FeatureSet`."""

    @property
    def numeric_names(self) -> Sequence[str]:
        """Names of the numeric features."""
        ...

    @property
    def categorical_names(self) -> Sequence[str]:
        """Names of the features that are text."""
        ...


@dataclass(frozen=True)
class DriftColumns:
    """The inputs that are compared; the score is compared beside them and is not listed."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...] = ()


def drift_columns(feature_set: FeatureNames) -> DriftColumns:
    """The amount and every feature except those of the calendar, numeric ones first."""
    numeric = dict.fromkeys((AMOUNT, *feature_set.numeric_names))
    return DriftColumns(
        numeric=tuple(name for name in numeric if name not in CALENDAR),
        categorical=tuple(name for name in feature_set.categorical_names if name not in CALENDAR),
    )


@dataclass(frozen=True)
class DriftResult:
    """What a day's comparison gave.

    `status` is `too_few_rows` when nothing was compared; then `reason` has the numbers and the
    rest is empty. `drift_share` is the share of drifted columns among those with a value, None if
    none has one. `rows` count before sampling.
    """

    status: Literal["measured", "too_few_rows"]
    reason: str | None
    rows_current: int
    rows_reference: int
    drift_share: float | None = None
    columns: tuple[ColumnDrift, ...] = ()
    score_drift: ColumnDrift | None = None
    html: bytes | None = None

    @property
    def drifted_columns(self) -> tuple[str, ...]:
        """Names of the inputs that drifted, the furthest first."""
        return tuple(one.column for one in by_distance(self.columns) if one.drifted)

    @property
    def not_computable(self) -> dict[str, str]:
        """Inputs without a value, and why."""
        return {one.column: one.reason for one in self.columns if one.reason is not None}

    def table(self) -> pl.DataFrame:
        """One row per column, the score first and then the inputs, the furthest first.

        Columns as the fields of `ColumnDrift`; `current` and `reference` as text.
        """
        score = () if self.score_drift is None else (self.score_drift,)
        rows = [
            {**vars(one), "current": _text(one.current), "reference": _text(one.reference)}
            for one in (*score, *by_distance(self.columns))
        ]
        return pl.DataFrame(rows, schema=_TABLE_SCHEMA)


_TABLE_SCHEMA: Final[dict[str, Any]] = {
    "column": pl.String, "method": pl.String, "value": pl.Float64, "threshold": pl.Float64,
    "drifted": pl.Boolean, "current": pl.String, "reference": pl.String,
    "current_missing": pl.Float64, "reference_missing": pl.Float64, "reason": pl.String,
}  # fmt: skip


def measure_drift(
    current: pl.DataFrame,
    reference: pl.DataFrame,
    columns: DriftColumns,
    choices: MonitoringChoices,
    seed: int,
    *,
    html: bool,
) -> DriftResult:
    """Compare a day with its reference, column by column.

    Numbers by Evidently's normalised Wasserstein distance (in standard deviations of the
    reference), categories by its Jensen-Shannon distance (natural logarithm, from 0 to 0.833),
    both over at most `choices.sample_rows` rows drawn without replacement from each side. The
    same frames and seed give the same result, and the same bytes of HTML.

    A column has no value when one side is all missing, when the reference is constant and the
    current day is not (there is no scale to measure by), or when so few values are left, or so
    many categories, that chance alone would reach the threshold.

    Args:
        current: the day, with every one of `columns`; a column `score` is compared too.
        reference: earlier days with the same columns.
        columns: the inputs; see `drift_columns`.
        choices: `column_threshold`, `sample_rows` and `min_rows` are used.
        seed: of the two samples.
        html: whether to draw Evidently's report as well, which takes ten times as long.

    Raises:
        DriftColumnsError: a frame lacks a column.
    """
    names = (*columns.numeric, *columns.categorical)
    for side, frame in (("current", current), ("reference", reference)):
        absent = sorted(set(names) - set(frame.columns))
        if absent:
            raise DriftColumnsError(
                f"the {side} frame lacks {', '.join(absent)}: materialise its days again with the "
                "features that are now defined"
            )
    for side, frame in (("", current), ("reference ", reference)):
        if frame.height < choices.min_rows:
            reason = f"too few {side}rows: {frame.height} < {choices.min_rows}"
            return DriftResult("too_few_rows", reason, current.height, reference.height)

    day = sample_rows(current, choices.sample_rows, (seed, 0))
    base = sample_rows(reference, choices.sample_rows, (seed, 1))
    limit = choices.column_threshold
    found = tuple(
        [numeric_drift(name, day, base, limit) for name in columns.numeric]
        + [categorical_drift(name, day, base, limit) for name in columns.categorical]
    )
    verdicts = [one.drifted for one in found if one.drifted is not None]
    share = sum(verdicts) / len(verdicts) if verdicts else None
    score = _score_drift(day, base, limit)
    page = drift_page(day, base, found, score, choices.page_columns) if html else None
    return DriftResult(
        status="measured",
        reason=None if verdicts else "no column has a value",
        rows_current=current.height,
        rows_reference=reference.height,
        drift_share=share,
        columns=found,
        score_drift=score,
        html=page,
    )


def sample_rows(frame: pl.DataFrame, rows: int, seed: tuple[int, ...]) -> pl.DataFrame:
    """At most `rows` rows of `frame` without replacement, in their order."""
    if frame.height <= rows:
        return frame
    chosen = np.random.default_rng(seed).choice(frame.height, rows, replace=False)
    return frame[np.sort(chosen)]


def _score_drift(
    current: pl.DataFrame, reference: pl.DataFrame, threshold: float
) -> ColumnDrift | None:
    """Drift of the score; without a value if only one side was scored, None if neither was."""
    scored = [SCORE in frame.columns for frame in (current, reference)]
    if not any(scored):
        return None
    empty = pl.lit(None, pl.Float64).alias(SCORE)
    day, base = (
        frame if has else frame.with_columns(empty)
        for frame, has in zip((current, reference), scored, strict=True)
    )
    return numeric_drift(SCORE, day, base, threshold)


def _text(value: float | str | None) -> str | None:
    return f"{value:.6g}" if isinstance(value, float) else value
