"""The rows that estimators learn from, and the register of families."""

from __future__ import annotations

import numpy as np
import pytest

from fraud_assets.modeling.estimators import LabelledMatrix, make_estimator
from fraud_assets.modeling.estimators.base import MAX_FORMS

MATRIX = np.zeros((4, 3), dtype=np.float32)
LABEL = np.array([0, 1, 0, 1], dtype=np.int8)


def test_a_form_is_made_once_and_the_least_recent_one_goes():
    rows = LabelledMatrix(MATRIX, LABEL)
    made: list[int] = []

    def form(key: int) -> str:
        def make() -> str:
            made.append(key)
            return f"form {key}"

        return rows.form(key, make)

    for key in range(MAX_FORMS):
        form(key)
    assert form(0) == "form 0"
    form(MAX_FORMS)  # the first one was used since, the second one goes
    form(0)
    assert made == list(range(MAX_FORMS + 1))
    form(1)
    assert made[-1] == 1
    assert len(rows.prepared) == MAX_FORMS


def test_forms_belong_to_one_matrix():
    first, second = LabelledMatrix(MATRIX, LABEL), LabelledMatrix(MATRIX, LABEL)
    first.form("key", lambda: 1)

    assert second.form("key", lambda: 2) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": LABEL[:3]}, r"label has shape \(3,\), expected \(4,\)"),
        ({"weight": np.ones((4, 1), dtype=np.float32)}, r"weight has shape \(4, 1\)"),
        ({"matrix": MATRIX[0]}, "has 1 dimensions, expected 2"),
        ({"categorical": (0, 3)}, r"categorical columns \[3\] are not among the 3 columns"),
        ({"categorical": (-1,)}, r"categorical columns \[-1\]"),
    ],
)
def test_shapes_that_do_not_fit_together_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        LabelledMatrix(**{"matrix": MATRIX, "label": LABEL, **changed})


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="there are: xgboost, lightgbm, random_forest, logistic"):
        make_estimator("perceptron")
