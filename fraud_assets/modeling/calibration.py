"""From margins to probabilities, fitted on days later than the model's training days.

Two methods, chosen between on later days: Platt's sigmoid (Platt 1999) and centred isotonic
regression (Oron and Flournoy 2017). Both are strictly increasing, so calibrating never changes a
ranking. Plain isotonic regression is a step function: its ties put hundreds of transactions on
one score, and average precision and card precision at k are then decided by the order of the file.
How well calibrated a model is, is measured in `metrics`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

Floats = npt.NDArray[np.float64]

SIGMOID_SHARE: Final = 0.01
"""Share of the sigmoid in the isotonic calibrator: gives flat stretches a slope, costs < 0.01."""

MIN_SLOPE: Final = 1e-3
_LARGEST_LOGIT: Final = 34.0
"""Beyond it a double's sigmoid is exactly 1, and certainty is not something a model has."""


class CalibrationError(ValueError):
    """The rows cannot calibrate anything: a class is missing or a margin is not finite."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlattCalibrator(_Model):
    """`1 / (1 + exp(-(slope * margin + intercept)))`."""

    kind: Literal["platt"] = "platt"
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Annotated[float, Field(allow_inf_nan=False)]

    def apply(self, margin: npt.NDArray[Any]) -> Floats:
        """Probabilities in (0, 1), strictly increasing in `margin`; shape kept."""
        logit = self.slope * np.asarray(margin, dtype=np.float64) + self.intercept
        return _sigmoid(logit)


class IsotonicCalibrator(_Model):
    """Linear interpolation between the centres of the isotonic blocks, plus a little sigmoid.

    `margin` and `probability` are the blocks' centres and values, both increasing.
    """

    kind: Literal["isotonic"] = "isotonic"
    margin: tuple[float, ...] = Field(min_length=1)
    probability: tuple[float, ...] = Field(min_length=1)
    sigmoid: PlattCalibrator

    @model_validator(mode="after")
    def _knots_increase(self) -> Self:
        x, y = np.asarray(self.margin), np.asarray(self.probability)
        if x.shape != y.shape or (np.diff(x) <= 0).any() or (np.diff(y) < 0).any():
            raise ValueError("the knots of an isotonic calibrator must increase together")
        if not (np.isfinite(x).all() and y.min() >= 0 and y.max() <= 1):
            raise ValueError("the knots must be finite margins and probabilities")
        return self

    def apply(self, margin: npt.NDArray[Any]) -> Floats:
        """Probabilities in (0, 1), strictly increasing in `margin`; shape kept."""
        value = np.asarray(margin, dtype=np.float64)
        steps = np.interp(value, self.margin, self.probability)
        return (1.0 - SIGMOID_SHARE) * steps + SIGMOID_SHARE * self.sigmoid.apply(value)


Calibrator = PlattCalibrator | IsotonicCalibrator
_ANY: TypeAdapter[Calibrator] = TypeAdapter(Annotated[Calibrator, Field(discriminator="kind")])


def calibrator_from_json(text: str | bytes) -> Calibrator:
    """Read what `calibrator.model_dump_json()` wrote.

    Raises:
        pydantic.ValidationError: unknown kind, or knots that do not increase.
    """
    return _ANY.validate_json(text)


def fit_platt(margin: npt.NDArray[Any], label: npt.NDArray[Any]) -> PlattCalibrator:
    """Platt's sigmoid by Newton's method, with his smoothed targets (Lin, Lin and Weng 2007).

    A model that ranks the validation rows backwards would get a negative slope. The ranking is
    not turned round here: the slope is then held at `MIN_SLOPE`, every probability is close to
    the base rate, and the promotion gate has the word.

    Raises:
        CalibrationError: a class is missing or a margin is not finite.
    """
    x, y = _checked(margin, label)
    positives, negatives = float(y.sum()), float((1 - y).sum())
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre = float(x.mean())
    scale = float(x.std()) or 1.0
    slope, intercept = _newton((x - centre) / scale, target)
    if slope / scale < MIN_SLOPE:
        slope = MIN_SLOPE * scale
        _, intercept = _newton((x - centre) / scale, target, fixed_slope=slope)
    return PlattCalibrator(slope=slope / scale, intercept=intercept - slope * centre / scale)


def fit_isotonic(margin: npt.NDArray[Any], label: npt.NDArray[Any]) -> IsotonicCalibrator:
    """Centred isotonic regression: blocks of equal probability become points, joined by lines.

    Every block's share counts one more row at the base rate, so that a stretch of margins
    without a fraud is improbable and not impossible.

    Raises:
        CalibrationError: a class is missing or a margin is not finite.
    """
    from scipy.optimize import isotonic_regression

    x, y = _checked(margin, label)
    values, place, rows = np.unique(x, return_inverse=True, return_counts=True)
    frauds = np.bincount(place, weights=y)
    blocks = isotonic_regression(frauds / rows, weights=rows).blocks
    block_rows = np.add.reduceat(rows, blocks[:-1])
    block_frauds = np.add.reduceat(frauds, blocks[:-1])
    centre = np.add.reduceat(values * rows, blocks[:-1]) / block_rows
    share = (block_frauds + y.mean()) / (block_rows + 1)
    centre, first = np.unique(centre, return_index=True)  # float sums of close margins may meet
    return IsotonicCalibrator(
        margin=tuple(centre.tolist()),
        probability=tuple(np.maximum.accumulate(share)[first].tolist()),
        sigmoid=fit_platt(margin, label),
    )


def choose_calibrator(
    margin: npt.NDArray[Any], label: npt.NDArray[Any], day: npt.NDArray[Any]
) -> Calibrator:
    """Whichever method has the lower Brier score on the later days, refitted on all of them.

    The days are cut in two where the frauds are halved best; the earlier part fits, the later one
    judges. Where no cut leaves frauds and legitimate rows on both sides (a single day, say), Platt
    is taken: two parameters overfit least. It also wins ties.

    Args:
        margin: shape (n,), finite.
        label: shape (n,), 0 or 1.
        day: shape (n,), anything that sorts by time.

    Raises:
        CalibrationError: a class is missing or a margin is not finite.
    """
    x, y = _checked(margin, label)
    early = _earlier_half(y, np.asarray(day))
    if early is None:
        return fit_platt(x, y)
    late_x, late_y = x[~early], y[~early]
    brier = {
        fit: float(np.mean((fit(x[early], y[early]).apply(late_x) - late_y) ** 2))
        for fit in (fit_platt, fit_isotonic)
    }
    return min(brier, key=lambda fit: brier[fit])(x, y)


def _earlier_half(label: Floats, day: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    days, place = np.unique(day, return_inverse=True)
    frauds = np.cumsum(np.bincount(place, weights=label))
    rows = np.cumsum(np.bincount(place))
    legitimate = rows - frauds
    both = [
        i
        for i in range(days.size - 1)
        if 0 < frauds[i] < frauds[-1] and 0 < legitimate[i] < legitimate[-1]
    ]
    if not both:
        return None
    cut = min(both, key=lambda i: abs(frauds[i] - frauds[-1] / 2))
    early: npt.NDArray[np.bool_] = place <= cut
    return early


def _checked(margin: npt.NDArray[Any], label: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    x, y = np.asarray(margin, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise CalibrationError(f"margins {x.shape} and labels {y.shape} must be of one length")
    if not np.isfinite(x).all():
        raise CalibrationError(f"{int((~np.isfinite(x)).sum())} margins are not finite")
    if not 0 < y.sum() < y.size:
        raise CalibrationError(
            f"{y.size} rows with {int(y.sum())} frauds: calibrating needs both classes"
        )
    return x, y


def _newton(x: Floats, target: Floats, fixed_slope: float | None = None) -> tuple[float, float]:
    """Slope and intercept that minimise the log loss; the loss is convex, halving keeps it so."""
    rate = float(target.mean())
    slope, intercept = fixed_slope or 0.0, float(np.log(rate / (1 - rate)))
    free = fixed_slope is None

    def loss(a: float, b: float) -> float:
        logit = a * x + b
        return float(np.mean(np.logaddexp(0.0, logit) - target * logit))

    current = loss(slope, intercept)
    for _ in range(100):
        probability = _sigmoid(slope * x + intercept)
        residual, curvature = probability - target, probability * (1 - probability)
        gradient = np.array([np.mean(residual * x) if free else 0.0, np.mean(residual)])
        hessian = np.array(
            [
                [np.mean(curvature * x * x) if free else 1.0, np.mean(curvature * x) * free],
                [np.mean(curvature * x) * free, np.mean(curvature)],
            ]
        )
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while length > 1e-6 and loss(slope - length * step[0], intercept - length * step[1]) > (
            current
        ):
            length /= 2
        slope, intercept = slope - length * step[0], intercept - length * step[1]
        previous, current = current, loss(slope, intercept)
        if abs(previous - current) < 1e-12:
            break
    return float(slope), float(intercept)


def _sigmoid(logit: Floats) -> Floats:
    bounded = np.clip(logit, -_LARGEST_LOGIT, _LARGEST_LOGIT)
    result: Floats = 1.0 / (1.0 + np.exp(-bounded))
    return result
