"""When a trial is hopeless: a median rule over the rounds of the folds.

How a trial is run belongs in `tuning`, and what is kept of it between processes in `study`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

PRUNE_EVERY: Final = 10
"""Rounds between two looks at whether a trial is hopeless."""

WARM_UP_ROUNDS: Final = 30
"""A trial is not pruned before: a low learning rate begins slowly and may end well."""

MIN_COMPLETE_TRIALS: Final = 3
"""Whole trials before any may be cut."""


@dataclass(frozen=True)
class Reference:
    """The first trial on each fold: AP on the validation rows, and the best on the watched ones."""

    values: Sequence[float]
    peaks: Sequence[float]


class Progress:
    """Follows a trial over its folds, and prunes it where it is behind the median.

    A trial's standing is its mean gain in AP over the first trial, on the folds so far; in the fold
    at hand it is the gain of its best round so far. It is pruned where it stands worse than the
    median of the finished trials stood at the same round of the same fold, or at the same fold's
    end (the median stopping rule of Golovin et al. 2017, "Google Vizier"). Gains and not plain AP:
    folds are not equally hard. Optuna's `MedianPruner` compares the best of a whole trial so far,
    so that one good fold would shield it on all later ones; hence the rule stands here.

    Standings are kept in the trial as Optuna's intermediate values. Steps count on over the folds,
    with one step more for each fold's end. The first trial is its own reference: its standings are
    known when a fold has ended, and it is never pruned. Nor is any trial at its very end, where
    nothing is left to be saved.

    Attributes:
        rounds: those of the fold at hand that were seen; None before the first.
        peaks: the best AP of the watched rows on every fold that has ended.
        values: the AP on the validation rows of the same folds.
    """

    def __init__(
        self,
        trial: Any,  # noqa: ANN401  optuna is untyped
        reference: Reference | None,
        *,
        folds: int,
        max_rounds: int,
    ) -> None:
        self.rounds: int | None = None
        self.peaks: list[float] = []
        self.values: list[float] = []
        self._trial, self._reference = trial, reference
        self._stride = max_rounds + 1
        self._last_step = folds * self._stride - 1
        self._best_so_far: list[float] = []
        self._gains: list[float] = []

    def on_round(self, number: int, value: float) -> None:
        """Round `number` of the fold at hand has given an AP of `value` on the watched rows.

        Raises:
            optuna.TrialPruned: the trial is behind the median of the finished ones.
        """
        self.rounds = number + 1
        self._best_so_far.append(max([value, *self._best_so_far[-1:]]))
        if self._reference is not None and _is_looked_at(number):
            peak = self._reference.peaks[len(self._gains)]
            self._stands(number, self._best_so_far[-1] - peak)

    def fold_ended(self, value: float) -> None:
        """The fold at hand has given an AP of `value` on its validation rows.

        Raises:
            optuna.TrialPruned: the trial is behind the median of the finished ones.
        """
        curve, self._best_so_far = self._best_so_far, []
        self.peaks.append(curve[-1])
        self.values.append(value)  # before it may be pruned: the fold was finished
        if self._reference is None:
            gain = 0.0
            for number, best in enumerate(curve):
                if _is_looked_at(number):
                    self._stands(number, best - curve[-1])
        else:
            gain = value - self._reference.values[len(self._gains)]
        self._stands(self._stride - 1, gain)
        self._gains.append(gain)

    def _stands(self, number: int, gain: float) -> None:
        from optuna import TrialPruned

        begin = len(self._gains) * self._stride
        step = begin + number
        standing = float(np.mean([*self._gains, gain]))
        self._trial.report(standing, step)
        if self._reference is None or not WARM_UP_ROUNDS <= step < self._last_step:
            return
        others = self._finished_at(begin, step)
        if len(others) >= MIN_COMPLETE_TRIALS and standing < np.median(others):
            raise TrialPruned

    def _finished_at(self, begin: int, step: int) -> list[float]:
        """Where the finished trials stood at `step` of the fold that begins with step `begin`."""
        from optuna.trial import TrialState

        complete = self._trial.study.get_trials(states=(TrialState.COMPLETE,), deepcopy=False)
        found = (_latest(trial.intermediate_values, begin, step) for trial in complete)
        return [standing for standing in found if standing is not None]


def _latest(standings: Mapping[int, float], begin: int, step: int) -> float | None:
    """The last standing from `begin` to `step`: a trial that had stopped early stands still."""
    steps = [one for one in standings if begin <= one <= step]
    return standings[max(steps)] if steps else None


def _is_looked_at(number: int) -> bool:
    return (number + 1) % PRUNE_EVERY == 0
