"""What can be done about the rarity of fraud in training rows: weights, fewer rows or new ones.

Each method teaches another share of fraud than the real one and so bends the probabilities: a
model of rows with one fraud per ten legitimate ones expects as many (Dal Pozzolo et al. 2015,
"Calibrating probability with undersampling for unbalanced classification"). Calibration on later
days, whose rows nothing here may touch, puts them right; where there is none, leave the method at
"none". On boosted trees none of them raised the average precision (Fraud Detection Handbook,
chapter 6). Thinning rows by weight, which keeps the probabilities, is no method of this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.encoding import Matrix
from fraud_assets.modeling.estimators.base import LabelledMatrix

NEIGHBOURS: Final = 5
"""Frauds next to a fraud, towards which SMOTE draws new ones; fewer where there are fewer."""


def rebalanced(rows: LabelledMatrix, method: str, ratio: float, seed: int) -> LabelledMatrix:
    """Training rows with more weight on fraud; `rows` itself where nothing has to change.

    Frauds and legitimate rows are counted by weight: a row that stands for five counts as five.

    Args:
        rows: rows of training days. Never give it rows that something is measured on.
        method: "none"; "class_weight": weights that give both classes the same sum, and all rows
            the sum they had; "undersample": legitimate rows go at random, the others keep their
            order; "smote": frauds between neighbouring frauds are added behind the other rows.
        ratio: frauds per legitimate row to arrive at, by "undersample" and "smote". Rows that
            hold as many already are returned as they are.
        seed: of the random choice.

    Raises:
        ValueError: an unknown method, a ratio outside (0, 1], only one class among the rows, or,
            for "smote", a single fraud or no column that holds a quantity.
    """
    if method == "none":
        return rows
    if method not in _METHODS:
        raise ValueError(
            f"training.imbalance is '{method}'; there are: none, {', '.join(_METHODS)}"
        )
    if not 0 < ratio <= 1:
        raise ValueError(
            f"training.frauds_per_legitimate is {ratio}: give a number above 0 and at most 1"
        )
    frauds = int(np.count_nonzero(rows.label))
    if frauds in (0, rows.label.size):
        raise ValueError(
            f"{frauds} frauds among {rows.label.size} training rows: {method} needs frauds and "
            "legitimate rows, take more days"
        )
    return _METHODS[method](rows, ratio, seed)


def _class_weight(rows: LabelledMatrix, _ratio: float, _seed: int) -> LabelledMatrix:
    weight, fraud = _weights(rows), rows.label == 1
    total, of_fraud = weight.sum(), weight[fraud].sum()
    factor = np.where(fraud, total / (2 * of_fraud), total / (2 * (total - of_fraud)))
    return LabelledMatrix(
        rows.matrix, rows.label, (weight * factor).astype(np.float32), rows.categorical
    )


def _undersample(rows: LabelledMatrix, ratio: float, seed: int) -> LabelledMatrix:
    from imblearn.under_sampling import RandomUnderSampler

    weight, legitimate = _weights(rows), rows.label == 0
    wanted = weight[~legitimate].sum() / ratio
    if wanted >= weight[legitimate].sum():
        return rows
    # Thinned rows stand for several: as many of them are kept as there would be single ones, and
    # their weights fall instead, so that no more is thrown away than the ratio asks for.
    kept = min(max(round(wanted), 1), int(np.count_nonzero(legitimate)))
    sampler = RandomUnderSampler(sampling_strategy={0: kept}, random_state=seed)
    sampler.fit_resample(np.arange(rows.label.size)[:, np.newaxis], legitimate == 0)
    chosen = np.sort(sampler.sample_indices_)
    if rows.weight is not None:
        weight = weight.copy()
        weight[legitimate] *= wanted / weight[chosen][legitimate[chosen]].sum()
    return LabelledMatrix(
        rows.matrix[chosen],
        rows.label[chosen],
        None if rows.weight is None else weight[chosen].astype(np.float32),
        rows.categorical,
    )


def _smote(rows: LabelledMatrix, ratio: float, seed: int) -> LabelledMatrix:
    weight, fraud = _weights(rows), rows.label == 1
    # A new fraud weighs as much as a legitimate row: beside thinned rows it stands for several.
    of_one = weight[~fraud].mean()
    lacking = ratio * weight[~fraud].sum() - weight[fraud].sum()
    # Rounded down, and first from the noise of sums, so that a second call adds nothing.
    added = math.floor(round(lacking / of_one, 6))
    if added < 1:
        return rows
    drawn = _between_neighbours(rows.matrix[fraud], rows.categorical, added, seed)
    return LabelledMatrix(
        np.concatenate([rows.matrix, drawn]),
        np.concatenate([rows.label, np.ones(added, dtype=rows.label.dtype)]),
        None
        if rows.weight is None
        else np.concatenate([rows.weight, np.full(added, of_one, dtype=np.float32)]),
        rows.categorical,
    )


def _between_neighbours(
    frauds: Matrix, categorical: tuple[int, ...], added: int, seed: int
) -> Matrix:
    """New frauds by SMOTE (Chawla et al. 2002), shape (added, features).

    SMOTE sees nothing but the frauds. It measures distances, so numbers are standardised and their
    gaps filled with the median. Whether a number is missing is a category of its own, like the
    codes: a new fraud has the most frequent one among its neighbours (SMOTE-NC). Without that no
    new fraud would lack a number, and a model would learn that a missing one is a sign of honesty.
    """
    from imblearn.over_sampling import SMOTE, SMOTENC

    count = frauds.shape[0]
    if count < 2:
        raise ValueError(
            "training.imbalance 'smote' draws between two frauds, and there is 1 among the "
            "training rows: take more days, or another method"
        )
    numeric = [i for i in range(frauds.shape[1]) if i not in categorical]
    if not numeric:
        raise ValueError(
            "training.imbalance 'smote' needs a numeric feature, and all are categorical: choose "
            "another method"
        )
    gaps = np.isnan(frauds)
    gappy = [i for i in numeric if gaps[:, i].any()]
    numbers = frauds[:, numeric].astype(np.float64)
    empty = gaps[:, numeric].all(axis=0)
    numbers[:, empty] = 0.0
    numbers = np.where(np.isnan(numbers), np.nanmedian(numbers, axis=0), numbers)
    centre, scale = numbers.mean(axis=0), numbers.std(axis=0)
    scale[scale == 0] = 1.0
    codes = np.where(gaps[:, categorical], -1.0, frauds[:, categorical])
    inputs = np.hstack([(numbers - centre) / scale, codes, gaps[:, gappy]])

    # imblearn wants a second class, of which SMOTE takes no notice.
    other = inputs[:1]
    options: dict[str, Any] = {
        "sampling_strategy": {1: count + added},
        "k_neighbors": min(NEIGHBOURS, count - 1),
        "random_state": seed,
    }
    kinds = list(range(len(numeric), inputs.shape[1]))
    sampler = SMOTENC(kinds, **options) if kinds else SMOTE(**options)
    drawn, _ = sampler.fit_resample(
        np.vstack([other, inputs]), np.r_[0, np.ones(count, dtype=np.int8)]
    )
    drawn = drawn[1 + count :]

    result = np.empty((added, frauds.shape[1]), dtype=np.float32)
    between = drawn[:, : len(numeric)] * scale + centre
    result[:, numeric] = np.clip(between, numbers.min(axis=0), numbers.max(axis=0))
    new_codes = drawn[:, len(numeric) : len(numeric) + len(categorical)]
    result[:, categorical] = np.where(new_codes < 0, np.nan, new_codes)
    for position, column in enumerate(gappy, start=len(numeric) + len(categorical)):
        result[drawn[:, position] == 1, column] = np.nan
    return result


def _weights(rows: LabelledMatrix) -> npt.NDArray[np.float64]:
    return np.ones(rows.label.size) if rows.weight is None else rows.weight.astype(np.float64)


_METHODS: Final[dict[str, Callable[[LabelledMatrix, float, int], LabelledMatrix]]] = {
    "class_weight": _class_weight,
    "undersample": _undersample,
    "smote": _smote,
}
