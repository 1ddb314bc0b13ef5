"""From a frame of labelled rows to the matrices that models are fitted on and judged by.

Which days a slice has comes from `splits`, how features become numbers from `encoding`. The one
rule that stands here: rows that are fitted on are thinned and rebalanced, rows that judge are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling.dataset import thin_negatives
from fraud_assets.modeling.encoding import FeatureEncoder, fit_encoder
from fraud_assets.modeling.estimators import LabelledMatrix
from fraud_assets.modeling.imbalance import rebalanced
from fraud_assets.modeling.search.tuning import FoldRows
from fraud_assets.transactions.columns import AMOUNT, DAY, LABEL, LABEL_KNOWN_AT, PAYER
from fraud_assets.transactions.profile import TrainingChoices

WATCHED_PART: Final = 4
"""Rows that early stopping measures, as a part of the rows that may be trained on."""

FeatureNames = tuple[Sequence[str], Sequence[str]]
"""Numeric and categorical features, as in `FeatureSet`."""


def needed_columns(rows: pl.DataFrame, feature_names: FeatureNames) -> pl.DataFrame:
    """`rows` without what no model and no metric reads; every slice of days copies the columns."""
    needed = {name for kind in feature_names for name in kind}
    needed |= {AMOUNT, DAY, LABEL, LABEL_KNOWN_AT, PAYER}
    return rows.select(name for name in rows.columns if name in needed)


def of_days(rows: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
    """The rows of `days`, which are in order and without gaps."""
    return rows.filter(pl.col(DAY).is_between(days[0], days[-1]))


def known_before(rows: pl.DataFrame, day: date) -> pl.DataFrame:
    """The rows whose label (`label_known_at`) was known before `day` began (UTC).

    A fold is trained as it would have been at the time. A label that came later, or was corrected
    later, was unknown then. Rows without the column are taken to have been known.
    """
    if LABEL_KNOWN_AT not in rows.columns:
        return rows
    return rows.filter(pl.col(LABEL_KNOWN_AT) < datetime(day.year, day.month, day.day, tzinfo=UTC))


def day_numbers(rows: pl.DataFrame) -> npt.NDArray[np.int32]:
    """The day of each row as days since 1970."""
    days: npt.NDArray[np.int32] = rows.get_column(DAY).cast(pl.Int32).to_numpy()
    return days


def column_directions(
    monotone: Mapping[str, int], feature_names: FeatureNames
) -> tuple[int, ...] | None:
    """Per column of the matrix -1, 0 or 1, as `Estimator.fit` takes it; None if all are free.

    Raises:
        ValueError: `monotone` names something else than a numeric feature. The code of a category
            is its rank by frequency: no direction in it means anything.
    """
    numeric, categorical = feature_names
    unknown = [name for name in monotone if name not in numeric]
    if unknown:
        raise ValueError(
            f"training.monotone names {', '.join(unknown)}, and it may only name numeric features, "
            f"which are: {', '.join(numeric)}"
        )
    if not monotone:
        return None
    return tuple(monotone.get(name, 0) for name in (*numeric, *categorical))


def rows_to_fit(
    rows: pl.DataFrame, encoder: FeatureEncoder, training: TrainingChoices
) -> LabelledMatrix:
    """Rows to be fitted on: thinned to `training.max_train_rows`, then rebalanced."""
    label = rows.get_column(LABEL).to_numpy()
    thinned = thin_negatives(label, training.max_train_rows, training.seed)
    if thinned is None:
        found = _labelled(rows, encoder)
    else:
        kept, weight = thinned
        found = _labelled(rows[kept], encoder, weight)
    return rebalanced(found, training.imbalance, training.frauds_per_legitimate, training.seed)


def fold_rows(
    train: pl.DataFrame,
    validation: pl.DataFrame,
    feature_names: FeatureNames,
    training: TrainingChoices,
) -> FoldRows:
    """A fold's matrices, encoded by what its training rows taught.

    All validation rows judge, as they are. Where there are many, a weighted sample of them is
    watched to stop early.
    """
    encoder = fit_encoder(train, *feature_names)
    judged = _labelled(validation, encoder)
    watched = judged
    thinned = thin_negatives(judged.label, training.max_train_rows // WATCHED_PART, training.seed)
    if thinned is not None:
        kept, weight = thinned
        watched = LabelledMatrix(
            judged.matrix[kept], judged.label[kept], weight, judged.categorical
        )
    return FoldRows(rows_to_fit(train, encoder, training), judged, watched, day_numbers(validation))


def _labelled(
    rows: pl.DataFrame, encoder: FeatureEncoder, weight: npt.NDArray[np.float32] | None = None
) -> LabelledMatrix:
    categorical = tuple(range(len(encoder.numeric), len(encoder.columns)))
    label = rows.get_column(LABEL).to_numpy()
    return LabelledMatrix(encoder.encode(rows), label, weight, categorical)
