"""The families of models that can be trained, by the name that stands in profiles and manifests.

A family joins by implementing `base.Estimator` in a module of its name and taking an entry in
`ESTIMATORS`. Which one is trained is decided in `families`, by average precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fraud_assets.modeling.estimators.base import (
    EARLY_STOPPING_ROUNDS,
    Estimator,
    Floats,
    LabelledMatrix,
    OnRound,
    Params,
    ParamValues,
    SearchTrial,
)
from fraud_assets.modeling.estimators.lightgbm import LightGBMEstimator
from fraud_assets.modeling.estimators.logistic_regression import LogisticRegressionEstimator
from fraud_assets.modeling.estimators.random_forest import RandomForestEstimator
from fraud_assets.modeling.estimators.xgboost import XGBoostEstimator

__all__ = [
    "EARLY_STOPPING_ROUNDS",
    "ESTIMATORS",
    "Estimator",
    "Floats",
    "LabelledMatrix",
    "LightGBMEstimator",
    "LogisticRegressionEstimator",
    "OnRound",
    "ParamValues",
    "Params",
    "RandomForestEstimator",
    "SearchTrial",
    "XGBoostEstimator",
    "make_estimator",
]

ESTIMATORS: Final[dict[str, Callable[[], Estimator]]] = {
    XGBoostEstimator.name: XGBoostEstimator,
    LightGBMEstimator.name: LightGBMEstimator,
    RandomForestEstimator.name: RandomForestEstimator,
    LogisticRegressionEstimator.name: LogisticRegressionEstimator,
}
"""Every family by its name; where two are equally good, the earlier one is taken."""


def make_estimator(name: str) -> Estimator:
    """A new estimator, not yet fitted.

    Raises:
        ValueError: there is no such family.
    """
    try:
        return ESTIMATORS[name]()
    except KeyError:
        raise ValueError(f"no estimator '{name}'; there are: {', '.join(ESTIMATORS)}") from None
