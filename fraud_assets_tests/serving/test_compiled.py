"""One transaction is scored as it would be in a batch."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.modeling.calibration import (
    Calibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    fit_isotonic,
    fit_platt,
)
from fraud_assets.modeling.encoding import Matrix, MissingFeaturesError
from fraud_assets.modeling.estimators import LightGBMEstimator, XGBoostEstimator
from fraud_assets.modeling.estimators.base import LabelledMatrix
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.serving import margins
from fraud_assets.serving.compiled import (
    TOLERANCE,
    ModelRow,
    calibrated,
    row_scorer,
    rules_scorer,
)
from fraud_assets.serving.onnx_form import NotConvertibleError, Trees, trees_of
from fraud_assets_tests.serving.conftest import FAMILIES, NAMES

TREES = ("xgboost", "lightgbm", "random_forest")


@pytest.fixture(scope="module")
def scorers(models: dict[str, FraudModel]) -> dict[str, ModelRow]:
    return {family: row_scorer(model, NAMES) for family, model in models.items()}


@pytest.fixture(scope="module")
def rows(labelled: pl.DataFrame) -> pl.DataFrame:
    """Feature rows with gaps, and a category that training has not seen."""
    return labelled[::3].with_columns(
        pl.when(pl.int_range(pl.len()) % 7 == 0)
        .then(pl.lit("CARD"))
        .when(pl.int_range(pl.len()) % 13 != 0)
        .then("kind")
        .alias("kind"),
        pl.when(pl.int_range(pl.len()) % 5 != 0).then("is_night").alias("is_night"),
    )


def values_of(frame: pl.DataFrame) -> list[list[float | str | None]]:
    """Rows as the service has them, aligned with `NAMES`."""
    return [
        [row.get(name) for name in NAMES]
        for row in frame.select(pl.selectors.by_name(*NAMES, require_all=False)).to_dicts()
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_scores_as_it_does_in_a_frame(
    family: str, scorers: dict[str, ModelRow], models: dict[str, FraudModel], rows: pl.DataFrame
) -> None:
    scored = models[family].score(rows)
    expected = scored["score"].to_numpy()

    found = np.array([scorers[family].score(values) for values in values_of(rows)])

    assert np.abs(found - expected).max() <= TOLERANCE
    threshold = scorers[family].threshold
    clear = np.abs(expected - threshold) > TOLERANCE
    alerts = (scored["decision"] == "alert").to_numpy()
    assert np.array_equal((found >= threshold)[clear], alerts[clear])
    assert 0 < alerts.sum() < alerts.size
    assert np.unique(found).size > 100


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scorer_is_known_by_its_model(
    family: str, scorers: dict[str, ModelRow], models: dict[str, FraudModel]
) -> None:
    scorer, model = scorers[family], models[family]

    assert (scorer.version, scorer.model_hash) == (model.version, model.model_hash)
    assert scorer.threshold == model.policy.threshold
    assert scorer.form == ("onnx" if family in TREES else "native")
    assert scorer.why_native is None


@pytest.mark.parametrize("family", FAMILIES)
def test_reasons_are_those_of_the_batch(
    family: str, scorers: dict[str, ModelRow], models: dict[str, FraudModel], rows: pl.DataFrame
) -> None:
    some = rows[:40]

    for k in (1, 3):
        expected = models[family].reasons(some, k)
        assert [scorers[family].reasons(values, k) for values in values_of(some)] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_reasons_of_a_double_are_those_of_its_float32(
    family: str, scorers: dict[str, ModelRow], models: dict[str, FraudModel]
) -> None:
    doubles = pl.DataFrame(
        {"amount": [35.3], "payer_amount_ratio": [0.15499999999], "payee_risk_7d": [0.1234499999],
         "is_night": [1.0], "kind": ["TRANSFER"]}
    )  # fmt: skip
    batch = doubles.cast({pl.Float64: pl.Float32}).with_columns(doubles["amount"])

    found = scorers[family].reasons(values_of(doubles)[0], 5)

    assert found == models[family].reasons(batch, 5)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_nan_is_missing(family: str, scorers: dict[str, ModelRow]) -> None:
    missing = [None, 10.0, "TRANSFER", None, None, None]
    nan = [math.nan, 10.0, "TRANSFER", math.nan, None, math.nan]

    assert scorers[family].score(nan) == scorers[family].score(missing)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39])
def test_an_infinite_number_is_refused_by_name_and_spoils_nothing(
    family: str, value: float, scorers: dict[str, ModelRow]
) -> None:
    good = [0.0, 10.0, "PAYMENT", 1.0, None, 0.5]
    before = scorers[family].score(good)

    with pytest.raises(ValueError, match="infinite values in payee_risk_7d: "):
        scorers[family].score([0.0, 10.0, "PAYMENT", 1.0, None, value])

    assert scorers[family].score(good) == before


def test_a_column_that_no_model_reads_may_hold_anything(scorers: dict[str, ModelRow]) -> None:
    assert scorers["xgboost"].score([0.0, 10.0, "PAYMENT", 1.0, math.inf, 0.5]) > 0


def test_text_for_a_number_is_refused_by_name(scorers: dict[str, ModelRow]) -> None:
    with pytest.raises(ValueError, match=r"needs numbers in is_night$"):
        scorers["xgboost"].score(["yes", 10.0, "PAYMENT", 1.0, None, 0.5])


def test_a_model_whose_features_are_not_declared_is_refused(models: dict[str, FraudModel]) -> None:
    names = [name for name in NAMES if name not in ("kind", "is_night")]

    with pytest.raises(MissingFeaturesError, match="needs is_night, kind, which"):
        row_scorer(models["xgboost"], names)


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_do_not_mix_their_rows(
    family: str, scorers: dict[str, ModelRow], rows: pl.DataFrame
) -> None:
    given = values_of(rows[:60])
    expected = [scorers[family].score(values) for values in given]
    wrong: list[int] = []

    def score_again() -> None:
        for _ in range(20):
            found = [scorers[family].score(values) for values in given]
            wrong.extend(i for i, pair in enumerate(zip(found, expected, strict=True))
                         if pair[0] != pair[1])  # fmt: skip

    threads = [threading.Thread(target=score_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def without_gaps(n: int) -> LabelledMatrix:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(n, 5)).astype(np.float32)
    label = (matrix[:, 0] + matrix[:, 1] + rng.normal(size=n) > 1.5).astype(np.int8)
    return LabelledMatrix(matrix, label)


@pytest.mark.parametrize("make", [XGBoostEstimator, LightGBMEstimator])
def test_a_value_that_training_never_lacked_may_be_missing(
    make: type[XGBoostEstimator | LightGBMEstimator],
) -> None:
    # LightGBM takes it for zero then, whichever side that is on.
    estimator = make()
    estimator.fit(without_gaps(2_000), None, {}, rounds=30, seed=1, threads=1)
    row: Matrix = np.zeros((1, 5), dtype=np.float32)
    margin = margins.OnnxMargin(estimator, row)

    for present in without_gaps(40).matrix:
        for gap in range(5):
            row[0] = present
            row[0, gap] = np.nan
            assert margin() == pytest.approx(float(estimator.margin(row)[0]), abs=2e-6)


@pytest.mark.parametrize("make", [XGBoostEstimator, LightGBMEstimator])
def test_values_at_a_threshold_and_beside_it_fall_on_the_models_side(
    make: type[XGBoostEstimator | LightGBMEstimator],
) -> None:
    estimator = make()
    estimator.fit(without_gaps(2_000), None, {}, rounds=10, seed=1, threads=1)
    row: Matrix = np.zeros((1, 5), dtype=np.float32)
    margin = margins.OnnxMargin(estimator, row)

    assert margin.edges
    for column, edges in margin.edges.items():
        for edge in edges.astype(np.float32):
            for value in (
                edge,
                np.nextafter(edge, np.float32(-9)),
                np.nextafter(edge, np.float32(9)),
            ):
                row[:] = 0
                row[0, column] = value
                assert margin() == pytest.approx(float(estimator.margin(row)[0]), abs=2e-6)


@pytest.mark.parametrize("family", TREES)
@pytest.mark.parametrize("spoil", ["missing", "side", "leaf"])
def test_a_form_that_differs_is_not_used_and_said(
    family: str,
    spoil: str,
    models: dict[str, FraudModel],
    rows: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def spoiled(estimator: XGBoostEstimator) -> Trees:
        trees = trees_of(estimator)
        if spoil == "missing":
            trees.missing_is_yes = [1 - one for one in trees.missing_is_yes]
        elif spoil == "side":
            other = {"BRANCH_LT": "BRANCH_LEQ", "BRANCH_LEQ": "BRANCH_LT"}
            trees.mode = other[trees.mode]
        else:
            trees.threshold[trees.leaf.index(True)] += 0.05
        return trees

    monkeypatch.setattr(margins, "trees_of", spoiled)
    with caplog.at_level(logging.WARNING):
        scorer = row_scorer(models[family], NAMES)

    assert scorer.form == "native"
    assert scorer.why_native is not None
    assert "off in probability" in scorer.why_native
    assert [record.getMessage() for record in caplog.records] == [
        f"version {models[family].version} is scored by its own library: {scorer.why_native}"
    ]
    some = rows[:20]
    assert [scorer.score(values) for values in values_of(some)] == pytest.approx(
        models[family].score(some)["score"].to_list(), abs=1e-12
    )


def test_a_model_that_cannot_be_translated_is_scored_by_its_library(
    models: dict[str, FraudModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: XGBoostEstimator) -> Trees:
        raise NotConvertibleError("splits by category are not translated")

    monkeypatch.setattr(margins, "trees_of", refuses)

    scorer = row_scorer(models["xgboost"], NAMES)

    assert scorer.form == "native"
    assert scorer.why_native == (
        "it has no faster form: NotConvertibleError: splits by category are not translated"
    )


def test_what_consists_of_no_trees_has_no_onnx_form(models: dict[str, FraudModel]) -> None:
    with pytest.raises(NotConvertibleError, match="logistic_regression consists of no trees"):
        trees_of(models["logistic_regression"].estimator)


def fitted(fit: Callable[..., Calibrator], n: int) -> Calibrator:
    rng = np.random.default_rng(4)
    margin = rng.normal(-3, 3, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(int)
    return fit(margin, label)


CALIBRATORS: list[Calibrator] = [
    fitted(fit_platt, 500),
    fitted(fit_isotonic, 500),
    PlattCalibrator(slope=2.0, intercept=-1.0),
    IsotonicCalibrator(
        margin=(0.5,), probability=(0.25,), sigmoid=PlattCalibrator(slope=1.0, intercept=0.0)
    ),
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(CALIBRATORS),
    st.one_of(st.floats(-30, 30), st.floats(-1e9, 1e9), st.integers(0, 10_000)),
)
def test_calibrating_one_margin_is_calibrating_many(
    calibrator: Calibrator, margin: float | int
) -> None:
    if isinstance(calibrator, IsotonicCalibrator) and isinstance(margin, int):
        margin = calibrator.margin[margin % len(calibrator.margin)]  # a knot itself

    found = calibrated(calibrator)(float(margin))

    assert found == pytest.approx(float(calibrator.apply(np.array([margin]))[0]), rel=1e-12)
    assert 0 < found < 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_isotonic_model_scores_as_it_does_in_a_frame(
    family: str, models: dict[str, FraudModel], rows: pl.DataFrame
) -> None:
    model = models[family]
    margin = model.estimator.margin(model.encoder.encode(rows))
    isotonic = replace(model, calibrator=fit_isotonic(margin, rows["label"].to_numpy()))

    scorer = row_scorer(isotonic, NAMES)

    assert scorer.why_native is None
    assert [scorer.score(values) for values in values_of(rows)] == pytest.approx(
        isotonic.score(rows)["score"].to_list(), abs=TOLERANCE
    )


SIGMOID = PlattCalibrator(slope=1.0, intercept=0.0)


@pytest.mark.parametrize(
    "calibrator",
    [
        PlattCalibrator.model_construct(slope=math.nan, intercept=0.0),
        IsotonicCalibrator.model_construct(margin=(0.0,), probability=(1.5,), sigmoid=SIGMOID),
        IsotonicCalibrator.model_construct(margin=(0.0,), probability=(-0.5,), sigmoid=SIGMOID),
    ],
    ids=["NaN", "above 1", "below 0"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_that_is_no_probability_is_refused(
    calibrator: Calibrator, family: str, models: dict[str, FraudModel], rows: pl.DataFrame
) -> None:
    scorer = row_scorer(replace(models[family], calibrator=calibrator), NAMES)

    for values in values_of(rows[:5]):
        with pytest.raises(ValueError, match="no probability"):
            scorer.score(values)


NUMBER = st.one_of(
    st.none(),
    st.just(math.nan),
    st.sampled_from([0.0, 0.5, 1.0, 4.0, 10.0, 0.49999999, 3.99999999, 1e39, math.inf]),
    st.floats(-10, 50),
)
RULE_NAMES = {
    "ratio": ("kind", "is_night", "payer_amount_ratio", "amount", "payee_risk_7d", "payer_risk_1d",
              "is_new_payee", "payer_count_1d"),
    "mean": ("payer_mean_amount_7d", "amount", "payer_mean_amount_1d", "payee_risk_1d"),
    "bare": ("amount",),
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(), shape=st.sampled_from(sorted(RULE_NAMES)), high=st.sampled_from([None, 40.0])
)
def test_the_rules_say_of_a_row_what_they_say_of_a_frame(
    data: st.DataObject, shape: str, high: float | None
) -> None:
    names = RULE_NAMES[shape]
    rules = RuleSet(high_amount=high)
    values: list[float | str | None] = [
        "CARD" if name == "kind"
        else data.draw(st.one_of(st.none(), st.just(math.nan), st.floats(-5, 1e6)))
        if name == "amount"
        else data.draw(NUMBER)
        for name in names
    ]  # fmt: skip
    frame = pl.DataFrame(
        {
            name: pl.Series(
                [value],
                dtype=pl.String if name == "kind" else pl.Float64,
            ).cast(pl.String if name == "kind" else pl.Float64 if name == "amount" else pl.Float32)
            for name, value in zip(names, values, strict=True)
        }
    )

    scorer = rules_scorer(rules, names)

    assert scorer.score(values) == rules.score(frame)["score"][0]
    for k in (1, 3):
        assert scorer.reasons(values, k) == rules.reasons(frame, k)[0]


def test_the_rules_for_rows_are_known_as_the_rules() -> None:
    scorer = rules_scorer(RuleSet(), ("amount",))

    assert (scorer.version, scorer.form, scorer.threshold) == ("rules-1", "rules", 0.4)
    assert scorer.model_hash == RuleSet().model_hash


def test_rules_without_the_amount_are_refused() -> None:
    with pytest.raises(MissingFeaturesError, match="amount"):
        rules_scorer(RuleSet(), ("is_night",))
