"""Which days a model is fitted, tuned and judged on.

Only the calendar belongs here. Which rows of a day count is decided in `dataset`. There is no
random split: a split by anything but time lets a model see the future (Fraud Detection Handbook,
chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Self

from fraud_assets.transactions.profile import TrainingChoices

MIN_FOLD_TRAIN_DAYS: Final = 2
"""A fold fitted on a single day would learn that weekday."""


class NotEnoughHistoryError(ValueError):
    """The history is too short to train as of a day; says from which day on it is long enough."""

    def __init__(self, message: str, first_possible_day: date) -> None:
        super().__init__(message)
        self.first_possible_day = first_possible_day


@dataclass(frozen=True)
class FoldDays:
    """One step of prequential validation: fit on the one, judge on the other, a delay later."""

    train_days: tuple[date, ...]
    validation_days: tuple[date, ...]


@dataclass(frozen=True)
class SplitPlan:
    """The days of every slice of a training as of `day`, each tuple in order and without gaps.

    Hyper-parameters and the number of rounds come from `folds` (oldest first), and calibration and
    threshold from the newest of them. The final model is refitted on `train_days`, and champion
    and challenger are compared on `gate_days`, which no fold and no fit touched.
    """

    day: date
    label_delay_days: int
    train_days: tuple[date, ...]
    folds: tuple[FoldDays, ...]
    gate_days: tuple[date, ...]

    @classmethod
    def as_of(
        cls, day: date, label_delay_days: int, training: TrainingChoices, first_day: date
    ) -> Self:
        """The plan for a model trained at the end of `day`.

        With delay d, g gate days, v validation days and a window of W days: the gate is the last g
        days whose labels are mature, `[day-d-g+1, day-d]`. With E = gate start - d - 1, fold k
        (0 is the newest) is judged on the v days up to E-kv, and trains on the W days up to d + 1
        days before them; the final model trains on the W days up to E. A slice is judged only
        after the delay has passed since the days that it was fitted on, as it will be in service.
        Several folds, each v days earlier than the next, are the prequential validation of the
        Fraud Detection Handbook (chapter 5.3). Training slices are cut off at `first_day`.

        The newest fold must fit. An older one that has not `MIN_FOLD_TRAIN_DAYS` of history to
        train on is left out: a young history gives fewer folds, not none.

        Args:
            day: the last day whose labels may be known.
            label_delay_days: days until a label counts as mature, zero or more.
            training: the lengths of the slices, in days, and the number of folds.
            first_day: the first day with data.

        Raises:
            NotEnoughHistoryError: the gate, the validation or two days of fold training do not
                fit between `first_day` and `day`.
            ValueError: the delay is negative.
        """
        if label_delay_days < 0:
            raise ValueError(f"label_delay_days is {label_delay_days}: it may not be negative")
        one = timedelta(days=1)
        window = timedelta(days=training.window_days) - one
        gate_end = day - timedelta(days=label_delay_days)
        train_end = training_end(day, label_delay_days, training)

        def fold(number: int) -> FoldDays | None:
            validation_end = train_end - timedelta(days=number * training.validation_days)
            validation_start = validation_end - timedelta(days=training.validation_days) + one
            fold_end = validation_start - timedelta(days=label_delay_days) - one
            if (fold_end - first_day).days + 1 < MIN_FOLD_TRAIN_DAYS:
                return None
            return FoldDays(
                train_days=_days(max(first_day, fold_end - window), fold_end),
                validation_days=_days(validation_start, validation_end),
            )

        found = [one_fold for one_fold in map(fold, range(training.folds)) if one_fold is not None]
        if not found:
            missing = days_needed(label_delay_days, training) - (day - first_day).days - 1
            first_possible = day + timedelta(days=missing)
            raise NotEnoughHistoryError(
                f"cannot train as of {day}: the data begins on {first_day}, and {missing} more "
                f"day(s) are needed for {training.gate_days} gate day(s), "
                f"{training.validation_days} validation day(s) and {MIN_FOLD_TRAIN_DAYS} days of "
                f"fold training, each {label_delay_days} day(s) of label delay apart; "
                f"the first day that works is {first_possible}",
                first_possible,
            )
        return cls(
            day=day,
            label_delay_days=label_delay_days,
            train_days=_days(max(first_day, train_end - window), train_end),
            folds=tuple(reversed(found)),
            gate_days=_days(gate_end - timedelta(days=training.gate_days) + one, gate_end),
        )

    @property
    def fold_train_days(self) -> tuple[date, ...]:
        """What the newest fold is fitted on."""
        return self.folds[-1].train_days

    @property
    def validation_days(self) -> tuple[date, ...]:
        """What the newest fold is judged on; calibration and threshold come from here."""
        return self.folds[-1].validation_days

    @property
    def learning_days(self) -> tuple[date, ...]:
        """Every day that a fold or the final training uses, oldest first; no gate day."""
        used = set(self.train_days)
        for fold in self.folds:
            used.update(fold.train_days, fold.validation_days)
        return tuple(sorted(used))

    @property
    def days(self) -> tuple[date, ...]:
        """Every day that some slice uses, oldest first."""
        return tuple(sorted({*self.learning_days, *self.gate_days}))

    def describe(self) -> dict[str, str]:
        """Each slice as `first … last (n days)`, for metadata and model cards.

        Folds are numbered from the oldest, which is `fold_1`.
        """
        slices = {}
        for number, fold in enumerate(self.folds, start=1):
            slices[f"fold_{number}_train"] = fold.train_days
            slices[f"fold_{number}_validation"] = fold.validation_days
        slices |= {"train": self.train_days, "gate": self.gate_days}
        described = {"as_of": self.day.isoformat(), "label_delay": f"{self.label_delay_days} days"}
        for name, days in slices.items():
            described[name] = f"{days[0]} … {days[-1]} ({len(days)} days)"
        return described


def training_end(day: date, label_delay_days: int, training: TrainingChoices) -> date:
    """The last day that a model trained at the end of `day` learns from."""
    return day - timedelta(days=2 * label_delay_days + training.gate_days)


def days_needed(label_delay_days: int, training: TrainingChoices) -> int:
    """Days of history with which `SplitPlan.as_of` first works, with one fold."""
    slices = MIN_FOLD_TRAIN_DAYS + training.validation_days + training.gate_days
    return slices + 3 * label_delay_days


def days_looked_at(label_delay_days: int, training: TrainingChoices) -> int:
    """Days before a training day that its slices, and the known payers of its gate, may read."""
    older_folds = (training.folds - 1) * training.validation_days
    return training.window_days + older_folds + days_needed(label_delay_days, training)


def _days(first: date, last: date) -> tuple[date, ...]:
    return tuple(first + timedelta(days=offset) for offset in range((last - first).days + 1))
