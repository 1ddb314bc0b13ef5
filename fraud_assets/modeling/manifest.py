"""What a model is: the record that travels with it and that everything else reads.

Plain facts only, JSON-able and free of the clock, so that the same training gives the same bytes.
How it is stored and verified belongs in `bundle`, where versions live in `registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

FORMAT_VERSION = 1


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


class ModelManifest(BaseModel):
    """Everything that is needed to judge, load and compare a model, apart from its parameters.

    `features` maps each column to the type that it had in training; `typical_values` holds the
    median of a number and the most frequent category over the training rows. `metrics` are those
    of the fold's model on the validation days, on which its calibration and threshold were
    chosen: they are optimistic, and the gate does not use them. None is "not computable".
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
    policy_version: str
    metrics: dict[str, float | None]
    typical_values: dict[str, float | str | None]
    versions: dict[str, str]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns in the order of the model's matrix."""
        return tuple(self.features)


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
