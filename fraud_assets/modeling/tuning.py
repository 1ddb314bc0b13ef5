"""The search for hyper-parameters: Optuna's TPE on one fold in time.

Search spaces stand here, one per estimator; what a parameter does is the estimator's business,
and what the days of the fold are is decided in `splits`. The search sees training and validation
days only, never the gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fraud_assets.modeling.estimator import Estimator, LabelledMatrix, OnRound, make_estimator
from fraud_assets.modeling.metrics import average_precision
from fraud_assets.transactions.profile import TrainingChoices

ParamValues = dict[str, float | int]
OnTrial = Callable[[int, ParamValues, float | None], None]
"""Told each trial's number, parameters and average precision; None for a pruned one."""

PRUNE_EVERY: Final = 10
"""Rounds between two looks at whether a trial is hopeless."""


@dataclass(frozen=True)
class TuningResult:
    """The best trial: its parameters and rounds, and its model, fitted on the fold.

    `trials` has one entry per trial: number, state, average_precision, rounds, seconds, params.
    """

    params: ParamValues
    rounds: int
    average_precision: float
    estimator: Estimator
    trials: list[dict[str, Any]]


def tune(
    estimator_name: str,
    fold_train: LabelledMatrix,
    validation: LabelledMatrix,
    training: TrainingChoices,
    *,
    threads: int,
    watched: LabelledMatrix | None = None,
    feature_names: Sequence[str] | None = None,
    on_trial: OnTrial | None = None,
) -> TuningResult:
    """Choose parameters by average precision on the validation days.

    The first trial is always the estimator's defaults, so that a search is never worse than
    none on the validation days; `training.trials` of 0 means the defaults alone. The same data and
    seed give the same result, unless `training.timeout_seconds` cuts the search short (no trial
    begins after it, and the first one always runs to its end).

    Args:
        estimator_name: a key of `ESTIMATORS` with a search space here.
        fold_train: rows of the fold's training days.
        validation: rows of the later validation days, with at least one fraud.
        training: trials, timeout, most rounds and seed.
        threads: threads of one fit; trials run one after another.
        watched: the validation rows that are measured after every round, to stop early; all of
            them if None. Measuring can take longer than fitting, and a weighted sample tells as
            well when to stop. Trials are compared on all of them.
        feature_names: names for the columns of the matrices.
        on_trial: told of every trial as it ends.

    Raises:
        ValueError: the validation has no fraud, or the estimator has no search space.
    """
    if not validation.label.any():
        raise ValueError("no fraud on the validation days: parameters cannot be compared")
    if estimator_name not in SEARCH_SPACES:
        raise ValueError(f"estimator '{estimator_name}' has no search space in tuning")
    import optuna

    search = _Search(
        estimator_name, fold_train, validation, training,
        threads=threads, watched=watched or validation, feature_names=feature_names,
    )  # fmt: skip

    def told(_: Any, trial: Any) -> None:  # noqa: ANN401
        if on_trial is not None:
            record = search.trials[-1]
            on_trial(trial.number, dict(record["params"]), record["average_precision"])

    with _quiet(optuna):
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=training.seed, n_startup_trials=5),
            # Three whole trials before any may be cut, and none in its first thirty rounds.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=30),
        )
        study.enqueue_trial(search.defaults)
        # Apart from the rest: a timeout may leave Optuna without a single finished trial.
        deadline = time.monotonic() + training.timeout_seconds
        study.optimize(search, n_trials=1, callbacks=[told])
        left = deadline - time.monotonic()
        if training.trials > 1 and left > 0:
            study.optimize(search, n_trials=training.trials - 1, timeout=left, callbacks=[told])
    if search.best is None:  # the first trial is never pruned, and its errors are raised
        raise RuntimeError("the search ended without a finished trial")
    return search.best


class _Search:
    """The objective, and what it has seen."""

    def __init__(
        self,
        estimator_name: str,
        fold_train: LabelledMatrix,
        validation: LabelledMatrix,
        training: TrainingChoices,
        *,
        threads: int,
        watched: LabelledMatrix,
        feature_names: Sequence[str] | None,
    ) -> None:
        self.estimator_name = estimator_name
        self.fold_train, self.validation, self.watched = fold_train, validation, watched
        self.training, self.threads, self.feature_names = training, threads, feature_names
        self.defaults = make_estimator(estimator_name).defaults
        self.trials: list[dict[str, Any]] = []
        self.best: TuningResult | None = None

    def __call__(self, trial: Any) -> float:  # noqa: ANN401
        params = {**self.defaults, **SEARCH_SPACES[self.estimator_name](trial)}
        record: dict[str, Any] = {
            "number": trial.number, "state": "pruned", "average_precision": None, "rounds": None,
            "seconds": 0.0, "params": params,
        }  # fmt: skip
        self.trials.append(record)
        estimator = make_estimator(self.estimator_name)
        started = time.perf_counter()
        try:
            rounds = estimator.fit(
                self.fold_train,
                self.watched,
                params,
                rounds=self.training.max_rounds,
                seed=self.training.seed,
                threads=self.threads,
                feature_names=self.feature_names,
                on_round=_pruning(trial, record),
            )
            margin = estimator.margin(self.validation.matrix)
        finally:
            record["seconds"] = round(time.perf_counter() - started, 3)
        value = average_precision(self.validation.label, margin)
        if value is None:
            raise ValueError("no fraud on the validation days: parameters cannot be compared")
        record |= {"state": "complete", "average_precision": value, "rounds": rounds}
        if self.best is None or value > self.best.average_precision:
            self.best = TuningResult(params, rounds, value, estimator, self.trials)
        return value


def _pruning(trial: Any, record: dict[str, Any]) -> OnRound:  # noqa: ANN401
    from optuna import TrialPruned

    def on_round(number: int, value: float) -> None:
        record["rounds"] = number + 1
        if (number + 1) % PRUNE_EVERY == 0:
            trial.report(value, number)
            if trial.should_prune():
                raise TrialPruned

    return on_round


def _xgboost_space(trial: Any) -> ParamValues:  # noqa: ANN401
    return {
        "max_depth": trial.suggest_int("max_depth", 3, 8),
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 20.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 20.0, log=True),
        "max_bin": trial.suggest_categorical("max_bin", [64, 128, 256]),
    }


SEARCH_SPACES: Final[dict[str, Callable[[Any], ParamValues]]] = {"xgboost": _xgboost_space}


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:  # noqa: ANN401
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
