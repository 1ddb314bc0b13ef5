"""The tables of chapters 3 and 5 of the Handbook, and the application's training on its weeks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from handbook_data import (
    DELAY,
    FIRST_DAY,
    FOLDS,
    HANDBOOK_FEATURES,
    LATER_FOLDS,
    Fold,
    between,
    test_rows,
)
from handbook_figures import K, Scored, gain, judged
from history import History
from rich.console import Console
from rich.table import Table

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.bundle import load_bundle, save_bundle
from fraud_assets.modeling.dataset import known_payers_by_day
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import train_candidate
from fraud_assets.transactions.columns import DAY, LABEL, PAYER, SCENARIO
from fraud_assets.transactions.profile import Profile

BOOK_CHAPTER_3 = {
    "logistic regression": (0.871, 0.606, 0.291),
    "decision tree, depth 2": (0.763, 0.496, 0.241),
    "decision tree, unlimited": (0.788, 0.309, 0.243),
    "random forest": (0.867, 0.658, 0.287),
    "XGBoost": (0.862, 0.639, 0.273),
}
BOOK_CHAPTER_5 = {
    "logistic regression (book)": (0.868, 0.623, 0.297),
    "random forest (book)": (0.870, 0.678, 0.299),
    "XGBoost (book)": (0.869, 0.687, 0.303),
}
"""Published: AUC, average precision, card precision at 100 (chapter 3.4; chapter 5.3, parameters
chosen on earlier folds)."""


def chapter_3(rows: pl.DataFrame, console: Console) -> dict[str, Any]:
    """The table of chapter 3, with its features, days and settings."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    fold = FOLDS[0]
    train, test = between(rows, *fold.train_days), test_rows(rows, fold)
    models = {
        "logistic regression": LogisticRegression(random_state=0),
        "decision tree, depth 2": DecisionTreeClassifier(max_depth=2, random_state=0),
        "decision tree, unlimited": DecisionTreeClassifier(random_state=0),
        "random forest": RandomForestClassifier(random_state=0, n_jobs=-1),
        # The XGBoost of the book's day: exact splits from one half. Version 3 starts from the
        # fraud rate and splits on histograms, which is worth .564 here.
        "XGBoost": XGBClassifier(random_state=0, tree_method="exact", base_score=0.5),
    }
    table = Table(
        title=f"Chapter 3: {train.height:,} rows with {train[LABEL].sum()} frauds, a week of "
        f"delay, {test.height:,} rows with {test[LABEL].sum()} frauds"
    )
    columns = ("model", "AUC", "AP", "CP@100", "CP@100, ties by id")
    for name in (*columns, "AUC, book", "AP, book", "CP@100, book"):
        table.add_column(name, justify="left" if name == "model" else "right")
    found = {}
    for name, model in models.items():
        # Scaled, as the book's `fit_model_and_get_predictions` does with every model.
        scaled = make_pipeline(StandardScaler(), model)
        scaled.fit(double(train), train[LABEL].to_numpy())
        score = scaled.predict_proba(double(test))[:, 1]
        result = judged([(test, score)])
        cards = card_precision_of_the_book(test, score)
        found[name] = {**asdict(result), "card_precision_of_the_book": cards}
        ceiling = result.card_precision_ceiling
        table.add_row(
            name, f"{result.roc_auc:.3f}", str(result.average_precision), f"{cards:.3f}",
            str(result.card_precision), *(f"{value:.3f}" for value in BOOK_CHAPTER_3[name]),
        )  # fmt: skip
    console.print(table)
    console.print(f"The best possible CP@100 of that week is {ceiling:.3f}.")
    return found


def card_precision_of_the_book(rows: pl.DataFrame, score: np.ndarray) -> float:
    """CP@100 with equal scores in the order in which pandas leaves them, as in the book.

    A tree of depth two knows four scores: who is among the first hundred is then a matter of the
    order. The application ranks equal scores by card.
    """
    frame = rows.select(DAY, LABEL, pl.col(PAYER).cast(pl.Int64)).to_pandas().assign(score=score)
    found: set[int] = set()
    daily = []
    for _, day in frame.groupby(DAY):
        cards = day[~day[PAYER].isin(found)].groupby(PAYER)[["score", LABEL]].max()
        top = cards.sort_values("score", ascending=False).head(K)
        caught = top.index[top[LABEL] == 1]
        found.update(caught)
        daily.append(len(caught) / K)
    return float(np.mean(daily))


def double(rows: pl.DataFrame) -> np.ndarray:
    """The Handbook's fifteen features as float64, in its order."""
    return rows.select(pl.col(name).cast(pl.Float64) for name in HANDBOOK_FEATURES).to_numpy()


def chapter_5(
    rows: pl.DataFrame, handbook: History, profile: Profile, console: Console
) -> dict[str, Any]:
    """The prequential protocol with the application's own training, on its weeks and later ones."""
    return {
        "chapter": prequential(
            rows, handbook, profile, console, folds=FOLDS, published=BOOK_CHAPTER_5,
            title="Chapter 5: four weeks of tests, 8 August to 4 September 2018",
        ),
        "later": prequential(
            rows, handbook, profile, console, folds=LATER_FOLDS, published={},
            title="Three later weeks that chose nothing, 5 to 25 September 2018",
        ),
    }  # fmt: skip


