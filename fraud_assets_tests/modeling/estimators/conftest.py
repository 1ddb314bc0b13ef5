"""Rows to learn from, shared by the tests of all families."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fraud_assets.modeling.estimators import LabelledMatrix


def make_sample(n: int, seed: int) -> LabelledMatrix:
    """Five columns, the last one a category of six codes; 10 % fraud, gaps everywhere."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 5)).astype(np.float32)
    matrix[:, 4] = rng.choice(6, n, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
    logit = 2 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + 2 * (matrix[:, 4] == 3) - 4
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    matrix[rng.random((n, 5)) < 0.05] = np.nan
    return LabelledMatrix(matrix, label, categorical=(4,))


@pytest.fixture(scope="session")
def sample() -> Callable[[int, int], LabelledMatrix]:
    return make_sample
