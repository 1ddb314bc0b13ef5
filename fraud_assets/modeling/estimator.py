"""The models that can be trained: one small protocol, and XGBoost behind it.

An estimator turns a matrix into margins (log-odds up to calibration). Its search space stands in
`tuning`; probabilities are the business of `calibration`, decisions that of `decision`. Another
kind of model joins by implementing `Estimator` and taking a name in `ESTIMATORS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.encoding import Matrix

Floats = npt.NDArray[np.floating[Any]]
Params = Mapping[str, float | int]
OnRound = Callable[[int, float], None]
"""Told the number of a round and the validation's average precision after it; may raise."""

EARLY_STOPPING_ROUNDS: Final = 40


@dataclass(frozen=True)
class LabelledMatrix:
    """Rows to learn from: `matrix` (n, features), `label` (n, 0 or 1), `weight` (n) or None.

    `prepared` holds forms that an estimator made of the rows (XGBoost's quantile matrices), so
    that twenty trials bin them once.
    """

    matrix: Matrix
    label: npt.NDArray[Any]
    weight: npt.NDArray[np.float32] | None = None
    prepared: dict[tuple[str, int], Any] = field(default_factory=dict, compare=False, repr=False)


class Estimator(Protocol):
    """What the rest of the package needs from a trained or trainable model."""

    name: str
    file_name: str

    @property
    def defaults(self) -> dict[str, float | int]:
        """Hyper-parameters that are good without a search."""

    def fit(
        self,
        train: LabelledMatrix,
        validation: LabelledMatrix | None,
        params: Params,
        *,
        rounds: int,
        seed: int,
        threads: int,
        feature_names: Sequence[str] | None = None,
        on_round: OnRound | None = None,
    ) -> int:
        """Fit, and return the rounds that were kept (at most `rounds`).

        With a `validation` of later days, rounds past the best average precision on it are
        dropped.
        """

    def margin(self, matrix: Matrix) -> Floats:
        """Scores of rows, float32 of shape (n,): higher is more suspicious, any real number."""

    def contributions(self, matrix: Matrix) -> Floats:
        """What each feature adds to the margin, shape (n, features + 1); the last is the base."""

    @property
    def feature_count(self) -> int:
        """Columns of the matrix that it was fitted on."""

    def save(self, path: Path) -> None:
        """Write the fitted model in its library's native format; equal models, equal bytes."""

    def load(self, path: Path, threads: int) -> None:
        """Read what `save` wrote, to be used with `threads` threads."""


