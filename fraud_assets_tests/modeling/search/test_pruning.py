"""When a trial is cut, with a real Optuna study and learning curves that are given."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from fraud_assets.modeling.search.pruning import Progress, Reference

ROUNDS = 60
REFERENCE = Reference(values=(0.8, 0.4), peaks=(0.82, 0.42))
"""The first trial, on an easy fold and a hard one."""

Curves = list[tuple[list[float], float]]
"""Per fold the AP of the watched rows round by round, and that of the validation."""

LIKE_THE_FIRST: Curves = [([0.82] * ROUNDS, 0.8), ([0.42] * ROUNDS, 0.4)]


class Runs:
    """Trials in one study, one after the other."""

    def __init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize")
        self.progress: Progress

    def run(self, curves: Curves, reference: Reference | None = REFERENCE) -> Any:
        """The trial as it is kept."""
        trial = self.study.ask()
        self.progress = Progress(trial, reference, folds=len(curves), max_rounds=ROUNDS)
        try:
            for watched, value in curves:
                for number, one in enumerate(watched):
                    self.progress.on_round(number, one)
                self.progress.fold_ended(value)
        except optuna.TrialPruned:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, sum(value for _, value in curves))
        return self.study.trials[trial.number]


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def after_three(runs: Runs) -> Runs:
    for _ in range(3):
        runs.run(LIKE_THE_FIRST)
    return runs


def test_the_steps_count_on_over_the_folds(runs: Runs) -> None:
    trial = runs.run(LIKE_THE_FIRST)

    rounds = [9, 19, 29, 39, 49, 59]
    assert list(trial.intermediate_values) == [*rounds, 60, *(61 + r for r in rounds), 121]


def test_a_trial_stands_at_its_mean_gain_over_the_first_one(runs: Runs) -> None:
    trial = runs.run([([0.92] * ROUNDS, 0.9), ([0.52] * ROUNDS, 0.6)])

    told = trial.intermediate_values
    assert told[9] == pytest.approx(0.1)  # watched .92 against the first trial's best of .82
    assert told[60] == pytest.approx(0.1)  # all of the first fold: .9 against .8
    assert told[70] == pytest.approx((0.1 + 0.1) / 2)  # and so far in the second: .52 against .42
    assert told[121] == pytest.approx((0.1 + 0.2) / 2)


def test_within_a_fold_the_best_round_so_far_counts(runs: Runs) -> None:
    trial = runs.run([([0.82] + [0.5] * 59, 0.8), LIKE_THE_FIRST[1]])

    assert trial.intermediate_values[9] == 0.0


def test_the_first_trial_is_its_own_reference(runs: Runs) -> None:
    rising = [number / 100 for number in range(ROUNDS)]
    trial = runs.run([(rising, 0.8), ([0.42], 0.4)], None)

    told = trial.intermediate_values
    assert told[9] == pytest.approx(0.09 - 0.59)
    assert told[59] == told[60] == told[121] == 0.0
    assert runs.progress.peaks == [0.59, 0.42]
    assert runs.progress.values == [0.8, 0.4]


def test_a_trial_behind_the_median_is_cut_after_the_warm_up(after_three: Runs) -> None:
    trial = after_three.run([([0.81] * ROUNDS, 0.9), ([0.9] * ROUNDS, 0.9)])

    assert trial.state.name == "PRUNED"
    assert trial.last_step == 39
    assert after_three.progress.rounds == 40
    assert after_three.progress.values == []


def test_a_trial_at_the_median_is_not_cut(after_three: Runs) -> None:
    assert after_three.run(LIKE_THE_FIRST).state.name == "COMPLETE"


def test_a_good_easy_fold_does_not_shield_a_trial_that_fails_on_the_hard_one(
    after_three: Runs,
) -> None:
    trial = after_three.run([([0.83] * ROUNDS, 0.81), ([0.3] * ROUNDS, 0.3)])

    assert trial.state.name == "PRUNED"
    assert trial.last_step == 61 + 9
    assert after_three.progress.values == [0.81]


def test_a_gain_on_the_first_fold_makes_up_for_a_smaller_loss_on_the_next(
    after_three: Runs,
) -> None:
    trial = after_three.run([([0.92] * ROUNDS, 0.9), ([0.4] * ROUNDS, 0.35)])

    assert trial.state.name == "COMPLETE"


def test_a_family_without_rounds_is_cut_at_the_end_of_a_fold(after_three: Runs) -> None:
    trial = after_three.run([([0.7], 0.7), ([0.9], 0.9)])

    assert trial.state.name == "PRUNED"
    assert trial.last_step == 60
    assert after_three.progress.values == [0.7]
    assert after_three.progress.rounds == 1


def test_nothing_is_cut_when_all_folds_are_done(after_three: Runs) -> None:
    trial = after_three.run([LIKE_THE_FIRST[0], ([0.42], 0.1)])

    assert trial.state.name == "COMPLETE"


def test_nothing_is_cut_before_three_trials_are_whole(runs: Runs) -> None:
    for _ in range(2):
        runs.run(LIKE_THE_FIRST)

    assert runs.run([([0.1] * ROUNDS, 0.1), ([0.1], 0.1)]).state.name == "COMPLETE"
    assert runs.run([([0.05] * ROUNDS, 0.1), ([0.1], 0.1)]).state.name == "PRUNED"


def test_trials_that_had_stopped_early_stand_still_for_the_comparison(runs: Runs) -> None:
    for _ in range(3):
        runs.run([([0.9] * 20, 0.9), LIKE_THE_FIRST[1]])  # stopped after 20 rounds

    trial = runs.run([([0.82] * ROUNDS, 0.9), LIKE_THE_FIRST[1]])

    assert trial.state.name == "PRUNED"
    assert trial.last_step == 39


def test_the_first_trial_is_never_cut(after_three: Runs) -> None:
    trial = after_three.run([([0.1] * ROUNDS, 0.1), ([0.1] * ROUNDS, 0.1)], None)

    assert trial.state.name == "COMPLETE"
