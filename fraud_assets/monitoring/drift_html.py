"""Evidently's own report on a comparison, as one self-contained page.

Only the drawing belongs here; the numbers are made in `drift`, by the same functions of Evidently
over the same samples. The page loads nothing from elsewhere. Most of its 4 MB are Evidently's
scripts, the same on every page.
"""

from __future__ import annotations

import re
from abc import ABC
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from fraud_assets.monitoring.column_drift import (
    ColumnDrift,
    by_distance,
    evidently_scale,
    finite,
)

if TYPE_CHECKING:
    import pandas as pd
    from evidently.metrics import ValueDrift

_GENERATED_ID = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|(?<=metric_)[0-9a-f]{32}\b"
)


def drift_page(
    current: pl.DataFrame,
    reference: pl.DataFrame,
    columns: tuple[ColumnDrift, ...],
    score: ColumnDrift | None,
    most: int,
) -> bytes | None:
    """The page for samples that were measured: the score, then the `most` furthest inputs.

    One `ValueDrift` per column, and Evidently's list of tests, which has every verdict. Its
    `DataDriftPreset` makes much the same page, but computes every column three times and draws it
    twice; even its bare count of drifted columns would compute them all again.

    Columns without a value are not on the page, and it is None if no column has one.
    """
    inputs = [one for one in by_distance(columns) if one.value is not None][:most]
    shown = ([score] if score is not None and score.value is not None else []) + inputs
    if not shown:
        return None
    from evidently import DataDefinition, Dataset, Report

    distribution_drift = _distribution_drift()
    day, base, titles = _pandas(current, reference, shown)
    definition = DataDefinition(
        numerical_columns=[titles[c.column] for c in shown if c.method == "wasserstein"],
        categorical_columns=[titles[c.column] for c in shown if c.method == "jensenshannon"],
    )
    metrics = [
        distribution_drift(column=titles[one.column], method=one.method, threshold=one.threshold)
        for one in shown
    ]
    run = Report(metrics, include_tests=True).run(
        Dataset.from_pandas(day, definition), Dataset.from_pandas(base, definition)
    )
    return _with_stable_ids(run.get_html_str(as_iframe=False)).encode()


@cache
def _distribution_drift() -> type[ValueDrift]:
    """Evidently's `ValueDrift` without its picture of the values in the order of the rows.

    Samples have no order that means anything, and that picture costs a third of the page's time.
    """
    from evidently.metrics.column_statistics import ValueDrift, ValueDriftCalculation

    class DistributionDrift(ValueDrift):  # type: ignore[misc]  # Evidently is untyped here
        pass

    # ABC keeps Evidently from registering the class by a generic parameter, which it has not.
    class DistributionDriftCalculation(ValueDriftCalculation, ABC):  # type: ignore[misc]
        def _render(self, result: Any, options: Any, color_options: Any) -> Any:  # noqa: ANN401
            result.scatter = None
            return super()._render(result, options, color_options)

    DistributionDrift.__calculation_type__ = DistributionDriftCalculation
    return DistributionDrift


def _pandas(
    current: pl.DataFrame, reference: pl.DataFrame, shown: list[ColumnDrift]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """The samples as Evidently wants them, and the name of each column on the page.

    A column below Evidently's floor is scaled as it was for its value, and its name says so.
    """
    titles: dict[str, str] = {}
    expressions: list[pl.Expr] = []
    for one in shown:
        if one.method == "jensenshannon":
            titles[one.column] = one.column
            expressions.append(pl.col(one.column).cast(pl.String))
            continue
        scale = evidently_scale(finite(reference, one.column))
        titles[one.column] = one.column if scale == 1.0 else f"{one.column} (times {scale:g})"
        number = pl.col(one.column).cast(pl.Float64)
        number = pl.when(number.is_finite()).then(number * scale)
        expressions.append(number.alias(titles[one.column]))
    return (
        current.select(expressions).to_pandas(),
        reference.select(expressions).to_pandas(),
        titles,
    )


def _with_stable_ids(page: str) -> str:
    """The page with its random ids numbered, so that the same day gives the same bytes."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match.group(), f"drift{len(numbers)}")

    return _GENERATED_ID.sub(number, page)
