"""Families of models beside each other on the same folds, with the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraud_assets.modeling.bootstrap import day_bootstrap_average_precision
from fraud_assets.modeling.estimators import ESTIMATORS, LabelledMatrix, make_estimator
from fraud_assets.modeling.search.families import (
    FamilyChoice,
    families_of,
    forget_searches,
    search_families,
)
from fraud_assets.modeling.search.tuning import FoldRows, tune
from fraud_assets.transactions.profile import TrainingChoices

ALL = tuple(ESTIMATORS)
DAYS = 3


def sample(n: int, seed: int, *, linear: bool) -> LabelledMatrix:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 4)).astype(np.float32)
    signal = matrix @ [1.2, 0.8, -0.8, 0.5] if linear else 3 * np.sign(matrix[:, 0] * matrix[:, 1])
    label = (rng.random(n) < 1 / (1 + np.exp(3 - signal))).astype(np.int8)
    return LabelledMatrix(matrix, label)


def folds(*, linear: bool, count: int = 2) -> list[FoldRows]:
    made = []
    for place in range(count):
        validation = sample(600, 50 + place, linear=linear)
        day = place * DAYS + np.arange(600) * DAYS // 600
        made.append(FoldRows(sample(900, place, linear=linear), validation, validation, day))
    return made


def choices(**others: Any) -> TrainingChoices:
    given = {"trials": 1, "max_rounds": 30, "timeout_seconds": 600.0, "seed": 5, **others}
    return TrainingChoices(**given)


def search(rows: list[FoldRows], names: tuple[str, ...] = ALL, **others: Any) -> FamilyChoice:
    return search_families(names, rows, choices(), threads=1, **others)


@pytest.fixture(scope="module")
def crossed() -> FamilyChoice:
    """The search where only a product of two features tells."""
    return search(folds(linear=False))


def test_the_profile_names_one_family_or_asks_for_all() -> None:
    assert families_of(choices(estimator="lightgbm")) == ("lightgbm",)
    assert families_of(choices(estimator="auto")) == ALL


def test_trees_win_where_a_product_of_features_tells(crossed: FamilyChoice) -> None:
    by_name = {row.family: row for row in crossed.table}

    assert crossed.chosen.family != "logistic_regression"
    assert by_name["logistic_regression"].high < by_name[crossed.chosen.family].low


def test_logistic_regression_wins_on_few_rows_of_a_linear_world() -> None:
    assert search(folds(linear=True)).chosen.family == "logistic_regression"


def test_the_table_has_every_family_in_order_and_marks_the_best(crossed: FamilyChoice) -> None:
    assert tuple(row.family for row in crossed.table) == ALL
    (best,) = [row for row in crossed.table if row.chosen]
    assert best.family == crossed.chosen.family
    assert best.average_precision == max(row.average_precision for row in crossed.table)
    assert best.average_precision == crossed.chosen.average_precision
    assert best.deviation == crossed.chosen.deviation
    for row in crossed.table:
        assert 0 <= row.low <= row.average_precision <= row.high <= 1
        assert (row.folds, row.note) == (2, "")


def test_every_family_has_all_the_trials(crossed: FamilyChoice) -> None:
    assert {row.trials for row in crossed.table} == {1}

    more = search_families(ALL, folds(linear=True), choices(trials=2), threads=1)

    assert {row.trials for row in more.table} == {2}


def test_trials_of_all_families_are_numbered_through_and_told(crossed: FamilyChoice) -> None:
    told: list[int] = []

    search(folds(linear=False), on_trial=lambda number, _params, _value: told.append(number))

    assert told == [trial["number"] for trial in crossed.trials] == list(range(len(ALL)))
    assert tuple(trial["family"] for trial in crossed.trials) == ALL


def test_a_spent_timeout_leaves_each_family_its_defaults() -> None:
    found = search_families(
        ALL, folds(linear=True), choices(trials=40, timeout_seconds=1e-6), threads=1
    )

    assert {row.trials for row in found.table} == {1}
    assert [t["params"] for t in found.trials] == [make_estimator(name).defaults for name in ALL]


def test_one_family_is_the_same_search_as_without_the_others() -> None:
    alone = search(folds(linear=False), ("xgboost",))
    tuned = tune("xgboost", folds(linear=False), choices(), threads=1)

    assert alone.chosen.params == tuned.params
    assert alone.chosen.average_precision == tuned.average_precision
    assert len(alone.trials) == 1
    assert [row.chosen for row in alone.table] == [True]


def test_equal_families_leave_the_choice_to_the_order() -> None:
    rng = np.random.default_rng(1)
    blank = np.zeros((200, 2), dtype=np.float32)
    rows = LabelledMatrix(blank, (rng.random(200) < 0.1).astype(np.int8))
    one = [FoldRows(rows, rows, rows, np.arange(200) // 100)]

    assert search(one).chosen.family == ALL[0]
    assert search(one, ALL[::-1]).chosen.family == ALL[-1]


def test_a_family_that_cannot_keep_directions_is_left_out_with_a_note() -> None:
    found = search(folds(linear=False), monotone=(1, 0, 0, 0))

    row = {row.family: row for row in found.table}["logistic_regression"]
    assert row.note == "left out: cannot keep monotone constraints"
    assert (row.average_precision, row.low, row.high, row.deviation) == (None, None, None, None)
    assert (row.folds, row.trials, row.chosen) == (0, 0, False)
    assert {t["family"] for t in found.trials} == set(ALL) - {"logistic_regression"}


def test_a_named_family_that_cannot_keep_directions_is_an_error_with_the_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"logistic_regression cannot keep .* training\.estimator to xgboost"
    ):
        search(folds(linear=False), ("logistic_regression",), monotone=(1, 0, 0, 0))


def test_the_interval_is_a_day_block_bootstrap_over_all_validation_days_around_the_mean() -> None:
    rows = folds(linear=False, count=3)
    found = search(rows, ("xgboost",))
    (row,) = found.table

    ranks = []
    for fit in found.chosen.folds:
        margin = fit.margin
        ranks.append(np.array([(margin <= value).mean() for value in margin]))
    pooled = day_bootstrap_average_precision(
        np.concatenate([one.day for one in rows]),
        np.concatenate([one.validation.label for one in rows]),
        np.concatenate(ranks),
        samples=1_000,
        seed=5,
        confidence=0.95,
    )

    half = pooled.high - pooled.estimate
    assert row.high - row.average_precision == pytest.approx(half)
    assert row.average_precision - row.low == pytest.approx(half)


def test_one_validation_day_has_no_interval() -> None:
    (rows,) = folds(linear=False, count=1)
    one_day = FoldRows(rows.train, rows.validation, rows.watched, np.zeros(600))

    (row,) = search([one_day], ("xgboost",)).table

    assert row.average_precision > 0.1
    assert (row.low, row.high, row.deviation) == (None, None, None)


class InterruptedSearchError(Exception):
    """Raised in the middle of a search."""


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    crossed: FamilyChoice, tmp_path: Path
) -> None:
    def interrupt(number: int, _params: Any, _value: Any) -> None:
        if number == 2:
            raise InterruptedSearchError

    told: list[int] = []
    with pytest.raises(InterruptedSearchError):
        search(folds(linear=False), on_trial=interrupt, study_folder=tmp_path)

    resumed = search(
        folds(linear=False),
        on_trial=lambda number, _params, _value: told.append(number),
        study_folder=tmp_path,
    )

    assert told == [3]
    assert resumed.table == crossed.table
    assert resumed.chosen.params == crossed.chosen.params


def test_forgetting_removes_the_searches_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("kept")
    search(folds(linear=True), ("xgboost",), study_folder=tmp_path)
    assert (tmp_path / "xgboost.journal").is_file()

    forget_searches(tmp_path)
    forget_searches(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_forgetting_removes_an_empty_folder(tmp_path: Path) -> None:
    search(folds(linear=True), ("xgboost",), study_folder=tmp_path / "day")

    forget_searches(tmp_path / "day")

    assert list(tmp_path.iterdir()) == []


def test_prepared_forms_do_not_outlive_the_family_that_made_them() -> None:
    rows = folds(linear=False)

    search(rows)

    assert all(not one.train.prepared and not one.watched.prepared for one in rows)
