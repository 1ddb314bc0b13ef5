"""What every family of models keeps to."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fraud_assets.modeling.estimators import (
    ESTIMATORS,
    Estimator,
    LabelledMatrix,
    make_estimator,
)
from fraud_assets.modeling.metrics import average_precision

FAMILIES = ("xgboost", "lightgbm", "random_forest", "logistic_regression")
BOOSTED = ("xgboost", "lightgbm")
MONOTONE = tuple(name for name in FAMILIES if ESTIMATORS[name]().keeps_monotone)
SAMPLED = {
    "xgboost": {"subsample": 0.7, "colsample_bytree": 0.7},
    "lightgbm": {"bagging_fraction": 0.7, "feature_fraction": 0.7},
    "random_forest": {"n_estimators": 20},
    "logistic_regression": {},
}
"""Parameters that make the families random where they can be."""

pytestmark = pytest.mark.parametrize("name", FAMILIES)


class StopError(Exception):
    """What a pruned trial raises."""


def fitted(
    name: str, train: LabelledMatrix, *, threads: int = 1, seed: int = 7, rounds: int = 15, **params
) -> Estimator:
    estimator = make_estimator(name)
    given = {**SAMPLED[name], **params}
    estimator.fit(train, None, given, rounds=rounds, seed=seed, threads=threads)
    return estimator


def saved(estimator: Estimator, folder: Path) -> bytes:
    path = folder / estimator.file_name
    estimator.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def models(sample) -> dict[str, Estimator]:
    return {name: fitted(name, sample(2_000, 1)) for name in FAMILIES}


def test_the_same_data_and_seed_give_the_same_bytes_whatever_the_threads(name, sample, tmp_path):
    one, again, threads, other_seed = (
        saved(fitted(name, sample(6_000, 1), **options), tmp_path)
        for options in ({}, {}, {"threads": 2}, {"seed": 8})
    )

    assert again == one
    assert threads == one
    assert (other_seed == one) == (name == "logistic_regression")


def test_what_an_estimator_learnt_before_leaves_no_trace(name, sample, tmp_path):
    rows = sample(1_000, 1)
    used = fitted(name, rows, seed=3)
    used.fit(rows, sample(500, 2), {}, rounds=5, seed=4, threads=1)
    used.fit(rows, None, SAMPLED[name], rounds=15, seed=7, threads=1)

    assert saved(used, tmp_path) == saved(fitted(name, sample(1_000, 1)), tmp_path)


def test_a_loaded_model_scores_and_explains_as_the_saved_one(name, models, sample, tmp_path):
    content = saved(models[name], tmp_path)
    again = make_estimator(name)
    again.load(tmp_path / again.file_name, threads=2)
    later = sample(500, 2).matrix

    np.testing.assert_array_equal(again.margin(later), models[name].margin(later))
    np.testing.assert_array_equal(again.contributions(later), models[name].contributions(later))
    assert again.feature_count == models[name].feature_count == 5
    assert saved(again, tmp_path) == content


def test_a_row_scores_alone_as_among_others(name, models, sample):
    later = sample(50, 2).matrix
    together = models[name].margin(later), models[name].contributions(later)

    for row in range(50):
        assert models[name].margin(later[row : row + 1]) == together[0][row]
        np.testing.assert_array_equal(
            models[name].contributions(later[row : row + 1])[0], together[1][row]
        )


numbers = st.floats(width=32, allow_infinity=False, min_value=-1e9, max_value=1e9)
matrices = arrays.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(5)), elements=numbers)


@settings(max_examples=50, deadline=None)
@given(matrix=matrices)
def test_contributions_add_up_to_the_margin_of_any_row(name, models, matrix):
    contributions, margin = models[name].contributions(matrix), models[name].margin(matrix)

    assert contributions.shape == (matrix.shape[0], 6)
    assert margin.shape == (matrix.shape[0],)
    assert np.isfinite(margin).all()
    np.testing.assert_allclose(contributions.sum(axis=1), margin, rtol=1e-5, atol=1e-4)
    assert np.ptp(contributions[:, -1]) == 0


def test_it_learns(name, models, sample):
    later = sample(3_000, 2)

    value = average_precision(later.label, models[name].margin(later.matrix))

    assert value is not None
    assert value > 3 * later.label.mean()


def test_weights_stand_for_repeated_rows(name, sample):
    rows = sample(400, 1)
    doubled = LabelledMatrix(
        np.repeat(rows.matrix, 2, axis=0), np.repeat(rows.label, 2), categorical=(4,)
    )
    weighted = LabelledMatrix(
        rows.matrix, rows.label, np.full(400, 2, dtype=np.float32), categorical=(4,)
    )
    # As many rows per leaf, whether counted or weighed, and no sampling of rows.
    params = {
        "lightgbm": {"min_data_in_leaf": 1, "bagging_fraction": 1.0, "feature_fraction": 1.0},
        "random_forest": {"n_estimators": 1, "max_samples": 1.0, "max_features": 1.0},
        "xgboost": {"subsample": 1.0, "colsample_bytree": 1.0},
    }
    margins = [
        fitted(name, train, rounds=5, **params.get(name, {})).margin(rows.matrix)
        for train in (doubled, weighted)
    ]

    # The candidate splits may differ by a quantile, the probabilities hardly.
    assert np.abs(margins[0] - margins[1]).mean() < 0.05
    assert np.std(margins[0]) > 0.2


def test_weights_change_what_is_learnt(name, sample):
    rows = sample(600, 1)
    heavy = np.where(rows.label == 1, 20, 1).astype(np.float32)
    weighted = LabelledMatrix(rows.matrix, rows.label, heavy, categorical=(4,))

    plain, bent = fitted(name, rows), fitted(name, weighted)

    # A forest's margin moves less: its scale is that of shares and no log-odds.
    change = bent.margin(rows.matrix).mean() - plain.margin(rows.matrix).mean()
    assert change > (0.05 if name == "random_forest" else 0.3)


def test_a_number_missing_for_the_first_time_gets_a_finite_score(name):
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(500, 3)).astype(np.float32)
    label = (matrix[:, 0] + rng.normal(size=500) > 1).astype(np.int8)
    estimator = fitted(name, LabelledMatrix(matrix, label))

    margin = estimator.margin(np.full((1, 3), np.nan, dtype=np.float32))

    assert np.isfinite(margin).all()


def test_absence_itself_is_learnt(name):
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(800, 2)).astype(np.float32)
    label = (rng.random(800) < 0.1).astype(np.int8)
    matrix[label == 1, 0] = np.nan

    estimator = fitted(name, LabelledMatrix(matrix, label))
    lacking = estimator.margin(np.array([[np.nan, 0.0]], dtype=np.float32))
    given_one = estimator.margin(np.array([[0.0, 0.0]], dtype=np.float32))

    assert lacking > given_one + 0.5


@pytest.mark.parametrize("value", [1.0, 0.1, np.nan])
def test_columns_without_information_say_nothing(name, value):
    rng = np.random.default_rng(4)
    matrix = np.full((400, 3), value, dtype=np.float32)
    matrix[:, 1] = rng.normal(size=400)
    label = (matrix[:, 1] > 1).astype(np.int8)

    contributions = fitted(name, LabelledMatrix(matrix, label)).contributions(matrix)

    np.testing.assert_allclose(contributions[:, [0, 2]], 0, atol=1e-9)
    assert np.ptp(contributions[:, 1]) > 0.5


def test_a_single_column_is_enough(name):
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(400, 1)).astype(np.float32)
    label = (matrix[:, 0] > 1).astype(np.int8)

    estimator = fitted(name, LabelledMatrix(matrix, label))

    assert estimator.feature_count == 1
    assert average_precision(label, estimator.margin(matrix)) > 0.9


def test_rows_that_are_all_alike_give_one_score(name):
    rows = LabelledMatrix(np.ones((100, 2), np.float32), (np.arange(100) < 20).astype(np.int8))
    estimator = make_estimator(name)

    kept = estimator.fit(rows, rows, {}, rounds=5, seed=1, threads=1)

    assert kept >= 1
    assert np.ptp(estimator.margin(rows.matrix)) == 0


def test_later_days_are_told_round_by_round_and_the_best_is_kept(name, sample):
    train, watched = sample(1_000, 1), sample(1_000, 2)
    fast = {
        "xgboost": {"learning_rate": 0.5, "max_depth": 8},
        "lightgbm": {"learning_rate": 0.5, "num_leaves": 60},
    }
    told: list[tuple[int, float]] = []
    estimator = make_estimator(name)

    kept = estimator.fit(
        train,
        watched,
        fast.get(name, {}),
        rounds=300,
        seed=1,
        threads=1,
        on_round=lambda number, value: told.append((number, value)),
    )

    values = [value for _, value in told]
    assert [number for number, _ in told] == list(range(len(told)))
    assert kept == int(np.argmax(values)) + 1
    reached = average_precision(watched.label, estimator.margin(watched.matrix))
    # XGBoost interpolates between the points of the curve.
    assert max(values) == pytest.approx(reached, abs=0.01 if name == "xgboost" else 1e-6)
    if name in BOOSTED:
        assert kept < len(told) < 300
    else:
        assert len(told) == 1


def test_watching_does_nothing_but_choose_the_rounds(name, sample):
    rows, watched = sample(800, 1), sample(800, 2)
    estimator = make_estimator(name)
    kept = estimator.fit(rows, watched, SAMPLED[name], rounds=100, seed=1, threads=1)

    alone = fitted(name, rows, seed=1, rounds=kept)

    np.testing.assert_array_equal(alone.margin(rows.matrix), estimator.margin(rows.matrix))


def test_the_weights_of_the_watched_rows_count(name, sample):
    train, rows = sample(1_000, 1), sample(1_000, 2)
    weight = np.where(rows.label == 1, 1, 9).astype(np.float32)
    first = {}
    for key, given_weight in (("plain", None), ("thinned", weight)):
        watched = LabelledMatrix(rows.matrix, rows.label, given_weight, rows.categorical)
        told: list[float] = []
        make_estimator(name).fit(
            train, watched, {}, rounds=1, seed=1, threads=1,
            on_round=lambda _, value, told=told: told.append(value),
        )  # fmt: skip
        first[key] = told[0]

    assert first["thinned"] < first["plain"] - 0.05


def test_a_pruned_fit_ends_at_once_and_leaves_the_estimator_as_it_was(name, models, sample):
    estimator = fitted(name, sample(1_000, 1))
    before = estimator.margin(sample(50, 2).matrix)
    told: list[int] = []

    def stop(number: int, _: float) -> None:
        told.append(number)
        if number == 3 or name not in BOOSTED:
            raise StopError

    with pytest.raises(StopError):
        estimator.fit(
            sample(1_000, 9), sample(500, 2), {}, rounds=50, seed=1, threads=1, on_round=stop
        )

    assert told == ([0, 1, 2, 3] if name in BOOSTED else [0])
    np.testing.assert_array_equal(estimator.margin(sample(50, 2).matrix), before)


def test_monotone_directions_are_kept_everywhere_or_refused(name, sample):
    rows = sample(3_000, 1)
    # The label rises with column 0 and falls with column 1, but for noise and a bend.
    rng = np.random.default_rng(8)
    logit = 2 * np.sin(2 * np.nan_to_num(rows.matrix[:, 0])) - np.nan_to_num(rows.matrix[:, 1])
    label = (rng.random(3_000) < 1 / (1 + np.exp(2 - logit))).astype(np.int8)
    train = LabelledMatrix(rows.matrix, label)
    estimator = make_estimator(name)
    options = {"rounds": 30, "seed": 1, "threads": 1}
    if name not in MONOTONE:
        with pytest.raises(ValueError, match="cannot keep monotone constraints: drop"):
            estimator.fit(train, None, {}, monotone=[1, -1, 0, 0, 0], **options)
        return

    steps = np.linspace(-4, 4, 200, dtype=np.float32)
    changes = {}
    for key, monotone in (("free", None), ("kept", [1, -1, 0, 0, 0])):
        estimator.fit(train, None, {}, monotone=monotone, **options)
        for column in (0, 1):
            grid = np.repeat(sample(30, 2).matrix, 200, axis=0)
            grid[:, column] = np.tile(steps, 30)
            changes[key, column] = np.diff(estimator.margin(grid).reshape(30, 200), axis=1)

    assert (changes["kept", 0] >= -1e-6).all()
    assert (changes["kept", 0] > 1e-3).any()
    assert (changes["kept", 1] <= 1e-6).all()
    assert (changes["kept", 1] < -1e-3).any()
    assert (changes["free", 0] < -1e-3).any()
    assert (changes["free", 1] > 1e-3).any()


def test_the_search_tries_values_that_can_be_fitted_and_holds_the_defaults(name, sample):
    import optuna

    rows = sample(400, 1)
    estimator = make_estimator(name)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = []
    for _ in range(6):
        given_params = estimator.search_space(study.ask())
        seen.append(given_params)
        small = {"n_estimators": 5} if name == "random_forest" else {}
        assert set(given_params) <= set(estimator.defaults)
        estimator.fit(rows, None, {**given_params, **small}, rounds=3, seed=1, threads=1)

    assert all(len({params[key] for params in seen}) > 1 for key in seen[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fixed value outside the space warns
        default = estimator.search_space(optuna.trial.FixedTrial(estimator.defaults))
    assert default.items() <= estimator.defaults.items()


def test_rows_of_one_class_are_refused(name, sample):
    rows = sample(100, 1)
    clean = LabelledMatrix(rows.matrix, np.zeros(100, dtype=np.int8))

    with pytest.raises(ValueError, match="0 frauds among 100 training rows"):
        make_estimator(name).fit(clean, None, {}, rounds=1, seed=1, threads=1)
    with pytest.raises(ValueError, match="no fraud among the watched rows"):
        make_estimator(name).fit(rows, clean, {}, rounds=1, seed=1, threads=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"params": {"depth": 3}}, "has no parameter depth; there are: "),
        ({"feature_names": ["a", "b"]}, "2 feature names for 5 columns"),
        ({"monotone": [1, 0]}, "for each of 5 columns"),
        ({"monotone": [2, 0, 0, 0, 0]}, "one of -1, 0, 1"),
        ({"watched": (100, 4)}, "have 4 columns, the training rows 5"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(name, changed, message, sample):
    rows, watched = sample(100, 1), None
    if "watched" in changed:
        watched = LabelledMatrix(rows.matrix[:, :4], rows.label)
    if "monotone" in changed and name not in MONOTONE:
        message = "cannot keep monotone"
    options = {key: changed[key] for key in ("feature_names", "monotone") if key in changed}

    with pytest.raises(ValueError, match=message):
        make_estimator(name).fit(
            rows, watched, changed.get("params", {}), rounds=1, seed=1, threads=1, **options
        )


def test_use_before_fitting_and_other_formats_are_errors(name, models, tmp_path):
    rows = np.zeros((1, 5), dtype=np.float32)
    for use in ("margin", "contributions"):
        with pytest.raises(RuntimeError, match="neither fitted nor loaded"):
            getattr(make_estimator(name), use)(rows)
    with pytest.raises(ValueError, match=r"use \."):
        models[name].save(tmp_path / "model.pickle")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff\xfe\x00", b"{}"])
def test_a_file_that_holds_no_model_is_refused_by_name(name, content, tmp_path):
    estimator = make_estimator(name)
    path = tmp_path / estimator.file_name
    path.write_bytes(content)

    with pytest.raises(ValueError, match=path.name):
        estimator.load(path, threads=1)


def test_its_name_is_its_key(name):
    assert make_estimator(name).name == name
    assert list(ESTIMATORS) == list(FAMILIES)
