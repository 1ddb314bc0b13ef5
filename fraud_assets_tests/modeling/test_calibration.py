"""Margins to probabilities: strictly increasing, calibrated, and kept as JSON."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_assets.modeling.calibration import (
    CalibrationError,
    IsotonicCalibrator,
    PlattCalibrator,
    calibrator_from_json,
    choose_calibrator,
    fit_isotonic,
    fit_platt,
)
from fraud_assets.modeling.metrics import average_precision, brier, expected_calibration_error

Floats = npt.NDArray[np.float64]


def sample(
    n: int, seed: int, slope: float = 0.5, intercept: float = -3.0
) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Margins, and labels that follow a sigmoid of them."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, n)
    label = rng.random(n) < 1 / (1 + np.exp(-(slope * margin + intercept)))
    return margin, label.astype(np.int8)


def stepped(n: int, seed: int) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Labels whose probability jumps, which no sigmoid can follow."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, n)
    return margin, (rng.random(n) < np.where(margin > 0, 0.3, 0.02)).astype(np.int8)


def test_platt_finds_the_sigmoid_that_made_the_labels() -> None:
    calibrator = fit_platt(*sample(200_000, 1))

    assert calibrator.slope == pytest.approx(0.5, abs=0.02)
    assert calibrator.intercept == pytest.approx(-3.0, abs=0.05)


def test_platt_stays_finite_on_separable_labels() -> None:
    margin = np.array([-1e3, -2.0, -1.0, 1.0, 2.0, 1e3])
    label = np.array([0, 0, 0, 1, 1, 1])

    probability = fit_platt(margin, label).apply(margin)

    assert ((probability > 0) & (probability < 1)).all()


def test_a_backward_ranking_is_not_turned_round() -> None:
    margin, label = sample(5_000, 1, slope=1.0)

    calibrator = fit_platt(-margin, label)

    assert calibrator.slope > 0
    assert calibrator.apply(-margin).mean() == pytest.approx(label.mean(), abs=0.01)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(20, 400))
def test_calibrating_is_strictly_increasing_and_inside_zero_and_one(fit, seed, n) -> None:
    margin, label = sample(n, seed, intercept=-1.0)
    label[0], label[1] = 0, 1
    grid = np.linspace(-12, 12, 2_001)

    probability = fit(margin, label).apply(grid)

    assert (np.diff(probability) > 0).all()
    assert probability.min() > 0
    assert probability.max() < 1


def test_calibrating_does_not_change_average_precision_where_plain_isotonic_does() -> None:
    from sklearn.isotonic import IsotonicRegression

    margin, label = sample(4_000, 1)
    later_margin, later_label = sample(4_000, 2)
    calibrator = fit_isotonic(margin, label)
    plain = IsotonicRegression(out_of_bounds="clip").fit(margin, label)

    truth = average_precision(later_label, later_margin)

    assert average_precision(later_label, calibrator.apply(later_margin)) == pytest.approx(truth)
    assert average_precision(later_label, plain.predict(later_margin)) != pytest.approx(truth)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_probabilities_match_frequencies_on_later_rows(fit) -> None:
    later_margin, later_label = sample(50_000, 2)
    uncalibrated = 1 / (1 + np.exp(-later_margin))

    error = expected_calibration_error(
        later_label, fit(*sample(20_000, 1)).apply(later_margin), bins=10
    )

    assert error is not None
    assert error < 0.01
    assert expected_calibration_error(later_label, uncalibrated, bins=10) > 0.2


def test_a_stretch_without_fraud_is_improbable_and_not_impossible() -> None:
    margin = np.concatenate([np.linspace(-5, 0, 1_000), np.linspace(0.1, 1, 20)])
    label = np.concatenate([np.zeros(1_000), np.ones(20)])

    probability = fit_isotonic(margin, label).apply(np.array([-5.0, -2.5]))

    assert (probability > 0).all()
    assert (probability < 0.002).all()


def test_isotonic_is_chosen_where_no_sigmoid_fits_and_platt_where_one_does() -> None:
    day = np.repeat(np.arange(10), 4_000)

    assert choose_calibrator(*stepped(40_000, 1), day).kind == "isotonic"
    assert choose_calibrator(*sample(400, 3), np.repeat(np.arange(10), 40)).kind == "platt"


def test_a_single_day_is_calibrated_with_the_sigmoid() -> None:
    margin, label = stepped(5_000, 1)

    assert choose_calibrator(margin, label, np.zeros(5_000)) == fit_platt(margin, label)


def test_the_choice_looks_at_days_and_not_at_the_order_of_the_rows() -> None:
    margin, label = stepped(2_000, 5)
    day = np.repeat(np.arange(4), 500)
    shuffled = np.random.default_rng(0).permutation(2_000)

    one = choose_calibrator(margin, label, day)
    other = choose_calibrator(margin[shuffled], label[shuffled], day[shuffled])

    grid = np.linspace(-6, 6, 50)
    np.testing.assert_allclose(one.apply(grid), other.apply(grid), rtol=1e-9)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_json_keeps_every_bit(fit) -> None:
    margin, label = sample(500, 1)
    calibrator = fit(margin, label)

    again = calibrator_from_json(calibrator.model_dump_json())

    assert again == calibrator
    np.testing.assert_array_equal(again.apply(margin), calibrator.apply(margin))


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "pickle"}',
        '{"kind": "platt", "slope": -1.0, "intercept": 0.0}',
        '{"kind": "isotonic", "margin": [0, 1], "probability": [0.5, 0.1], "sigmoid": SIGMOID}',
        '{"kind": "isotonic", "margin": [1, 0], "probability": [0.1, 0.5], "sigmoid": SIGMOID}',
    ],
)
def test_a_calibrator_that_could_reverse_a_ranking_is_not_read(text: str) -> None:
    with pytest.raises(ValidationError):
        calibrator_from_json(text.replace("SIGMOID", '{"slope": 1, "intercept": 0}'))


def test_one_class_or_a_missing_margin_calibrates_nothing() -> None:
    with pytest.raises(CalibrationError, match="needs both classes"):
        fit_platt(np.arange(3.0), np.zeros(3))
    with pytest.raises(CalibrationError, match="1 margins are not finite"):
        fit_isotonic(np.array([0.0, np.nan]), np.array([0, 1]))
    with pytest.raises(CalibrationError, match="one length"):
        fit_platt(np.arange(3.0), np.zeros(2))


def test_the_sigmoid_in_the_isotonic_calibrator_costs_little_brier() -> None:
    margin, label = stepped(20_000, 1)
    calibrator = fit_isotonic(margin, label)
    bare = np.interp(margin, calibrator.margin, calibrator.probability)

    assert isinstance(calibrator, IsotonicCalibrator)
    assert isinstance(calibrator.sigmoid, PlattCalibrator)
    assert abs(brier(label, calibrator.apply(margin)) - brier(label, bare)) < 1e-4
