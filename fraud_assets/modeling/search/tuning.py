"""The search for one family's hyper-parameters: Optuna's TPE on folds in time, and resumable.

Which parameters a family has and where they are looked for is the family's business (`estimators`),
what the days of the folds are is decided in `splits`, and which family wins in `families`. The
search sees training and validation days only, never the gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.estimators import (
    Estimator,
    LabelledMatrix,
    OnRound,
    ParamValues,
    make_estimator,
)
from fraud_assets.modeling.metrics import average_precision
from fraud_assets.modeling.search.pruning import Progress, Reference
from fraud_assets.modeling.search.study import fingerprint, open_study
from fraud_assets.transactions.profile import TrainingChoices

OnTrial = Callable[[int, ParamValues, float | None], None]
"""Told each trial's number, parameters and average precision; None for a pruned one."""

RANDOM_TRIALS: Final = 5
"""Trials before TPE has enough of them to model; the defaults are one of them."""

MIN_IMPORTANCE_TRIALS: Final = 4
"""Finished trials below which the importance of a hyper-parameter is noise."""

_RECORD: Final = "record"
_PEAKS: Final = "watched_average_precisions"


@dataclass(frozen=True)
class FoldRows:
    """One fold in time: what is fitted on, and the later days that judge it.

    `train` is thinned and rebalanced already; `validation` never is. `watched` are the validation
    rows that are measured after every round, to stop early: measuring all of them can take longer
    than fitting, and a weighted sample tells as well when to stop. Trials are compared on all of
    them. `day` holds the day of each validation row, in any type that sorts by time.
    """

    train: LabelledMatrix
    validation: LabelledMatrix
    watched: LabelledMatrix
    day: npt.NDArray[Any]


@dataclass(frozen=True)
class FoldFit:
    """A model fitted on a fold: its rounds, and its AP and margins on the validation rows."""

    rounds: int
    average_precision: float
    margin: npt.NDArray[Any]
    estimator: Estimator


@dataclass(frozen=True)
class TuningResult:
    """The best trial of a family: its parameters, and its models, one per fold in their order.

    `rounds` is the mean over the folds, rounded. `average_precision` is the mean over the folds,
    and `deviation` the sample standard deviation (None with one fold). `trials` has one entry per
    trial: family, number, state, average_precision, fold_average_precisions (of the folds that
    were finished), rounds, seconds, params. `param_importance` is the share of the variance among
    the finished trials that each parameter explains; empty where there are fewer than
    `MIN_IMPORTANCE_TRIALS`, or no variance.
    """

    family: str
    params: ParamValues
    rounds: int
    folds: tuple[FoldFit, ...]
    average_precision: float
    deviation: float | None
    trials: list[dict[str, Any]]
    param_importance: dict[str, float]


def tune(
    estimator_name: str,
    folds: Sequence[FoldRows],
    training: TrainingChoices,
    *,
    threads: int,
    monotone: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    on_trial: OnTrial | None = None,
    study_path: Path | None = None,
) -> TuningResult:
    """Choose parameters by the mean average precision over the folds' validation days.

    The first trial is always the family's defaults, and they stand unless another trial beats them
    by more than the standard error (`_chosen`); `training.trials` of 0 means the defaults alone.
    The same data and seed give the same result, unless `training.timeout_seconds` cuts the search
    short (no trial begins after it, and the first one always runs to its end).

    With a `study_path` the search is kept in that file as it goes (Optuna's journal), and a second
    call with the same data and choices goes on where the first one was interrupted: finished
    trials and their seconds count, and one that was cut off is tried again. The result is exactly
    that of a search without interruption, as the sampler is seeded anew before every trial from
    the seed and the number of finished trials. Other data or choices start a search of their own
    in the file. A file serves one process at a time. The caller removes it when the training is
    done, as a finished search would be taken for an answer by the next training on the same data.

    Args:
        estimator_name: a key of `ESTIMATORS`.
        folds: rows of each fold, oldest first.
        training: trials, timeout, most rounds and seed.
        threads: threads of one fit; trials run one after another.
        monotone: per column -1, 0 or 1, as for `Estimator.fit`.
        feature_names: names for the columns of the matrices.
        on_trial: told of every trial as it ends; not again of those of an interrupted search.
        study_path: the file that makes the search resumable; its folder is made if need be.

    Raises:
        ValueError: there is no fold, a fold's validation has no fraud, there is no such family,
            or `study_path` holds something else than a study.
    """
    if not folds:
        raise ValueError("no fold to search on: at least one is needed")
    without = [str(place) for place, fold in enumerate(folds) if not fold.validation.label.any()]
    if without:
        raise ValueError(
            f"no fraud on the validation days of fold {', '.join(without)}: parameters cannot be "
            "compared there; leave the fold out"
        )
    import optuna

    objective = _Objective(
        estimator_name, folds, training,
        threads=threads, monotone=monotone, feature_names=feature_names,
    )  # fmt: skip
    name = None
    if study_path is not None:
        matrices = [rows for fold in folds for rows in (fold.train, fold.validation, fold.watched)]
        choices = {"training": training.model_dump(mode="json"), "monotone": monotone}
        name = fingerprint(objective.estimator, matrices, choices)
    with _quiet(optuna):
        study = open_study(study_path, name)
        trials = _finished(study)
        began = time.monotonic() - sum(trial["seconds"] for trial in trials)
        while len(trials) < max(1, training.trials):
            if trials and time.monotonic() - began > training.timeout_seconds:
                break
            record = _run_trial(study, objective, training.seed)
            trials.append(record)
            if on_trial is not None:
                on_trial(record["number"], dict(record["params"]), record["average_precision"])
        importance = _param_importance(study, training.seed)
    best = _chosen(trials)
    fits = objective.fits_of(best)
    values = [fit.average_precision for fit in fits]
    return TuningResult(
        family=estimator_name,
        params=best["params"],
        rounds=best["rounds"],
        folds=fits,
        average_precision=best["average_precision"],
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        trials=trials,
        param_importance=importance,
    )


