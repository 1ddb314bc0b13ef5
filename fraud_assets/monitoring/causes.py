"""Which of the drifted inputs matter to the model: drift times contribution.

Only the ranking of what was measured belongs here: distances come from `drift`, contributions from
`modeling.explain`. A heavy drift of an input that the model hardly goes by is harmless, a moderate
one of its main input is not. What is named is a likely cause of a change of the scores, and no
proof of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from fraud_assets.monitoring.column_drift import ColumnDrift


@dataclass(frozen=True)
class Cause:
    """An input, how far it has moved, and how much the model goes by it.

    `distance` and `drifted` are those of `ColumnDrift`. `trained_share` and `today_share` are its
    shares of the model's mean absolute contributions in training and on the day, 0 for an input
    that is no feature of the model, None where they are not known. `weight` is the distance times
    the larger of the two, in the distance's unit; None if it cannot be computed.
    """

    feature: str
    distance: float | None
    drifted: bool | None
    trained_share: float | None
    today_share: float | None
    weight: float | None
    sentence: str


def find_causes(
    columns: Sequence[ColumnDrift],
    trained: Mapping[str, float],
    today: Mapping[str, float] | None,
) -> tuple[Cause, ...]:
    """Every compared input, by its weight, the largest first; those without a weight at the end.

    The larger of the two contributions counts: a model may have come to go by an input just because
    that has moved, or have stopped because it is no longer what it was.

    Args:
        columns: the compared inputs; see `drift.DriftResult`.
        trained: by feature the share of the contributions in training, see
            `ModelManifest.feature_importance`; empty if it is not known.
        today: the same for rows of the day, see `FraudModel.importance`; None or empty if not.
    """
    causes = [_cause(one, _share(one, trained), _share(one, today)) for one in columns]
    return tuple(sorted(causes, key=lambda one: (one.weight is None, -(one.weight or 0.0))))


def drifted_weight(columns: Sequence[ColumnDrift], trained: Mapping[str, float]) -> float | None:
    """Share of the model's contributions that comes from drifted inputs, from 0 to 1.

    Inputs without a verdict count as not drifted. None if no input has one, or if the contributions
    (`trained`, as for `find_causes`) are not known.
    """
    if not trained or all(one.drifted is None for one in columns):
        return None
    return min(1.0, sum(trained.get(one.column, 0.0) for one in columns if one.drifted))


def cause_table(causes: Sequence[Cause]) -> pl.DataFrame:
    """One row per cause in their order, with the fields of `Cause`."""
    return pl.DataFrame([vars(one) for one in causes], schema=_TABLE_SCHEMA)


_TABLE_SCHEMA: Final[dict[str, Any]] = {
    "feature": pl.String, "distance": pl.Float64, "drifted": pl.Boolean,
    "trained_share": pl.Float64, "today_share": pl.Float64, "weight": pl.Float64,
    "sentence": pl.String,
}  # fmt: skip


def _share(column: ColumnDrift, shares: Mapping[str, float] | None) -> float | None:
    return shares.get(column.column, 0.0) if shares else None


def _cause(column: ColumnDrift, trained: float | None, today: float | None) -> Cause:
    known = [share for share in (trained, today) if share is not None]
    weight = column.value * max(known) if column.value is not None and known else None
    return Cause(
        feature=column.column,
        distance=column.value,
        drifted=column.drifted,
        trained_share=trained,
        today_share=today,
        weight=weight,
        sentence=f"{_moved(column)}; {_goes_by(trained, today)}",
    )


def _moved(column: ColumnDrift) -> str:
    if column.value is None:
        return f"{column.column} cannot be compared: {column.reason}"
    distance = f"{column.value:.3g} (limit {column.threshold:g})"
    if not column.drifted:
        return f"{column.column} has not drifted: {distance}"
    what = "mostly" if isinstance(column.current, str) else "mean"
    now, before = _shown(column.current), _shown(column.reference)
    return f"{column.column} has drifted by {distance}: {what} {now}, before {before}"


def _goes_by(trained: float | None, today: float | None) -> str:
    told = [
        f"{share:.1%} {when}"
        for share, when in ((trained, "in training"), (today, "today"))
        if share is not None
    ]
    return f"share of the contributions {', '.join(told) or 'not known'}"


def _shown(value: float | str | None) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