def prequential(
    rows: pl.DataFrame,
    handbook: History,
    profile: Profile,
    console: Console,
    *,
    folds: Sequence[Fold],
    published: dict[str, tuple[float, float, float]],
    title: str,
) -> dict[str, Any]:
    """Both sets of features on `folds`, the oracle, and what was published."""
    every = FeatureSet.from_profile(profile).names
    ours, books = f"ours, {len(every)} features", "ours, the book's 15 features"
    runs = {books: HANDBOOK_FEATURES, ours: every}
    scored: dict[str, list[tuple[pl.DataFrame, np.ndarray]]] = {name: [] for name in runs}
    chosen: dict[str, list[str]] = {name: [] for name in runs}
    for fold in folds:
        test = test_rows(rows, fold)
        for name, features in runs.items():
            with console.status(f"{name}: training for the week from {fold.test_days[0]}"):
                score, note = trained_score(
                    rows, handbook, fold, features, profile=profile, test=test
                )
            scored[name].append((test, score))
            chosen[name].append(note)
    results = {name: judged(weeks) for name, weeks in scored.items()}
    oracle = [(test, with_hindsight(test, score)) for test, score in scored[ours]]
    results["an oracle of all that can be known"] = judged(oracle)
    table = Table(title=title)
    for name in ("model", "AUC", "AP", "CP@100", "best possible", "AP by week"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for name, figures in published.items():
        table.add_row(name, *(f"{value:.3f}" for value in figures), "", "")
    for name, result in results.items():
        table.add_row(
            name, f"{result.roc_auc:.3f}", str(result.average_precision),
            str(result.card_precision), f"{result.card_precision_ceiling:.3f}",
            " ".join(f"{value:.3f}" for value in result.weeks),
        )  # fmt: skip
    console.print(table)
    better = gain(scored[ours], scored[books])
    console.print(f"Paired gain in AP of the profile's features over the book's: {better}")
    for scenario, shares in in_the_top(scored[ours]).items():
        console.print(f"  scenario {scenario}: {shares:.0%} of its frauds are in the top 1 %")
    for name, notes in chosen.items():
        console.print(f"Chosen for {name}: " + "; ".join(notes))
    return {
        **{name: asdict(result) for name, result in results.items()},
        "gain": asdict(better),
        "chosen": chosen,
    }


def trained_score(
    rows: pl.DataFrame,
    handbook: History,
    fold: Fold,
    features: Sequence[str],
    *,
    profile: Profile,
    test: pl.DataFrame,
) -> tuple[np.ndarray, str]:
    """Scores of the test week by a model that the application trained; and what it chose.

    The training is as of the day on which the test week's labels are mature: the week is then the
    gate of that training, which learns from days up to the book's training week and no later one.
    """
    as_of = fold.test_days[-1] + timedelta(days=DELAY)
    split = SplitPlan.as_of(as_of, DELAY, profile.training, FIRST_DAY)
    if split.gate_days != fold.test_days or split.train_days[-1] != fold.train_days[1]:
        raise AssertionError("the gate of the profile is not the test week of the Handbook")
    validation = sorted({day for one in split.folds for day in one.validation_days})
    candidate = train_candidate(
        rows.filter(pl.col(DAY).is_in(split.learning_days)),
        split,
        (features, ()),
        profile,
        threads=os.cpu_count() or 1,
        known_by_day=known_payers_by_day(handbook.labels, validation),
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        model = load_bundle(bundle, save_bundle(candidate, bundle), threads=os.cpu_count() or 1)
    found = candidate.manifest
    searched = {name: found.params[name] for name in ("max_depth", "learning_rate", "max_bin")}
    shown = ", ".join(f"{name} {round(value, 3):g}" for name, value in searched.items())
    note = f"{shown}, {found.rounds} rounds (validation AP {found.fold_average_precision:.3f})"
    return model.probabilities(test), note


def with_hindsight(test: pl.DataFrame, score: np.ndarray) -> np.ndarray:
    """`score`, with every fraud on top that anything known by then gives away.

    Those are the large amounts (scenario 1), the compromised customers (3), and of the compromised
    terminals (2) those whose latest known label is a fraud. The others show nothing until their
    first label, seven days later: no model can rank them.
    """
    known = test.select(
        (pl.col(LABEL) == 1)
        & (pl.col(SCENARIO).is_in(["1", "3"]) | (pl.col("payee_last_label") == 1))
    ).to_series()
    return np.where(known.fill_null(value=False).to_numpy(), score + 1.0, score)


def in_the_top(weeks: Scored, share: float = 0.01) -> dict[str, float]:
    """Per scenario, the share of its frauds among the highest `share` of scores of their week."""
    caught: dict[str, list[bool]] = {"1": [], "2": [], "3": []}
    for rows, score in weeks:
        bar = np.sort(score)[-int(share * score.size)]
        for scenario, flags in caught.items():
            flags.extend((score >= bar)[(rows[SCENARIO] == scenario).to_numpy()].tolist())
    return {scenario: float(np.mean(found)) for scenario, found in caught.items()}
