"""What leaks would have claimed on the Handbook's weeks, and what their models are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from handbook_choices import fixed_score, fixed_scores
from handbook_data import DELAY, FOLDS, HANDBOOK_FEATURES, WEEK, Fold, between, matrix, test_rows
from handbook_figures import SEED, Scored, judged
from history import History
from rich.console import Console
from rich.table import Table

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling import metrics
from fraud_assets.transactions.columns import EVENT_TIME, LABEL, LABEL_KNOWN_AT
from fraud_assets.transactions.profile import Profile


def leaks(
    rows: pl.DataFrame, handbook: History, profile: Profile, console: Console
) -> dict[str, Any]:
    """Each leak's claim beside what its model is worth when judged honestly."""
    honest = fixed_scores(rows, HANDBOOK_FEATURES, WEEK)
    at_once = undelayed_rows(handbook, profile, timedelta(0))
    soon = undelayed_rows(handbook, profile, timedelta(seconds=1))
    claims: dict[str, Callable[[], tuple[Scored, Scored]]] = {
        "risk that holds the row's own label": lambda: no_delay(rows, at_once),
        "risk without label delay": lambda: no_delay(rows, soon),
        "no gap between training and test": lambda: no_gap(rows),
        "random split of the rows": lambda: random_split(rows, oversample=False),
        "SMOTE before a random split": lambda: random_split(rows, oversample=True),
        "known cards left in the test": lambda: cards_left_in(rows),
        "best of 20 random models, by the test": lambda: chosen_on_test(rows),
    }
    table = Table(title="What a leak would have claimed: the book's 15 features and training week")
    for name in ("protocol", "AP claimed", "CP@100 claimed", "AP of that model, honestly"):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    result = judged(honest)
    table.add_row("honest", str(result.average_precision), str(result.card_precision), "the same")
    found = {"honest": asdict(result)}
    for name, make in claims.items():
        with console.status(name):
            claimed, worth = make()
        told, really = judged(claimed), judged(worth)
        found[name] = {"claimed": asdict(told), "honest": asdict(really)}
        table.add_row(
            name, str(told.average_precision), str(told.card_precision),
            str(really.average_precision),
        )  # fmt: skip
    console.print(table)
    return found


def undelayed_rows(handbook: History, profile: Profile, after: timedelta) -> pl.DataFrame:
    """Features whose risk takes every label `after` its transaction, and waits for no delay.

    After no time at all a transaction's own label is in its risk; after a second only earlier ones.
    """
    content = profile.model_dump(mode="json")
    content["columns"]["label"]["delay_days"] = 0
    features = FeatureSet.from_profile(Profile.model_validate(content))
    at_once = handbook.labels.with_columns((pl.col(EVENT_TIME) + after).alias(LABEL_KNOWN_AT))
    return handbook.rows(features, labels=at_once)


def no_delay(rows: pl.DataFrame, undelayed: pl.DataFrame) -> tuple[Scored, Scored]:
    """Trained and tested on undelayed risk; in service the risk is delayed."""
    claimed, worth = [], []
    for fold in FOLDS:
        train, test = between(undelayed, *fold.train_days), test_rows(undelayed, fold)
        served = test_rows(rows, fold)
        both = fixed_score(
            train, pl.concat([test, served], how="vertical_relaxed"), HANDBOOK_FEATURES
        )
        claimed.append((test, both[: test.height]))
        worth.append((served, both[test.height :]))
    return claimed, worth


def no_gap(rows: pl.DataFrame) -> tuple[Scored, Scored]:
    """Trained on the week right before the test, whose labels nobody has yet."""
    claimed = []
    for fold in FOLDS:
        last = fold.test_days[0] - timedelta(days=1)
        train = between(rows, last - timedelta(days=WEEK - 1), last)
        test = test_rows(rows, fold)
        claimed.append((test, fixed_score(train, test, HANDBOOK_FEATURES)))
    return claimed, fixed_scores(rows, HANDBOOK_FEATURES, WEEK)


def random_split(rows: pl.DataFrame, *, oversample: bool) -> tuple[Scored, Scored]:
    """Half of each test week's rows in training, at random; with SMOTE before it, if asked."""
    claimed, worth = [], []
    for fold in FOLDS:
        week = between(rows, fold.test_days[0], fold.test_days[-1])
        if oversample:
            week = oversampled(week)
        chosen = np.random.default_rng(SEED).random(week.height) < 0.5
        train, test = week.filter(pl.Series(chosen)), week.filter(pl.Series(~chosen))
        later = test_rows(rows, Fold(fold.start + timedelta(days=WEEK + DELAY)))
        both = fixed_score(
            train, pl.concat([test, later.select(test.columns)], how="vertical_relaxed"),
            HANDBOOK_FEATURES,
        )  # fmt: skip
        claimed.append((test, both[: test.height]))
        if later.height:
            worth.append((later, both[test.height :]))
    return claimed, worth


def oversampled(rows: pl.DataFrame) -> pl.DataFrame:
    """As many synthetic frauds as it takes for one in ten; each on a day and card of a real one."""
    from imblearn.over_sampling import SMOTE

    label = rows[LABEL].to_numpy()
    made, labels = SMOTE(sampling_strategy=0.1, random_state=SEED).fit_resample(
        matrix(rows, HANDBOOK_FEATURES), label
    )
    new = made.shape[0] - rows.height
    frauds = np.flatnonzero(label == 1)
    like = np.concatenate([np.arange(rows.height), np.random.default_rng(SEED).choice(frauds, new)])
    return rows[like].with_columns(
        *(pl.Series(name, made[:, i]) for i, name in enumerate(HANDBOOK_FEATURES)),
        pl.Series(LABEL, labels),
    )


def cards_left_in(rows: pl.DataFrame) -> tuple[Scored, Scored]:
    """The honest model, told apart by cards that were blocked already."""
    claimed = []
    for fold in FOLDS:
        train = between(rows, *fold.train_days)
        week = between(rows, fold.test_days[0], fold.test_days[-1])
        claimed.append((week, fixed_score(train, week, HANDBOOK_FEATURES)))
    return claimed, fixed_scores(rows, HANDBOOK_FEATURES, WEEK)


def chosen_on_test(rows: pl.DataFrame) -> tuple[Scored, Scored]:
    """Per week the best of twenty random parameters by the test itself; honestly, the first one."""
    import xgboost

    claimed, worth = [], []
    random = np.random.default_rng(SEED)
    for fold in FOLDS:
        train, test = between(rows, *fold.train_days), test_rows(rows, fold)
        label = test[LABEL].to_numpy()
        learnt = xgboost.QuantileDMatrix(
            matrix(train, HANDBOOK_FEATURES), label=train[LABEL].to_numpy(), max_bin=512
        )
        candidates = []
        for seed in range(20):
            params = {
                "max_depth": int(random.integers(2, 8)), "subsample": random.uniform(0.4, 1.0),
                "learning_rate": random.uniform(0.05, 0.3), "seed": seed, "max_bin": 512,
                "colsample_bytree": random.uniform(0.4, 1.0),
            }  # fmt: skip
            booster = xgboost.train(
                {**params, "objective": "binary:logistic", "base_score": 0.5}, learnt, 100
            )
            score = booster.inplace_predict(matrix(test, HANDBOOK_FEATURES), predict_type="margin")
            candidates.append(np.asarray(score))
        best = max(candidates, key=lambda one: metrics.average_precision(label, one) or 0.0)
        claimed.append((test, best))
        worth.append((test, candidates[0]))
    return claimed, worth
