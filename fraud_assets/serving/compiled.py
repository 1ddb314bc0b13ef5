"""Scores one transaction from its plain values, in microseconds.

A model, or the rules, in the form that is fastest for a single row and says what the batch says:
at load the form is compared with the model itself on rows that would show a difference. Which
model answers is decided in `lineup`.
"""

from __future__ import annotations

import logging
import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from threading import Lock
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from fraud_assets.modeling.calibration import (
    _LARGEST_LOGIT,
    SIGMOID_SHARE,
    Calibrator,
    PlattCalibrator,
)
from fraud_assets.modeling.encoding import FeatureEncoder, Matrix, MissingFeaturesError
from fraud_assets.modeling.explain import reason_codes
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.serving.margins import LibraryMargin, RowMargin, fast_margin
from fraud_assets.transactions.columns import AMOUNT

_log = logging.getLogger(__name__)

Value = float | str | None
RULES: Final = "rules"

TOLERANCE: Final = 1e-6
"""How far a probability may be from the model's own."""

PROBES: Final = 2_000
_MISSING_SHARE: Final = 0.1
_UNSEEN: Final = "\0 a category of no transaction"
_NAN: Final = math.nan
_INFINITE: Final = math.inf


class RowScorer(Protocol):
    """What answers for one transaction: a model or the rules."""

    @property
    def version(self) -> str:
        """The name that its answers carry."""

    @property
    def model_hash(self) -> str:
        """Hash of everything that its scores depend on."""

    @property
    def threshold(self) -> float:
        """Scores at or above it are alerts."""

    @property
    def form(self) -> str:
        """`onnx`, `native` or `rules`."""

    def score(self, values: Sequence[Value]) -> float:
        """The probability of fraud of a transaction with these features.

        Raises:
            ValueError: a number is infinite, or text stands where a number is needed; names it.
                Or what the model says of them is no probability, such as NaN.
        """

    def reasons(self, values: Sequence[Value], k: int = 3) -> list[str]:
        """At most `k` sentences about why it is suspicious; raises as `score` does."""


def row_scorer(model: FraudModel, names: Sequence[str]) -> ModelRow:
    """A model for single rows, in the fastest form that agrees with it.

    Args:
        model: loaded and verified.
        names: what the values will be, in their order; may hold more than the model needs.

    Raises:
        MissingFeaturesError: the model needs a feature that is not among `names`.
    """
    row = _Row(model.encoder, names)
    try:
        fast = ModelRow(model, row, fast_margin(model.estimator, row.matrix))
        difference = largest_difference(model, fast, names)
        if difference <= TOLERANCE:
            return fast
        why = f"its {fast.form} form is {difference:.2g} off in probability"
    except Exception as error:  # noqa: BLE001  whatever a library says, the model itself serves
        why = f"it has no faster form: {type(error).__name__}: {error}"
    _log.warning("version %s is scored by its own library: %s", model.version, why)
    return ModelRow(model, row, LibraryMargin(model.estimator, row.matrix), why_native=why)


def rules_scorer(rules: RuleSet, names: Sequence[str]) -> RulesRow:
    """The rules for single rows.

    Raises:
        MissingFeaturesError: `amount` is not among `names`.
    """
    return RulesRow(rules, names)


