"""Margins of one encoded row, as fast as each family of models can give them.

Every form reads the same float32 row, which its owner fills (`compiled`), and gives what
`Estimator.margin` gives. Whether it does is checked by the owner. Probabilities are not made here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.encoding import Matrix
from fraud_assets.modeling.estimators import Estimator, LogisticRegressionEstimator
from fraud_assets.modeling.estimators.logistic_regression import Category, LinearModel, Number
from fraud_assets.serving.onnx_form import INPUT, OUTPUT, graph_of, trees_of

Edges = Mapping[int, npt.NDArray[np.float64]]
"""Per column of the matrix, the values at which the model may change its mind."""

ONNX: Final = "onnx"
NATIVE: Final = "native"


class RowMargin(Protocol):
    """The margin of the row that it was made on, as the row is at the time of the call."""

    form: str
    edges: Edges

    def __call__(self) -> float:
        """The margin; not for two threads at once."""


class LibraryMargin:
    """The estimator as it is: the form that needs no proof."""

    form = NATIVE

    def __init__(self, estimator: Estimator, row: Matrix) -> None:
        self.edges: Edges = {}
        self._estimator = estimator
        self._row = row

    def __call__(self) -> float:
        """See `RowMargin`."""
        return float(self._estimator.margin(self._row)[0])


class OnnxMargin:
    """Trees in ONNX Runtime, on the caller's thread, in memory that is bound once.

    Binding took 3 of the 8 microseconds that a call with arrays takes.

    Raises:
        NotConvertibleError: the model has no such form.
    """

    form = ONNX

    def __init__(self, estimator: Estimator, row: Matrix) -> None:
        import onnxruntime

        trees = trees_of(estimator)
        thresholds = defaultdict(list)
        for feature, threshold, leaf in zip(
            trees.feature, trees.threshold, trees.leaf, strict=True
        ):
            if not leaf:
                thresholds[feature].append(threshold)
        self.edges: Edges = {i: np.unique(found) for i, found in thresholds.items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(
            graph_of(trees, row.shape[1]), options, providers=["CPUExecutionProvider"]
        )
        self._row = row
        # LightGBM compares and sums in float64.
        self._double = np.zeros(row.shape) if trees.is_double else None
        given = row if self._double is None else self._double
        found = np.zeros((1, 1), dtype=np.float32)
        self._kept = tuple(
            onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (given, found)
        )
        self._margin = found.data.cast("B").cast("f")
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._kept[0])
        self._binding.bind_ortvalue_output(OUTPUT, self._kept[1])
        self._run = self._session.run_with_iobinding

    def __call__(self) -> float:
        """See `RowMargin`."""
        if self._double is not None:
            self._double[:] = self._row
        self._run(self._binding)
        return self._margin[0]


class LinearMargin:
    """A logistic regression summed in plain Python: numpy's calls cost more than the sums.

    A number x adds `a * min(max(x, low), high) + b * sign(x) log(1 + |x|) + c`, and a missing one
    a constant; a category adds a constant per code.
    """

    form = NATIVE

    def __init__(self, estimator: LogisticRegressionEstimator, row: Matrix) -> None:
        model = LinearModel.model_validate_json(estimator.to_json())
        self._row = row.data.cast("B").cast("f")
        self._base = model.base
        numbers = [(i, c) for i, c in enumerate(model.columns) if isinstance(c, Number)]
        self._numbers = [(i, *_terms(column)) for i, column in numbers]
        self._categories = [
            (i, *_constants(column))
            for i, column in enumerate(model.columns)
            if isinstance(column, Category)
        ]
        self.edges: Edges = {
            i: np.unique([column.low, column.median, column.high, 0.0]) for i, column in numbers
        }

    def __call__(self) -> float:
        """See `RowMargin`."""
        row = self._row.tolist()
        margin = self._base
        for i, low, high, capped, log, rest, missing in self._numbers:
            x = row[i]
            if x != x:  # noqa: PLR0124  NaN
                margin += missing
                continue
            margin += rest + capped * (low if x < low else min(x, high))
            if log:
                margin += log * (math.log1p(x) if x >= 0.0 else -math.log1p(-x))
        for i, constants, rest, missing in self._categories:
            code = row[i]
            margin += missing if code != code else constants.get(code, rest)  # noqa: PLR0124
        return margin


def _terms(column: Number) -> tuple[float, float, float, float, float, float]:
    """low, high, slope of the capped value, slope of the logarithm, constant, all if missing."""
    capped = column.capped.coefficient / column.capped.scale
    log = 0.0 if column.log is None else column.log.coefficient / column.log.scale
    constant = -sum(one.coefficient * one.mean / one.scale for one in column.inputs)
    gap = 0.0 if column.missing is None else column.missing.coefficient / column.missing.scale
    x = column.median
    if_missing = constant + gap + capped * min(max(x, column.low), column.high)
    if_missing += log * math.copysign(math.log1p(abs(x)), x)
    return column.low, column.high, capped, log, constant, if_missing


def _constants(column: Category) -> tuple[dict[float, float], float, float]:
    """What each code adds, what any other does, and what a missing one does."""
    rest = -sum(one.coefficient * one.mean / one.scale for one in column.inputs)
    codes = {
        float(code): rest + one.coefficient / one.scale for code, one in enumerate(column.codes)
    }
    gap = 0.0 if column.missing is None else column.missing.coefficient / column.missing.scale
    return codes, rest, rest + gap


def fast_margin(estimator: Estimator, row: Matrix) -> RowMargin:
    """The fastest form that the family has.

    Raises:
        Exception: whatever a library raises about a model that it does not take.
    """
    if isinstance(estimator, LogisticRegressionEstimator):
        return LinearMargin(estimator, row)
    return OnnxMargin(estimator, row)