class XGBoostEstimator:
    """Gradient-boosted trees on histograms, without class weights.

    Class weights and oversampling ruin the calibration and did not raise average precision on
    boosted trees (Fraud Detection Handbook, chapter 6, redone), so none are offered. The result
    depends on the data, the parameters and the seed, and not on the number of threads.
    """

    name = "xgboost"
    file_name = "model.ubj"

    def __init__(self) -> None:
        self._booster: Any = None

    @property
    def defaults(self) -> dict[str, float | int]:
        """Parameters that were good on the Handbook's data without a search."""
        return {
            "max_depth": 4,
            "learning_rate": 0.1,
            "min_child_weight": 1.0,
            "subsample": 1.0,
            "colsample_bytree": 1.0,
            "reg_lambda": 1.0,
            "max_bin": 256,
        }

    def fit(
        self,
        train: LabelledMatrix,
        validation: LabelledMatrix | None,
        params: Params,
        *,
        rounds: int,
        seed: int,
        threads: int,
        feature_names: Sequence[str] | None = None,
        on_round: OnRound | None = None,
    ) -> int:
        """See `Estimator.fit`."""
        xgboost = _import_xgboost()
        settings = {**self.defaults, **params}
        max_bin = int(settings["max_bin"])
        matrix = _binned(train, max_bin, threads)
        callbacks = []
        evaluations = []
        if validation is not None:
            evaluations = [(_plain(validation, threads), "validation")]
            callbacks.append(
                xgboost.callback.EarlyStopping(
                    rounds=EARLY_STOPPING_ROUNDS, maximize=True, save_best=True
                )
            )
            if on_round is not None:
                callbacks.append(_tell_rounds(xgboost, on_round))
        booster = xgboost.train(
            {
                **settings,
                "objective": "binary:logistic",
                # XGBoost 3 would start from the fraud rate. Starting from one half gave an average
                # precision of .724 against .712 (four slices of the Handbook's data, 100 trees).
                "base_score": 0.5,
                "eval_metric": "aucpr",
                "tree_method": "hist",
                "seed": seed,
                "nthread": threads,
                "verbosity": 0,
            },
            matrix,
            num_boost_round=rounds,
            evals=evaluations,
            callbacks=callbacks,
            verbose_eval=False,
        )
        booster.set_attr(best_iteration=None, best_score=None)
        if feature_names is not None:
            booster.feature_names = list(feature_names)
        self._booster = booster
        return int(booster.num_boosted_rounds())

    def margin(self, matrix: Matrix) -> Floats:
        """See `Estimator.margin`."""
        result: Floats = self._fitted().inplace_predict(matrix, predict_type="margin")
        return result

    def contributions(self, matrix: Matrix) -> Floats:
        """Exact path-dependent TreeSHAP values (Lundberg et al. 2020) in log-odds."""
        booster = self._fitted()
        rows = _import_xgboost().DMatrix(matrix, feature_names=booster.feature_names)
        result: Floats = booster.predict(rows, pred_contribs=True)
        return result

    @property
    def feature_count(self) -> int:
        """See `Estimator.feature_count`."""
        return int(self._fitted().num_features())

    def save(self, path: Path) -> None:
        """Write UBJSON, which any XGBoost of the same major version reads."""
        if path.suffix != ".ubj":
            raise ValueError(f"{path.name}: XGBoost chooses its format by the suffix, use .ubj")
        self._fitted().save_model(path)

    def load(self, path: Path, threads: int) -> None:
        """See `Estimator.load`."""
        self._booster = _import_xgboost().Booster({"nthread": threads}, model_file=path)

    def _fitted(self) -> Any:  # noqa: ANN401  xgboost is untyped here
        if self._booster is None:
            raise RuntimeError("the estimator has been neither fitted nor loaded")
        return self._booster


ESTIMATORS: Final[dict[str, Callable[[], Estimator]]] = {XGBoostEstimator.name: XGBoostEstimator}
"""Every kind of model by the name that stands in manifests."""


def make_estimator(name: str) -> Estimator:
    """A new estimator, not yet fitted.

    Raises:
        ValueError: nothing is registered under that name.
    """
    try:
        return ESTIMATORS[name]()
    except KeyError:
        known = ", ".join(sorted(ESTIMATORS))
        raise ValueError(f"no estimator '{name}'; there are: {known}") from None


def _import_xgboost() -> Any:  # noqa: ANN401
    # OpenMP reads this once, when xgboost is loaded. Its default spins at barriers: beside any
    # other busy process a training then took up to 10 times its quiet time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import xgboost

    return xgboost


def _binned(rows: LabelledMatrix, max_bin: int, threads: int) -> Any:  # noqa: ANN401
    key = ("xgboost quantiles", max_bin)
    if key not in rows.prepared:
        rows.prepared[key] = _import_xgboost().QuantileDMatrix(
            rows.matrix, label=rows.label, weight=rows.weight, nthread=threads, max_bin=max_bin
        )
    return rows.prepared[key]


def _plain(rows: LabelledMatrix, threads: int) -> Any:  # noqa: ANN401
    # Not binned: bins would tie the validation rows to one training set and one `max_bin`.
    key = ("xgboost plain", 0)
    if key not in rows.prepared:
        rows.prepared[key] = _import_xgboost().DMatrix(
            rows.matrix, label=rows.label, weight=rows.weight, nthread=threads
        )
    return rows.prepared[key]


def _tell_rounds(xgboost: Any, on_round: OnRound) -> Any:  # noqa: ANN401
    class TellRounds(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(
            self,
            model: Any,  # noqa: ANN401, ARG002
            epoch: int,
            evals_log: Mapping[str, Mapping[str, list[float]]],
        ) -> bool:
            on_round(epoch, float(evals_log["validation"]["aucpr"][-1]))
            return False

    return TellRounds()
