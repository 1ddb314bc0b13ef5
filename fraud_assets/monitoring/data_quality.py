"""Whether the values of a day's inputs are still of the kind that the model learnt from.

Only damage belongs here: values that are missing, of a kind that was never seen, outside the range,
or stuck at one value. Values that are whole and have moved are drift (`drift`), and rows that broke
a rule were quarantined before (`transactions.validation`). What follows is decided in `policy`.

The reference is a sample, so a new row may leave its range, or bring a new kind, by chance. How
often is known, and is allowed on top of the limits: a column of many rare kinds is not broken
because each day has some more of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl

from fraud_assets.monitoring.drift import DriftColumns, DriftColumnsError
from fraud_assets.transactions.profile import MonitoringChoices

STUCK_ROWS: Final = 50
"""A constant column is stuck if the reference would have given so many rows another value.

Not every rare flag that nobody raised on a quiet day is broken, and rows come in clusters: one
payee with a known fraud has it in all of its rows."""


@dataclass(frozen=True)
class ColumnQuality:
    """One column's values on a day against those of the reference.

    All shares are of the rows. Missing is null, and for numbers NaN and infinity too.
    `unseen_share` (categories) have a kind that the reference never had, `out_of_range_share`
    (numbers) are below its smallest value or above its largest; None for the other sort of column,
    and where the reference has no value. `by_chance` is the share of such rows that is expected of
    a whole column. `stuck` is a column that varied in the reference and has one value only now.

    `broken` is None where nothing can be said, and `reason` says why, or what is broken.
    """

    column: str
    sort: Literal["number", "category"]
    missing: float | None
    reference_missing: float | None
    missing_increase: float | None
    unseen_share: float | None
    out_of_range_share: float | None
    by_chance: float | None
    stuck: bool | None
    broken: bool | None
    reason: str | None = None

    @property
    def damaged_share(self) -> float:
        """The largest share of rows that are out of order, from 0 to 1; to rank by."""
        shares = (self.missing_increase, self.unseen_share, self.out_of_range_share)
        return 1.0 if self.stuck else max(0.0, *(share or 0.0 for share in shares))


@dataclass(frozen=True)
class QualityResult:
    """What the values of a day are like, in the order of the columns."""

    columns: tuple[ColumnQuality, ...]

    @property
    def broken_columns(self) -> tuple[str, ...]:
        """Names of the broken inputs, the worst first."""
        return tuple(one.column for one in self._worst_first() if one.broken)

    @property
    def worst_missing_increase(self) -> float | None:
        """Largest increase of the share missing (0 or less without one); None if not measured."""
        return self._worst([one.missing_increase for one in self.columns])

    @property
    def worst_unseen_share(self) -> float | None:
        """Largest share of rows with a kind that is new; None if no category was measured."""
        return self._worst([one.unseen_share for one in self.columns])

    @property
    def worst_out_of_range_share(self) -> float | None:
        """Largest share of rows outside the reference's range; None if no number was measured."""
        return self._worst([one.out_of_range_share for one in self.columns])

    def table(self) -> pl.DataFrame:
        """One row per column, broken ones first and the worst of them on top.

        Columns as the fields of `ColumnQuality`.
        """
        return pl.DataFrame([vars(one) for one in self._worst_first()], schema=_TABLE_SCHEMA)

    def _worst_first(self) -> list[ColumnQuality]:
        return sorted(self.columns, key=lambda one: (not one.broken, -one.damaged_share))

    @staticmethod
    def _worst(shares: Sequence[float | None]) -> float | None:
        return max((share for share in shares if share is not None), default=None)


_TABLE_SCHEMA: Final[dict[str, Any]] = {
    "column": pl.String, "sort": pl.String, "missing": pl.Float64,
    "reference_missing": pl.Float64, "missing_increase": pl.Float64, "unseen_share": pl.Float64,
    "out_of_range_share": pl.Float64, "by_chance": pl.Float64, "stuck": pl.Boolean,
    "broken": pl.Boolean, "reason": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class _Learnt:
    """What the reference says of a column.

    `value` reads the column, missing ones as null; `strange` are the rows that the reference had
    nothing like, and `how` says so.
    """

    value: pl.Expr
    strange: pl.Expr
    how: str
    values: int
    missing: float | None
    varied: bool
    by_chance: float | None


def measure_quality(
    current: pl.DataFrame,
    reference: pl.DataFrame,
    columns: DriftColumns,
    choices: MonitoringChoices,
) -> QualityResult:
    """Compare the values of a day with those of the reference, column by column.

    A column is broken when more than its limit is missing that was not in the reference, of a new
    kind, or out of range, or when it is stuck at one value. By chance 2 / (n + 1) of new values
    leave the range of n others (Wilks 1941), and as many have a new kind as the share of values
    whose kind the reference has once (Good 1953, after Turing); this comes on top of the limits.

    Args:
        current: the day, with every one of `columns`, not sampled; enough rows (`min_rows`) for
            the limits to mean something.
        reference: earlier rows, or a sample of them.
        columns: the inputs; see `drift.drift_columns`.
        choices: `max_missing_increase`, `max_unseen_share` and `max_out_of_range_share`.

    Raises:
        DriftColumnsError: a frame lacks a column.
    """
    names = (*columns.numeric, *columns.categorical)
    for side, frame in (("current", current), ("reference", reference)):
        absent = sorted(set(names) - set(frame.columns))
        if absent:
            raise DriftColumnsError(f"the {side} frame lacks {', '.join(absent)}")
    if not names:
        return QualityResult(())
    learnt = _learn(reference, columns)
    day = current.select(
        pl.struct(
            one.value.count().alias("values"),
            one.strange.sum().alias("strange"),
            pl.when(one.value.min() == one.value.max()).then(one.value.min()).alias("only"),
        ).alias(name)
        for name, one in learnt.items()
    ).row(0, named=True)
    others = _share_of_others(reference, day, learnt)
    return QualityResult(
        tuple(
            _judge(
                name,
                day[name],
                current.height,
                one,
                choices,
                is_number=name in columns.numeric,
                others=others.get(name),
            )
            for name, one in learnt.items()
        )
    )


def broken_weights(
    broken: Sequence[str], importances: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """By version, the share of a model's contributions that comes from broken inputs, 0 to 1.

    Args:
        broken: names of the broken inputs.
        importances: by version the share of each feature, as in `ModelManifest.feature_importance`;
            a version whose shares are not known (empty) is left out of the result.
    """
    names = dict.fromkeys(broken)
    return {
        version: min(1.0, sum(shares.get(name, 0.0) for name in names))
        for version, shares in importances.items()
        if shares
    }


def _finite(name: str) -> pl.Expr:
    value = pl.col(name).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value)


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String)