class ModelRow:
    """A model and one row that it fills again and again; the lock keeps threads apart.

    `why_native` says why there is no faster form, and is None where this is the fastest.
    """

    def __init__(
        self, model: FraudModel, row: _Row, margin: RowMargin, *, why_native: str | None = None
    ) -> None:
        self.model = model
        self.version = model.version
        self.model_hash = model.model_hash
        self.threshold = model.policy.threshold
        self.form = margin.form
        self.edges = margin.edges
        self.why_native = why_native
        self._row = row
        self._margin = margin
        self._calibrated = calibrated(model.calibrator)
        self._lock = Lock()
        self._types = {
            name: getattr(pl, model.manifest.features[name]) for name in model.encoder.columns
        }

    def score(self, values: Sequence[Value]) -> float:
        """See `RowScorer.score`."""
        with self._lock:
            self._row.fill(values)
            margin = self._margin()
        probability = self._calibrated(margin)
        if not 0.0 <= probability <= 1.0:  # NaN is not either
            # JSON has no NaN: an answer with one could be journaled and never be read again.
            raise ValueError(f"the model's score is {probability}, which is no probability")
        return probability

    def reasons(self, values: Sequence[Value], k: int = 3) -> list[str]:
        """See `RowScorer.reasons`; the sentences of `FraudModel.reasons`."""
        with self._lock:
            self._row.fill(values)
            matrix = self._row.matrix.copy()
        # With the types of the batch, so that a float32 is told as one; from a row, as that takes a
        # fifth of the time that twenty columns of one value take.
        given = [values[place] for place in self._row.places]
        rows = pl.DataFrame([given], schema=self._types, orient="row", strict=False)
        contributions = self.model.estimator.contributions(matrix)
        return reason_codes(rows, contributions, self.model.manifest.typical_values, k)[0]


class RulesRow:
    """The rule set on plain values."""

    form = RULES

    def __init__(self, rules: RuleSet, names: Sequence[str]) -> None:
        self.version = rules.version
        self.model_hash = rules.model_hash
        self.threshold = rules.threshold
        self._rules = rules.on_rows(names)
        self._columns = [(name, list(names).index(name)) for name in self._rules.columns]

    def score(self, values: Sequence[Value]) -> float:
        """See `RowScorer.score`."""
        return self._rules.score(self._read(values))

    def reasons(self, values: Sequence[Value], k: int = 3) -> list[str]:
        """See `RowScorer.reasons`; empty where no rule fired."""
        return self._rules.reasons(self._read(values), k)

    def _read(self, values: Sequence[Value]) -> dict[str, float | None]:
        # Features are float32 in batch, the amount is not. Nothing is refused: when a model cannot
        # take a row, the rules have to.
        row: dict[str, Any] = {}
        for name, place in self._columns:
            value = values[place]
            row[name] = value if value is None or name == AMOUNT else _as_float32(value)
        return row


class _Row:
    """One row of the matrix that `FeatureEncoder.encode` makes, filled from plain values."""

    def __init__(self, encoder: FeatureEncoder, names: Sequence[str]) -> None:
        place = {name: i for i, name in enumerate(names)}
        absent = [name for name in encoder.columns if name not in place]
        if absent:
            raise MissingFeaturesError(
                f"the model needs {', '.join(absent)}, which the profile does not declare"
            )
        self.columns = encoder.columns
        self.places = [place[name] for name in encoder.columns]
        self.matrix: Matrix = np.zeros((1, len(encoder.columns)), dtype=np.float32)
        self._bytes = self.matrix.data.cast("B")
        self._pack_into = struct.Struct(f"={len(encoder.columns)}f").pack_into
        self._numbers = _picker([place[name] for name in encoder.numeric])
        self._codes = [
            (place[name], {text: float(code) for code, text in enumerate(vocabulary)})
            for name, vocabulary in encoder.vocabularies.items()
        ]

    def fill(self, values: Sequence[Value]) -> None:
        """Make `matrix` the row of `values`; raises as `RowScorer.score` does."""
        numbers: list[Any] = [_NAN if v is None else v for v in self._numbers(values)]
        if _INFINITE in numbers or -_INFINITE in numbers:
            raise ValueError(self._said(values))
        codes: list[Any] = [codes.get(values[i], _NAN) for i, codes in self._codes]  # type: ignore[arg-type]
        try:
            self._pack_into(self._bytes, 0, *numbers, *codes)
        except (struct.error, OverflowError) as error:
            raise ValueError(self._said(values)) from error

    def _said(self, values: Sequence[Value]) -> str:
        numbers = zip(self.columns, self._numbers(values), strict=False)
        known = [(name, value) for name, value in numbers if value is not None]
        text = [name for name, value in known if isinstance(value, str)]
        if text:
            return f"the model needs numbers in {', '.join(text)}"
        return _said_infinite([name for name, value in known if math.isinf(_as_float32(value))])


