"""The search for parameters, with real Optuna and XGBoost."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from fraud_assets.modeling.estimator import LabelledMatrix, XGBoostEstimator
from fraud_assets.modeling.metrics import average_precision
from fraud_assets.modeling.tuning import TuningResult, tune
from fraud_assets.transactions.profile import TrainingChoices


def sample(n: int, seed: int) -> LabelledMatrix:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 5)).astype(np.float32)
    logit = 2 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] - 3
    return LabelledMatrix(matrix, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8))


def search(trials: int, on_trial: Any = None, timeout: float = 600.0) -> TuningResult:
    choices = TrainingChoices(trials=trials, max_rounds=60, timeout_seconds=timeout, seed=3)
    return tune(
        "xgboost", sample(1_500, 1), sample(1_000, 2), choices, threads=1, on_trial=on_trial
    )


def without_times(result: TuningResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in result.trials]


def test_no_trials_means_the_defaults_with_as_many_rounds_as_later_days_want() -> None:
    result = search(0)

    assert result.params == XGBoostEstimator().defaults
    assert len(result.trials) == 1
    assert 1 <= result.rounds <= 60


def test_a_search_is_never_worse_than_the_defaults_and_starts_with_them() -> None:
    result = search(6)

    assert len(result.trials) == 6
    assert result.trials[0]["params"] == XGBoostEstimator().defaults
    assert result.average_precision >= result.trials[0]["average_precision"]
    values = [t["average_precision"] for t in result.trials if t["average_precision"] is not None]
    assert result.average_precision == max(values)


def test_the_same_seed_gives_the_same_search() -> None:
    one, other = search(4), search(4)

    assert without_times(one) == without_times(other)
    assert (one.params, one.rounds) == (other.params, other.rounds)


def test_the_result_holds_the_model_of_the_best_trial() -> None:
    result = search(3)
    validation = sample(1_000, 2)

    value = average_precision(validation.label, result.estimator.margin(validation.matrix))

    assert value == pytest.approx(result.average_precision, abs=1e-12)


def test_every_trial_is_told_as_it_ends() -> None:
    told: list[tuple[int, dict[str, Any], float | None]] = []

    result = search(5, on_trial=lambda *args: told.append(args))

    assert [number for number, _, _ in told] == [0, 1, 2, 3, 4]
    assert [value for _, _, value in told] == [t["average_precision"] for t in result.trials]
    assert all(params == t["params"] for (_, params, _), t in zip(told, result.trials, strict=True))


def test_a_spent_timeout_leaves_the_defaults() -> None:
    result = search(50, timeout=1e-6)

    assert len(result.trials) == 1
    assert result.params == XGBoostEstimator().defaults


def test_the_search_is_silent(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        search(1)

    printed = capfd.readouterr()
    assert (printed.out, printed.err, caplog.records) == ("", "", [])


def test_a_validation_without_fraud_is_refused() -> None:
    rows = sample(300, 1)
    clean = LabelledMatrix(rows.matrix, np.zeros(300, dtype=np.int8))

    with pytest.raises(ValueError, match="no fraud on the validation days"):
        tune("xgboost", rows, clean, TrainingChoices(), threads=1)


def test_a_trial_that_is_behind_is_pruned_and_told_without_a_value() -> None:
    told: list[float | None] = []
    choices = TrainingChoices(trials=25, max_rounds=60, timeout_seconds=600.0, seed=3)

    result = tune(
        "xgboost", sample(800, 1), sample(600, 2), choices, threads=1,
        on_trial=lambda _n, _p, value: told.append(value),
    )  # fmt: skip

    pruned = [trial for trial in result.trials if trial["state"] == "pruned"]
    assert pruned
    assert all(trial["rounds"] > 30 for trial in pruned)
    assert told.count(None) == len(pruned)
