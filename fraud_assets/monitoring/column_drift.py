"""How far one column has moved between two samples: effect sizes as Evidently computes them.

Only single columns belong here; a day's comparison is put together in `drift`.

Effect sizes and not tests of significance: on a day of tens of thousands of rows a test flags
harmless columns, because every difference is significant. Values above 0.1 are drift for both
measures used (Evidently's own choice above 1,000 rows).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    import pandas as pd

EVIDENTLY_SCALE_FLOOR: Final = 0.001
"""Evidently divides by the reference's standard deviation or by this, whichever is larger."""

NORMAL_SAMPLE_NOISE: Final = 1.3
"""Mean normalised Wasserstein distance of two samples of one normal distribution, in units of
sqrt(1/n + 1/m); simulated, for n from 60 to 1,000 against 10,000. Log-normal columns have less."""


@dataclass(frozen=True)
class ColumnDrift:
    """One column's drift.

    `value` and `drifted` are None where nothing can be said; `reason` then says why. `current`
    and `reference` describe the two sides: the mean of a number, the most frequent category. The
    shares of missing values are shown and are not drift: missing values are left out of `value`.
    """

    column: str
    method: Literal["wasserstein", "jensenshannon"]
    value: float | None
    threshold: float
    drifted: bool | None
    current: float | str | None
    reference: float | str | None
    current_missing: float
    reference_missing: float
    reason: str | None = None


def by_distance(columns: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """The columns from the furthest moved to the least, those without a value at the end."""
    return sorted(columns, key=lambda one: -1.0 if one.value is None else one.value, reverse=True)


def evidently_scale(reference: npt.NDArray[np.float64]) -> float:
    """Power of ten that lifts a column's standard deviation over Evidently's floor; mostly 1.

    Without it a column with a small scale, such as the score of rare frauds, would seem not to
    move: its distance would be divided by the floor and not by its own standard deviation.
    """
    spread = float(np.std(reference))
    if spread >= EVIDENTLY_SCALE_FLOOR or spread == 0.0:
        return 1.0
    return float(10.0 ** math.ceil(-math.log10(spread)))


def numeric_drift(
    name: str, current: pl.DataFrame, reference: pl.DataFrame, threshold: float
) -> ColumnDrift:
    """Normalised Wasserstein distance of two samples' numbers; see `ColumnDrift`."""
    day, base = finite(current, name), finite(reference, name)
    reason = _too_few(day.size, base.size, threshold)
    value: float | None = None
    if reason is None and np.ptp(base) == 0.0:
        if np.ptp(day) == 0.0 and day[0] == base[0]:
            value = 0.0
        else:
            reason = f"constant in the reference ({base[0]:g}): no scale to measure by"
    elif reason is None:
        scale = evidently_scale(base)
        value = _evidently("wasserstein", base * scale, day * scale, threshold)
    return ColumnDrift(
        column=name,
        method="wasserstein",
        value=value,
        threshold=threshold,
        drifted=None if value is None else value >= threshold,
        current=float(day.mean()) if day.size else None,
        reference=float(base.mean()) if base.size else None,
        current_missing=1.0 - day.size / current.height,
        reference_missing=1.0 - base.size / reference.height,
        reason=reason,
    )


def categorical_drift(
    name: str, current: pl.DataFrame, reference: pl.DataFrame, threshold: float
) -> ColumnDrift:
    """Jensen-Shannon distance of two samples' categories; see `ColumnDrift`."""
    day, base = present(current, name), present(reference, name)
    kinds = pl.concat([day, base]).n_unique()
    reason = _too_few(day.len(), base.len(), threshold, kinds)
    value: float | None = None
    if reason is None:
        # In a fixed order, because Evidently sums over a set of texts, and the order of one
        # differs between processes: the last digits would, too.
        codes = pl.Enum(pl.concat([day, base]).unique().sort())
        value = _evidently(
            "jensenshannon",
            base.cast(codes).to_physical().to_numpy(),
            day.cast(codes).to_physical().to_numpy(),
            threshold,
        )
    return ColumnDrift(
        column=name,
        method="jensenshannon",
        value=value,
        threshold=threshold,
        drifted=None if value is None else value >= threshold,
        current=_most_frequent(day),
        reference=_most_frequent(base),
        current_missing=1.0 - day.len() / current.height,
        reference_missing=1.0 - base.len() / reference.height,
        reason=reason,
    )


def _too_few(current: int, reference: int, threshold: float, kinds: int = 0) -> str | None:
    """Why a distance at the threshold would mean nothing; None if it means something.

    The expected Jensen-Shannon distance of two samples of one distribution over K categories is
    about sqrt((K - 1) / 8 (1/n + 1/m)), from the chi-squared approximation of the divergence.
    """
    for side, count in (("current", current), ("reference", reference)):
        if count == 0:
            return f"no value in the {side} sample"
    pooled = 1.0 / current + 1.0 / reference
    if kinds:
        noise, what = math.sqrt((kinds - 1) / 8.0 * pooled), f"{kinds} categories in "
    else:
        noise, what = NORMAL_SAMPLE_NOISE * math.sqrt(pooled), ""
    if noise < threshold:
        return None
    return (
        f"{what}{current} current and {reference} reference values: chance alone gives about "
        f"{noise:.2g}, the threshold is {threshold:g}"
    )


def _evidently(
    method: str, reference: npt.NDArray[Any], current: npt.NDArray[Any], threshold: float
) -> float:
    """A distance by the function that Evidently's own reports call.

    A `Report` gives the same value, but draws every column's figures while it computes, whether
    or not they are wanted: that is nine tenths of its time.
    """
    import pandas as pd
    from evidently.legacy.calculations.stattests import (
        jensenshannon_stat_test,
        wasserstein_stat_test,
    )
    from evidently.legacy.calculations.stattests.registry import get_stattest
    from evidently.legacy.core import ColumnType

    test, kind = {
        "wasserstein": (wasserstein_stat_test, ColumnType.Numerical),
        "jensenshannon": (jensenshannon_stat_test, ColumnType.Categorical),
    }[method]
    base: pd.Series[Any] = pd.Series(reference)
    day: pd.Series[Any] = pd.Series(current)
    compare = get_stattest(base, day, kind, test)
    value = float(compare(base, day, kind, threshold).drift_score)
    if not math.isfinite(value):
        raise ArithmeticError(f"Evidently's {method} gave {value}")
    return value


def finite(frame: pl.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """The finite values of a numeric column, in their order."""
    values = frame.get_column(name).cast(pl.Float64).drop_nulls().to_numpy()
    return np.asarray(values[np.isfinite(values)], dtype=np.float64)


def present(frame: pl.DataFrame, name: str) -> pl.Series:
    """The values of a column of text that are not missing, in their order."""
    return frame.get_column(name).cast(pl.String).drop_nulls()


def _most_frequent(values: pl.Series) -> str | None:
    return None if values.is_empty() else str(values.mode().sort()[0])