def _picker(places: Sequence[int]) -> Callable[[Sequence[Value]], tuple[Value, ...]]:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[i] for i in places)


def _as_float32(value: Any) -> float:  # noqa: ANN401
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(_INFINITE, value)


def _said_infinite(names: list[str]) -> str:
    return f"infinite values in {', '.join(names)}: a feature is a finite number or null"


def calibrated(calibrator: Calibrator) -> Callable[[float], float]:
    """`calibrator.apply` for one margin, without numpy, whose calls take microseconds each."""
    sigmoid = calibrator if isinstance(calibrator, PlattCalibrator) else calibrator.sigmoid
    slope, intercept = sigmoid.slope, sigmoid.intercept
    largest, exp = _LARGEST_LOGIT, math.exp

    def platt(margin: float) -> float:
        logit = slope * margin + intercept
        return 1.0 / (1.0 + exp(-min(max(logit, -largest), largest)))

    if isinstance(calibrator, PlattCalibrator):
        return platt
    x, y = calibrator.margin, calibrator.probability

    def isotonic(margin: float) -> float:
        after = bisect_right(x, margin)
        if after == 0:
            step = y[0]
        elif after == len(x):
            step = y[-1]
        else:
            i = after - 1
            step = (y[after] - y[i]) / (x[after] - x[i]) * (margin - x[i]) + y[i]
        return (1.0 - SIGMOID_SHARE) * step + SIGMOID_SHARE * platt(margin)

    return isotonic


def largest_difference(model: FraudModel, scorer: ModelRow, names: Sequence[str]) -> float:
    """How far `scorer` is from `model` on rows made to show it, in probability.

    The rows mix, column by column and with a fixed seed, what is usual in training, the values at
    which the model changes its mind and their float32 neighbours, zero, numbers far out, missing
    values and, of categories, all that are known and one that is not.
    """
    generator = np.random.default_rng(7)
    columns: dict[str, list[Value]] = {}
    for i, name in enumerate(model.encoder.columns):
        choices = _probe_values(model, name, scorer.edges.get(i, np.empty(0)))
        picked: list[Value] = [choices[j] for j in generator.integers(0, len(choices), PROBES)]
        gaps = generator.random(PROBES) < _MISSING_SHARE
        columns[name] = [
            None if gap else value for value, gap in zip(picked, gaps.tolist(), strict=True)
        ]
    schema = {
        name: pl.String if name in model.encoder.vocabularies else pl.Float64 for name in columns
    }
    expected = model.probabilities(pl.DataFrame(columns, schema=schema))
    nothing: list[Value] = [None] * PROBES
    rows = zip(*(columns.get(name, nothing) for name in names), strict=True)
    found = np.array([scorer.score(row) for row in rows])
    return float(np.abs(found - expected).max())


def _probe_values(model: FraudModel, name: str, edges: Any) -> list[Value]:  # noqa: ANN401
    if name in model.encoder.vocabularies:
        return [*model.encoder.vocabularies[name], _UNSEEN]
    typical = model.manifest.typical_values.get(name)
    usual = float(typical) if isinstance(typical, int | float) else 1.0
    near = np.asarray([*edges, usual, 0.0], dtype=np.float32)
    lowest, highest = np.float32(-np.inf), np.float32(np.inf)
    numbers = np.concatenate(
        [
            near,
            np.nextafter(near, lowest),
            np.nextafter(near, highest),
            np.asarray([-1e6, -usual, -1.0, usual / 2, 2 * usual, 10 * usual, 1e6], np.float32),
        ]
    )
    return [float(number) for number in numbers]
