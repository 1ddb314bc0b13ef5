"""What a model is: the record that travels with it and that everything else reads.

Plain facts only, JSON-able and free of the clock, so that the same training gives the same bytes.
How it is stored and verified belongs in `bundle`, where versions live in `registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from importlib import metadata
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

FORMAT_VERSION = 2


class DayWindow(BaseModel):
    """The first and the last of a slice's days, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: date
    last: date

    @model_validator(mode="after")
    def _first_is_not_after_last(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"the window ends on {self.last}, before it begins on {self.first}")
        return self

    @classmethod
    def of(cls, days: Sequence[date]) -> Self:
        """The window of days in order."""
        return cls(first=days[0], last=days[-1])

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


class FoldRecord(BaseModel):
    """How the chosen parameters did on one fold in time; None is "not computable".

    `train_rows` and `rows` are labelled rows, before any thinning or rebalancing. The Brier score
    and the calibration error are those of a calibrator that was fitted on an older fold, whose
    labels were known when this fold's validation began; they are None where there is none. A fold
    that had too few frauds to take part in the search has its counts and no metrics.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_window: DayWindow
    validation_window: DayWindow
    train_rows: int
    train_positives: int
    rows: int
    positives: int
    average_precision: float | None
    card_precision: float | None
    card_precision_ceiling: float | None
    roc_auc: float | None
    brier: float | None
    expected_calibration_error: float | None


class FamilyResult(BaseModel):
    """How one family of models did in the search, on the folds that all families shared.

    `average_precision` is the mean over the folds of the family's best trial, and `deviation` the
    sample standard deviation over them (None with one fold). `low` and `high` are its 95 %
    interval: a day-block bootstrap over all validation days (see `families`). A family that was
    left out has None, 0 folds, 0 trials, and the reason in `note`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    average_precision: float | None
    low: float | None
    high: float | None
    deviation: float | None
    folds: int
    trials: int
    chosen: bool
    note: str = ""


class ModelManifest(BaseModel):
    """Everything that is needed to judge, load and compare a model, apart from its parameters.

    `features` maps each column to the type that it had in training; `typical_values` holds the
    median of a number and the most frequent category over the training rows. `metrics` are those
    of the newest fold's model on its validation days, on which its calibration and threshold were
    chosen: they are optimistic, and the gate does not use them. None is "not computable".

    `folds` (oldest first) are the prequential validation of the chosen parameters, and
    `fold_average_precision` and `fold_deviation` the mean and the sample standard deviation over
    those that took part in the search. `train_rows_used` are the rows that the final model was
    fitted on, after thinning and rebalancing, `trials` the number of trials over all `families`.
    `param_importance` is the share of the search's variance that each hyper-parameter explains,
    `feature_importance` each feature's share of the model's mean absolute contributions; both are
    empty where they cannot be computed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    profile: str
    estimator: str
    features: dict[str, str]
    trained_as_of: date
    label_delay_days: int
    train_window: DayWindow
    fold_train_window: DayWindow
    validation_window: DayWindow
    gate_window: DayWindow
    lookback_days: int
    reference_window: DayWindow
    reference_is_warm: bool
    train_rows: int
    train_rows_used: int
    train_positives: int
    validation_rows: int
    validation_positives: int
    params: dict[str, float | int]
    rounds: int
    trials: int
    seed: int
    training: dict[str, Any]
    imbalance: str
    monotone: dict[str, int]
    folds: tuple[FoldRecord, ...]
    fold_average_precision: float
    fold_deviation: float | None
    families: tuple[FamilyResult, ...]
    param_importance: dict[str, float]
    feature_importance: dict[str, float]
    policy_version: str
    metrics: dict[str, float | None]
    typical_values: dict[str, float | str | None]
    versions: dict[str, str]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns in the order of the model's matrix."""
        return tuple(self.features)


def library_versions() -> dict[str, str]:
    """The versions of what a model's bytes depend on."""
    names = (
        "fraud-assets", "imbalanced-learn", "lightgbm", "numpy", "optuna", "polars",
        "scikit-learn", "xgboost-cpu", "xgboost",
    )  # fmt: skip
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # xgboost comes under one of two names, the project may run from a checkout
    return found


def reference_window(
    train_days: Sequence[date], history_start: date, lookback_days: int
) -> tuple[DayWindow, bool]:
    """Training days on which every rolling window was full, and whether there are any.

    A 30-day count grows for 30 days after the history begins, so that a reference from those days
    makes every later day look drifted. Without a warm day, the last training day is the least
    wrong reference, and the flag says that it is not a good one.
    """
    warm = [day for day in train_days if day >= history_start + timedelta(days=lookback_days)]
    return (DayWindow.of(warm), True) if warm else (DayWindow.of(train_days[-1:]), False)
