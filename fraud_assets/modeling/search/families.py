"""Which family of models is trained: each is tuned on the same folds, and the best one wins.

How a family is tuned belongs in `tuning`, what a family is in `estimators`. A profile that names
one family is the case of a comparison with one entry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fraud_assets.modeling.bootstrap import day_bootstrap_average_precision
from fraud_assets.modeling.estimators import ESTIMATORS, ParamValues, make_estimator
from fraud_assets.modeling.manifest import FamilyResult
from fraud_assets.modeling.metrics import Floats
from fraud_assets.modeling.search.tuning import FoldRows, OnTrial, TuningResult, tune
from fraud_assets.transactions.profile import TrainingChoices

AUTO: Final = "auto"
"""The choice of `training.estimator` that stands for every family."""

CONFIDENCE: Final = 0.95
SAMPLES: Final = 1_000


@dataclass(frozen=True)
class FamilyChoice:
    """The family that won, all families beside each other, and every trial of all of them.

    `trials` are numbered through, in the order in which they were run.
    """

    chosen: TuningResult
    table: tuple[FamilyResult, ...]
    trials: list[dict[str, Any]]


def families_of(training: TrainingChoices) -> tuple[str, ...]:
    """The families that `training.estimator` asks for."""
    return tuple(ESTIMATORS) if training.estimator == AUTO else (training.estimator,)


def search_families(
    names: Sequence[str],
    folds: Sequence[FoldRows],
    training: TrainingChoices,
    *,
    threads: int,
    monotone: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    on_trial: OnTrial | None = None,
    study_folder: Path | None = None,
) -> FamilyChoice:
    """Tune every family in `names` on the same folds, and choose by the mean AP over them.

    Every family has `training.trials`, and an equal part of the seconds.
    Of equal families the earlier one is taken. Families that cannot keep `monotone` are left out,
    and the table says so.

    The interval of a family is its mean AP plus and minus Student's t times the standard error of
    a day-block bootstrap (see `bootstrap`) over all validation days, a row's score being its rank
    within its fold: the scores of two folds' models have no common scale. The best of several
    families on the same days is a little lucky, which no interval here knows: the gate decides.

    Args:
        names: keys of `ESTIMATORS`, at least one.
        folds: rows of each fold, oldest first.
        training: trials, timeout, most rounds and seed.
        threads: threads of one fit.
        monotone: per column -1, 0 or 1, as for `Estimator.fit`.
        feature_names: names for the columns of the matrices.
        on_trial: told of every trial as it ends.
        study_folder: where each family's search is kept while it goes, to go on after an
            interruption; see `tuning.tune` and `forget_searches`. One training at a time may use
            a folder, so give each day its own.

    Raises:
        ValueError: no family in `names` can keep `monotone`, or see `tuning.tune`.
    """
    able = [name for name in names if monotone is None or make_estimator(name).keeps_monotone]
    if not able:
        keeping = [name for name in ESTIMATORS if make_estimator(name).keeps_monotone]
        raise ValueError(
            f"{', '.join(names)} cannot keep monotone constraints: empty training.monotone, or set "
            f"training.estimator to {', '.join(keeping)} or {AUTO}"
        )
    share = training.model_copy(update={"timeout_seconds": training.timeout_seconds / len(able)})
    found: dict[str, TuningResult] = {}
    trials: list[dict[str, Any]] = []
    for name in able:
        found[name] = tune(
            name,
            folds,
            share,
            threads=threads,
            monotone=monotone,
            feature_names=feature_names,
            on_trial=_numbered_from(len(trials), on_trial),
            study_path=None if study_folder is None else _study_path(study_folder, name),
        )
        trials += [{**one, "number": len(trials) + one["number"]} for one in found[name].trials]
        for fold in folds:  # the next family prepares the rows in its own way
            fold.train.prepared.clear()
            fold.watched.prepared.clear()
    chosen = max(found.values(), key=lambda result: result.average_precision)
    table = tuple(
        _result(found[name], folds, training.seed, chosen=found[name] is chosen)
        if name in found
        else _left_out(name)
        for name in names
    )
    return FamilyChoice(chosen, table, trials)


def forget_searches(study_folder: Path) -> None:
    """Remove what `search_families` kept, and the folder if nothing else is in it.

    To be called once the training that it served is done.

    A later training is a search of its own, even where it is asked for on the same days: a search
    that a timeout had cut short would otherwise never get its other trials.
    """
    for name in ESTIMATORS:
        _study_path(study_folder, name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is in it, or it was never made
        study_folder.rmdir()


def _study_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.journal"


def _numbered_from(offset: int, on_trial: OnTrial | None) -> OnTrial | None:
    if on_trial is None:
        return None

    def told(number: int, params: ParamValues, value: float | None) -> None:
        on_trial(offset + number, params, value)

    return told


def _result(
    found: TuningResult, folds: Sequence[FoldRows], seed: int, *, chosen: bool
) -> FamilyResult:
    low, high = _interval(found, folds, seed)
    return FamilyResult(
        family=found.family,
        average_precision=found.average_precision,
        low=low,
        high=high,
        deviation=found.deviation,
        folds=len(found.folds),
        trials=len(found.trials),
        chosen=chosen,
    )


def _left_out(name: str) -> FamilyResult:
    return FamilyResult(
        family=name, average_precision=None, low=None, high=None, deviation=None, folds=0,
        trials=0, chosen=False, note="left out: cannot keep monotone constraints",
    )  # fmt: skip


def _interval(
    found: TuningResult, folds: Sequence[FoldRows], seed: int
) -> tuple[float | None, float | None]:
    pooled = day_bootstrap_average_precision(
        np.concatenate([fold.day for fold in folds]),
        np.concatenate([fold.validation.label for fold in folds]),
        np.concatenate([_rank(fit.margin) for fit in found.folds]),
        samples=SAMPLES,
        seed=seed,
        confidence=CONFIDENCE,
    )
    if pooled.estimate is None or pooled.low is None or pooled.high is None:
        return None, None
    # The interval is symmetric until it is cut at 0 and 1: the longer side is its half width.
    half = max(pooled.estimate - pooled.low, pooled.high - pooled.estimate)
    return max(found.average_precision - half, 0.0), min(found.average_precision + half, 1.0)


def _rank(margin: Floats) -> Floats:
    """The share of rows that score no higher, in (0, 1]; equal margins share it."""
    ranks: Floats = np.searchsorted(np.sort(margin), margin, side="right") / margin.size
    return ranks