def margin_to_calibrate(
    found: TuningResult,
    newest: FoldRows,
    training: TrainingChoices,
    *,
    threads: int,
    monotone: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
) -> npt.NDArray[Any]:
    """The newest fold's validation margins by a model of `found.rounds` rounds, as the final one.

    Early stopping leaves each fold rounds of its own, and margins spread with the rounds: what
    calibrates a model of 230 is wrong for one of 120. Fitted again where the rounds differ.

    Args:
        found: the outcome of the search.
        newest: rows of the newest fold.
        training: gives the seed.
        threads: threads of the fit.
        monotone: as for `tune`.
        feature_names: as for `tune`.
    """
    if found.folds[-1].rounds == found.rounds:
        return found.folds[-1].margin
    estimator = make_estimator(found.family)
    estimator.fit(
        newest.train, None, found.params, rounds=found.rounds, seed=training.seed, threads=threads,
        feature_names=feature_names, monotone=monotone,
    )  # fmt: skip
    return estimator.margin(newest.validation.matrix)


def _chosen(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The best of the trials that beat the defaults by more than chance; else the defaults.

    That is, by more than one standard error of the paired differences over the folds, as in the
    one-standard-error rule of Breiman et al. 1984. The best of many trials on few days is best by
    luck as well: on the Handbook's four weeks the plain maximum of eight trials lost .003 of
    average precision to no search at all. A single fold has no standard error, and the best is
    taken.
    """
    defaults = trials[0]  # never pruned

    def is_better(trial: dict[str, Any]) -> bool:
        gains = np.subtract(trial["fold_average_precisions"], defaults["fold_average_precisions"])
        error = np.std(gains, ddof=1) / np.sqrt(gains.size) if gains.size > 1 else 0.0
        return bool(np.mean(gains) > error)

    rivals = [trial for trial in trials[1:] if trial["state"] == "complete" and is_better(trial)]
    return max(rivals, key=lambda trial: trial["average_precision"], default=defaults)


def _finished(study: Any) -> list[dict[str, Any]]:  # noqa: ANN401  optuna is untyped
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [dict(trial.user_attrs[_RECORD]) for trial in study.get_trials(states=states)]


def _run_trial(study: Any, objective: _Objective, seed: int) -> dict[str, Any]:  # noqa: ANN401
    """Ask for one trial, run it, and tell the study; returns its record."""
    from optuna import TrialPruned
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    finished = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED), deepcopy=False)
    number = len(finished)
    study.sampler = TPESampler(seed=_seed_of(seed, number), n_startup_trials=RANDOM_TRIALS)
    if number == 0:
        reference = None
        # Not enqueued twice: the process may have died before it began what it had enqueued.
        if not study.get_trials(states=(TrialState.WAITING,), deepcopy=False):
            study.enqueue_trial(objective.estimator.defaults)
    else:
        first = finished[0].user_attrs
        reference = Reference(first[_RECORD]["fold_average_precisions"], first[_PEAKS])
    trial = study.ask()
    progress = Progress(
        trial, reference, folds=len(objective.folds), max_rounds=objective.training.max_rounds
    )
    params = objective.params_of(trial)
    started = time.perf_counter()
    fits: tuple[FoldFit, ...] | None
    try:
        fits = objective.fit(params, progress)
    except TrialPruned:
        fits = None
    record: dict[str, Any] = {
        "family": objective.name,
        "number": number,
        "state": "pruned",
        "average_precision": None,
        "fold_average_precisions": progress.values,
        "rounds": progress.rounds,
        "seconds": round(time.perf_counter() - started, 3),
        "params": params,
    }
    if fits is None:
        trial.set_user_attr(_RECORD, record)
        study.tell(trial, state=TrialState.PRUNED)
        return record
    value = float(np.mean(progress.values))
    rounds = round(float(np.mean([fit.rounds for fit in fits])))
    record |= {"state": "complete", "average_precision": value, "rounds": rounds}
    objective.keep_if_best(record, fits)
    trial.set_user_attr(_PEAKS, progress.peaks)
    trial.set_user_attr(_RECORD, record)
    study.tell(trial, value)
    return record


def _seed_of(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class _Objective:
    """Fits a trial's parameters on one fold after the other, and keeps the best trial's models."""

    def __init__(
        self,
        name: str,
        folds: Sequence[FoldRows],
        training: TrainingChoices,
        *,
        threads: int,
        monotone: Sequence[int] | None,
        feature_names: Sequence[str] | None,
    ) -> None:
        self.name, self.folds, self.training = name, folds, training
        self.threads, self.monotone, self.feature_names = threads, monotone, feature_names
        self.estimator = make_estimator(name)
        self._defaults: tuple[FoldFit, ...] | None = None
        self._best: tuple[dict[str, Any], tuple[FoldFit, ...]] | None = None

    def params_of(self, trial: Any) -> ParamValues:  # noqa: ANN401
        """What `trial` is to try; what the family does not search for has its default."""
        return {**self.estimator.defaults, **self.estimator.search_space(trial)}

    def fit(self, params: ParamValues, progress: Progress | None) -> tuple[FoldFit, ...]:
        """The models of all folds, oldest first.

        Raises:
            optuna.TrialPruned: `progress` has said so.
        """
        fits = []
        for fold in self.folds:
            fits.append(self._fit(fold, params, None if progress is None else progress.on_round))
            if progress is not None:
                progress.fold_ended(fits[-1].average_precision)
        return tuple(fits)

    def keep_if_best(self, record: dict[str, Any], fits: tuple[FoldFit, ...]) -> None:
        """Hold on to the models of the defaults and the best trial; the others are let go."""
        if record["number"] == 0:
            self._defaults = fits
        if self._best is None or record["average_precision"] > self._best[0]["average_precision"]:
            self._best = record, fits

    def fits_of(self, record: dict[str, Any]) -> tuple[FoldFit, ...]:
        """The models of a kept trial; fitted again where an earlier process had run it."""
        if self._defaults is not None and record["number"] == 0:
            return self._defaults
        if self._best is not None and self._best[0]["number"] == record["number"]:
            return self._best[1]
        return self.fit(record["params"], None)

    def _fit(self, fold: FoldRows, params: ParamValues, on_round: OnRound | None) -> FoldFit:
        estimator = make_estimator(self.name)
        rounds = estimator.fit(
            fold.train,
            fold.watched,
            params,
            rounds=self.training.max_rounds,
            seed=self.training.seed,
            threads=self.threads,
            feature_names=self.feature_names,
            monotone=self.monotone,
            on_round=on_round,
        )
        margin = estimator.margin(fold.validation.matrix)
        value = average_precision(fold.validation.label, margin)
        if value is None:
            raise ValueError("no fraud on the validation days: parameters cannot be compared")
        return FoldFit(rounds, value, margin, estimator)


def _param_importance(study: Any, seed: int) -> dict[str, float]:  # noqa: ANN401
    """Shares of the variance among finished trials, by fANOVA (Hutter et al. 2014)."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(states=(TrialState.COMPLETE,), deepcopy=False)
    if len(complete) < MIN_IMPORTANCE_TRIALS or len({trial.value for trial in complete}) == 1:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:  # noqa: ANN401
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
