"""Turns a frame of features into the float32 matrix that the estimators take.

Nothing is learnt here but the vocabularies of the categories, from training days only. Which
features there are is declared in `features.definitions`; imputing and scaling belong to the
estimators that need them (boosted trees need neither: a missing value stays missing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

Matrix = npt.NDArray[np.float32]

MAX_CATEGORIES: Final = 1_000
"""Rarer categories than these read as missing: a code seen a few times is noise to a tree."""


class MissingFeaturesError(ValueError):
    """A frame lacks columns that the model was trained on, or has them in a type of no use."""


class FeatureEncoder(BaseModel):
    """The model's columns in order: numbers as they are, categories as ordinal codes.

    The code of a category is its rank by frequency on the training days (0 is the most frequent,
    ties by name), so that a tree's split on it separates frequent from rare. Null, NaN and
    categories never seen in training are NaN, which the estimators take as missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    numeric: tuple[str, ...]
    vocabularies: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _columns_are_named_once(self) -> Self:
        if not self.columns:
            raise ValueError("a model needs at least one feature")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"a feature is named twice in {', '.join(self.columns)}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Features in the order of the matrix's columns: numeric ones, then categorical ones."""
        return (*self.numeric, *self.vocabularies)

    def encode(self, features: pl.DataFrame) -> Matrix:
        """The matrix of `features`, float32 of shape (rows, columns), row-major, missing = NaN.

        Row-major because XGBoost reads rows: building its quantile matrix from a column-major
        array took 1.3 times as long, and predicting 1.8 times.

        Raises:
            MissingFeaturesError: a needed column is absent, or is text where numbers are needed
                (or the other way round).
            ValueError: a number is infinite (or too large for float32); names the column.
        """
        self._check(features)
        expressions = [pl.col(name).cast(pl.Float32) for name in self.numeric]
        expressions += [
            pl.col(name).replace_strict(
                list(vocabulary), np.arange(len(vocabulary), dtype=np.float32),
                default=None, return_dtype=pl.Float32,
            )
            if vocabulary
            else pl.lit(None, dtype=pl.Float32).alias(name)
            for name, vocabulary in self.vocabularies.items()
        ]  # fmt: skip
        frame = features.select(expressions)
        matrix: Matrix = frame.to_numpy(order="c")
        if np.isinf(matrix).any():
            columns = [self.columns[i] for i in np.flatnonzero(np.isinf(matrix).any(axis=0))]
            raise ValueError(
                f"infinite values in {', '.join(columns)}: a feature is a finite number or null"
            )
        return matrix

    def _check(self, features: pl.DataFrame) -> None:
        schema = features.schema
        absent = [name for name in self.columns if name not in schema]
        if absent:
            raise MissingFeaturesError(
                f"the frame lacks {', '.join(absent)}, which the model was trained on; it has "
                f"{', '.join(schema)}. Compute the features with the profile of the model"
            )
        text = [
            f"{name} ({schema[name]})"
            for name in self.numeric
            if not (schema[name].is_numeric() or schema[name] in (pl.Boolean, pl.Null))
        ]
        if text:
            raise MissingFeaturesError(f"the model needs numbers in {', '.join(text)}")
        numbers = [
            f"{name} ({schema[name]})"
            for name in self.vocabularies
            if schema[name] not in (pl.String, pl.Null)
        ]
        if numbers:
            raise MissingFeaturesError(f"the model needs text in {', '.join(numbers)}")


def fit_encoder(
    training_rows: pl.DataFrame,
    numeric: Sequence[str],
    categorical: Sequence[str],
    max_categories: int = MAX_CATEGORIES,
) -> FeatureEncoder:
    """Learn the vocabularies of `categorical` from rows of training days.

    Raises:
        MissingFeaturesError: a column is absent.
    """
    absent = [name for name in (*numeric, *categorical) if name not in training_rows.columns]
    if absent:
        raise MissingFeaturesError(f"the training rows lack {', '.join(absent)}")
    return FeatureEncoder(
        numeric=tuple(numeric),
        vocabularies={
            name: _vocabulary(training_rows.get_column(name), max_categories)
            for name in categorical
        },
    )


def _vocabulary(values: pl.Series, max_categories: int) -> tuple[str, ...]:
    counts = (
        values.rename("value")
        .drop_nulls()
        .value_counts(name="rows")
        .sort(["rows", "value"], descending=[True, False])
    )
    return tuple(counts.get_column("value").head(max_categories).to_list())