def _learn(reference: pl.DataFrame, columns: DriftColumns) -> dict[str, _Learnt]:
    """What the reference says of each column, in one pass."""
    numbers = (
        pl.struct(
            _finite(name).count().alias("values"),
            _finite(name).min().alias("low"),
            _finite(name).max().alias("high"),
        ).alias(name)
        for name in columns.numeric
    )
    kinds = (
        _text(name).alias("kind").drop_nulls().value_counts().implode().alias(name)
        for name in columns.categorical
    )
    seen = reference.select(*numbers, *kinds)
    rows, learnt = reference.height, {}
    for name in columns.numeric:
        values, low, high = (seen.get_column(name)[0][what] for what in ("values", "low", "high"))
        ends = "" if low is None else f"{_shown(low)} to {_shown(high)}"
        learnt[name] = _Learnt(
            value=_finite(name),
            strange=~_finite(name).is_between(low, high),
            how=f"outside {ends}, the range of the reference",
            values=values,
            missing=(rows - values) / rows if rows else None,
            varied=low != high,
            by_chance=min(1.0, 2.0 / (values + 1)) if values else None,
        )
    for name in columns.categorical:
        counted = seen.get_column(name)[0].struct.unnest()
        counts = counted.get_column("count")
        values = int(counts.sum())
        learnt[name] = _Learnt(
            value=_text(name),
            strange=~_text(name).is_in(counted.get_column("kind").implode()),
            how="of a kind that the reference never had",
            values=values,
            missing=(rows - values) / rows if rows else None,
            varied=counted.height > 1,
            by_chance=int((counts == 1).sum()) / values if values else None,
        )
    return learnt


def _share_of_others(
    reference: pl.DataFrame, day: Mapping[str, Any], learnt: Mapping[str, _Learnt]
) -> dict[str, float]:
    """By column with one value on the day, but not before: how many of the reference differ."""
    different = [
        (one.value != day[name]["only"]).mean().alias(name)
        for name, one in learnt.items()
        if one.varied and day[name]["only"] is not None
    ]
    return reference.select(different).row(0, named=True) if different else {}


def _judge(
    name: str,
    day: Mapping[str, Any],
    rows: int,
    learnt: _Learnt,
    choices: MonitoringChoices,
    *,
    is_number: bool,
    others: float | None,
) -> ColumnQuality:
    """The verdict on a column; `others` as of `_share_of_others`."""
    missing = (rows - day["values"]) / rows if rows else None
    increase = None
    if missing is not None and learnt.missing is not None:
        increase = missing - learnt.missing
    strange = by_chance = stuck = None
    if missing is not None and learnt.by_chance is not None:
        strange = day["strange"] / rows
        by_chance = learnt.by_chance * (1.0 - missing)
        stuck = others is not None and others * day["values"] >= STUCK_ROWS

    found = []
    if increase is not None and increase > choices.max_missing_increase:
        found.append(f"{missing:.1%} missing, {learnt.missing:.1%} in the reference")
    limit = choices.max_out_of_range_share if is_number else choices.max_unseen_share
    if strange is not None and by_chance is not None and strange > limit + by_chance:
        found.append(f"{strange:.1%} of the rows are {learnt.how}")
    if stuck:
        found.append(f"every value is {_shown(day['only'])}, {others:.1%} were another before")
    broken: bool | None = bool(found)
    if not found and by_chance is None:
        side = "current" if missing is None else "reference"
        what = "rows" if increase is None else "value"
        broken, found = None, [f"no {what} in the {side} sample"]
    return ColumnQuality(
        column=name,
        sort="number" if is_number else "category",
        missing=missing,
        reference_missing=learnt.missing,
        missing_increase=increase,
        unseen_share=None if is_number else strange,
        out_of_range_share=strange if is_number else None,
        by_chance=by_chance,
        stuck=stuck,
        broken=broken,
        reason="; ".join(found) or None,
    )


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value + 0.0:g}"  # -0.0 + 0.0 is 0.0
