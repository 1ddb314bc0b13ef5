"""The search for parameters, with real Optuna and real families of models."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from fraud_assets.modeling.estimators import ESTIMATORS, LabelledMatrix, make_estimator
from fraud_assets.modeling.metrics import average_precision
from fraud_assets.modeling.search import tuning
from fraud_assets.modeling.search.tuning import (
    FoldRows,
    TuningResult,
    margin_to_calibrate,
    tune,
)
from fraud_assets.transactions.profile import TrainingChoices


def sample(n: int, seed: int, strength: float = 2.0) -> LabelledMatrix:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 5)).astype(np.float32)
    logit = strength * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] - 3
    return LabelledMatrix(matrix, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8))


def fold(seed: int, rows: int = 1_200, strength: float = 2.0) -> FoldRows:
    validation = sample(rows * 2 // 3, seed + 100, strength)
    day = np.repeat(np.arange(2), [rows // 3, rows * 2 // 3 - rows // 3])
    return FoldRows(sample(rows, seed, strength), validation, validation, day)


def choices(trials: int, **others: Any) -> TrainingChoices:
    given = {"max_rounds": 60, "timeout_seconds": 600.0, "seed": 3, **others}
    return TrainingChoices(trials=trials, **given)


def search(trials: int, folds: int = 2, on_trial: Any = None, **others: Any) -> TuningResult:
    rows = [fold(10 + place) for place in range(folds)]
    return tune("xgboost", rows, choices(trials, **others), threads=1, on_trial=on_trial)


def without_times(result: TuningResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in result.trials]


def test_no_trials_means_the_defaults_with_as_many_rounds_as_later_days_want() -> None:
    result = search(0)

    assert result.params == make_estimator("xgboost").defaults
    assert len(result.trials) == 1
    assert 1 <= result.rounds <= 60
    assert result.param_importance == {}


def test_a_search_is_never_worse_than_the_defaults_and_starts_with_them() -> None:
    result = search(6)

    assert len(result.trials) == 6
    assert result.trials[0]["params"] == make_estimator("xgboost").defaults
    assert result.average_precision >= result.trials[0]["average_precision"]


@pytest.mark.parametrize(
    ("rivals", "winner"),
    [
        # The second beats the defaults on both folds alike, the others on one by luck.
        ([[0.50, 0.60], [0.53, 0.63]], 1),
        ([[0.50, 0.60], [0.60, 0.58]], 0),
        ([[0.50, 0.60], [0.62, 0.58], [0.53, 0.63]], 2),
        ([[0.50, 0.60], [0.40, 0.70]], 0),
        # One fold has no standard error.
        ([[0.50], [0.51]], 1),
        ([[0.50], [0.50]], 0),
    ],
)
def test_the_defaults_stand_unless_the_best_trial_beats_them_by_more_than_the_standard_error(
    rivals: list[list[float]], winner: int
) -> None:
    trials = [
        {
            "number": number,
            "state": "complete",
            "average_precision": float(np.mean(values)),
            "fold_average_precisions": values,
        }
        for number, values in enumerate(rivals)
    ]
    assert tuning._chosen(trials)["number"] == winner


def test_what_is_calibrated_has_the_rounds_of_the_final_model() -> None:
    rows = [fold(10), fold(11)]
    enough = choices(0, max_rounds=400)
    found = tune("xgboost", rows, enough, threads=1)
    assert found.folds[-1].rounds != found.rounds  # else the test would show nothing
    margin = margin_to_calibrate(found, rows[-1], enough, threads=1)
    estimator = make_estimator("xgboost")
    estimator.fit(rows[-1].train, None, found.params, rounds=found.rounds, seed=3, threads=1)
    assert np.array_equal(margin, estimator.margin(rows[-1].validation.matrix))
    assert not np.array_equal(margin, found.folds[-1].margin)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_same_seed_gives_the_same_search_for_any_number_of_threads(name: str) -> None:
    rows = [fold(10, 600), fold(11, 600)]

    one, other = (tune(name, rows, choices(3, max_rounds=20), threads=n) for n in (1, 2))

    assert without_times(one) == without_times(other)
    assert (one.params, one.rounds) == (other.params, other.rounds)
    assert one.param_importance == other.param_importance


def test_another_seed_tries_other_parameters() -> None:
    one, other = search(3, folds=1, seed=3), search(3, folds=1, seed=4)

    assert one.trials[0]["params"] == other.trials[0]["params"]
    assert one.trials[1]["params"] != other.trials[1]["params"]


def test_a_trial_is_worth_the_mean_over_the_folds_and_its_rounds_are_their_rounded_mean() -> None:
    result = search(2, folds=3)

    values = [fit.average_precision for fit in result.folds]
    assert len(values) == 3
    assert result.average_precision == pytest.approx(np.mean(values))
    assert result.deviation == pytest.approx(np.std(values, ddof=1))
    assert result.rounds == round(np.mean([fit.rounds for fit in result.folds]))
    best = next(t for t in result.trials if t["average_precision"] == result.average_precision)
    assert best["fold_average_precisions"] == values


def test_one_fold_has_no_deviation() -> None:
    assert search(0, folds=1).deviation is None


def test_the_result_holds_the_models_of_the_best_trial_one_per_fold() -> None:
    rows = [fold(10), fold(11)]

    result = tune("xgboost", rows, choices(4), threads=1)

    for one, fit in zip(rows, result.folds, strict=True):
        margin = fit.estimator.margin(one.validation.matrix)
        np.testing.assert_array_equal(margin, fit.margin)
        assert average_precision(one.validation.label, margin) == fit.average_precision


def test_early_stopping_looks_at_the_watched_rows_and_trials_are_judged_on_all() -> None:
    rows = fold(10)
    few = LabelledMatrix(rows.validation.matrix[:200], rows.validation.label[:200])

    watched_all = tune("xgboost", [rows], choices(0), threads=1)
    watched_few = tune(
        "xgboost", [FoldRows(rows.train, rows.validation, few, rows.day)], choices(0), threads=1
    )

    assert watched_few.rounds != watched_all.rounds
    fit = watched_few.folds[0]
    assert fit.average_precision == average_precision(rows.validation.label, fit.margin)


def test_every_trial_is_told_as_it_ends() -> None:
    told: list[tuple[int, dict[str, Any], float | None]] = []

    result = search(5, on_trial=lambda *args: told.append(args))

    assert [number for number, _, _ in told] == [0, 1, 2, 3, 4]
    assert [value for _, _, value in told] == [t["average_precision"] for t in result.trials]
    assert all(params == t["params"] for (_, params, _), t in zip(told, result.trials, strict=True))


def test_a_spent_timeout_leaves_the_defaults() -> None:
    result = search(50, timeout_seconds=1e-6)

    assert len(result.trials) == 1
    assert result.params == make_estimator("xgboost").defaults


def test_the_search_is_silent(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        search(1)

    printed = capfd.readouterr()
    assert (printed.out, printed.err, caplog.records) == ("", "", [])


def test_a_fold_without_fraud_is_named() -> None:
    good = fold(10, 300)
    clean = LabelledMatrix(good.validation.matrix, np.zeros(200, dtype=np.int8))

    with pytest.raises(ValueError, match="no fraud on the validation days of fold 1"):
        tune("xgboost", [good, FoldRows(good.train, clean, clean, good.day)], choices(0), threads=1)


def test_no_fold_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        tune("xgboost", [], choices(0), threads=1)


def test_importance_is_of_the_searched_parameters_and_sums_to_one() -> None:
    result = search(7, folds=1)

    complete = [trial for trial in result.trials if trial["state"] == "complete"]
    assert len(complete) >= 4
    assert sum(result.param_importance.values()) == pytest.approx(1.0)
    assert set(result.param_importance) <= set(result.params)
    assert search(3, folds=1).param_importance == {}


def test_trials_that_all_do_the_same_have_no_importance() -> None:
    matrix = np.zeros((200, 2), dtype=np.float32)
    rows = LabelledMatrix(matrix, (np.arange(200) % 10 == 0).astype(np.int8))

    result = tune("xgboost", [FoldRows(rows, rows, rows, np.arange(200))], choices(5), threads=1)

    assert result.param_importance == {}


def test_monotone_directions_hold_in_every_fold() -> None:
    rows = [fold(10), fold(11)]

    result = tune("xgboost", rows, choices(2), threads=1, monotone=(-1, 0, 0, 0, 0))

    grid = np.zeros((50, 5), dtype=np.float32)
    grid[:, 0] = np.linspace(-3, 3, 50)
    for fit in result.folds:
        assert (np.diff(fit.estimator.margin(grid)) <= 0).all()


def test_a_trial_that_is_behind_is_pruned_and_told_without_a_value() -> None:
    told: list[float | None] = []

    result = tune(
        "xgboost", [fold(1, 800), fold(2, 800)], choices(25), threads=1,
        on_trial=lambda _n, _p, value: told.append(value),
    )  # fmt: skip

    pruned = [trial for trial in result.trials if trial["state"] == "pruned"]
    assert pruned
    assert told.count(None) == len(pruned)
    assert all(len(trial["fold_average_precisions"]) < 2 for trial in pruned)
    assert all(trial["rounds"] > 30 or trial["fold_average_precisions"] for trial in pruned), (
        "none is pruned in the first thirty rounds of the first fold"
    )
