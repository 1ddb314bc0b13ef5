"""Alarms for features that know the answer: one that does alone, and any that see their own label.

Whether an alarm stops anything is the asset checks' business. How features are computed, and
tests that they look at the past only, belong in `features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling import metrics
from fraud_assets.modeling.dataset import labelled_rows
from fraud_assets.modeling.encoding import fit_encoder
from fraud_assets.modeling.estimators import make_estimator
from fraud_assets.modeling.matrices import rows_to_fit
from fraud_assets.transactions.columns import (
    DAY,
    EVENT_ORDER,
    EVENT_TIME,
    LABEL,
    LABEL_KNOWN_AT,
    SCORE,
    TRANSACTION_ID,
)
from fraud_assets.transactions.labels import latest_labels
from fraud_assets.transactions.profile import TrainingChoices

CONTROL_ROUNDS: Final = 50
CONTROL_DEPTH: Final = 4
CONTROL_ROWS: Final = 100_000
"""The control is a yes or no, not a model: legitimate rows beyond these are thinned."""

STANDARD_ERRORS: Final = 4.0
"""Chance alone goes this far above one half in 3 of 100,000 controls."""

ALARMING_AUC: Final = 0.97
"""A single feature that ranks frauds this well is an alarm, not a success."""

ALARMING_AVERAGE_PRECISION: Final = 0.9
"""Fraud is not that easy. On a PaySim log the balances lift a model from .78 to .92, and none of
them alone has an AUC of more than .96."""

ALARMING_RULE_AVERAGE_PRECISION: Final = 0.6
"""Nor is it found by one number: "the amount equals the balance" alone reaches .68 there, and no
honest feature of the Handbook's data more than .30."""

_STRATUM: Final = "stratum"


@dataclass(frozen=True)
class LeakageAlarm:
    """A sign that something knows the answer; `text` says what, and what to do."""

    name: Literal["single feature", "one rule", "average precision", "shuffled labels"]
    text: str


class ShuffledLabelControl(BaseModel):
    """How well shuffled labels could be predicted: they cannot be, unless a feature sees them.

    `rows` and `positives` are those that were judged, `fraud_share` is roughly what average
    precision is by chance. `roc_auc` compares rows of one day only, and may be at most `limit`.
    Where it could not be computed, `passed` is None and `note` says why; it is empty otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    positives: int
    fraud_share: float | None
    roc_auc: float | None
    average_precision: float | None
    limit: float | None
    passed: bool | None
    note: str


def best_single_feature_auc(
    frame: pl.DataFrame, feature_names: Sequence[str]
) -> tuple[str | None, float | None]:
    """The feature that alone separates frauds best, and its ROC AUC (.5 to 1, either direction).

    An AUC near 1 is an alarm: a feature that knows the answer, as PaySim's balances do, and not
    a skill. A missing number ranks below all others. A category is replaced by its share of fraud
    in the other half of the rows (odd against even), so that a category of few rows cannot
    give its own label away.

    Args:
        frame: the features and `label` (0/1).
        feature_names: columns to try; text columns are categories.

    Returns:
        Name and AUC; both None without features or unless both classes occur.
    """
    truth = frame.get_column(LABEL).to_numpy().astype(bool)
    frauds, rows = int(truth.sum()), truth.size
    if frauds in (0, rows) or not feature_names:
        return None, None
    best_name, best = "", -1.0
    for name in feature_names:
        column = frame.get_column(name)
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            values = column.cast(pl.Float64).fill_nan(None).fill_null(-np.inf)
        else:
            values = _crossed_fraud_share(frame, name)
        ranks = values.rank("average").to_numpy()
        area = (ranks[truth].sum() - frauds * (frauds + 1) / 2) / (frauds * (rows - frauds))
        if max(area, 1 - area) > best:
            best_name, best = name, float(max(area, 1 - area))
    return best_name, best


def leakage_alarms(
    *,
    best_single_feature: str | None,
    best_single_feature_auc: float | None,
    rule_average_precision: float | None,
    average_precision: float | None,
    control: ShuffledLabelControl | None,
) -> tuple[LeakageAlarm, ...]:
    """What is too good to be true of a candidate on its gate days; empty where nothing is.

    Args:
        best_single_feature: of `best_single_feature_auc`.
        best_single_feature_auc: its area.
        rule_average_precision: of the baseline that ranks by one number.
        average_precision: the candidate's.
        control: of `shuffled_label_control`, None if it was not run.
    """
    found = []
    if control is not None and control.passed is False:
        found.append(
            LeakageAlarm(
                "shuffled labels",
                f"Shuffled labels can be predicted with an AUC of {control.roc_auc:.3f} (honest "
                f"features stay below {control.limit:.3f}): a feature sees labels before they are "
                "known, and every number here is too good.",
            )
        )
    if best_single_feature_auc is not None and best_single_feature_auc >= ALARMING_AUC:
        found.append(
            LeakageAlarm(
                "single feature",
                f"{best_single_feature} alone separates frauds with an AUC of "
                f"{best_single_feature_auc:.3f}. Unless it is known before the decision, take it "
                "out of the profile.",
            )
        )
    rule = rule_average_precision
    if rule is not None and rule >= ALARMING_RULE_AVERAGE_PRECISION:
        found.append(
            LeakageAlarm(
                "one rule",
                f"Ranking by one number alone reaches an average precision of {rule:.3f}. Unless "
                "it is known before the decision, take it out of the profile.",
            )
        )
    if average_precision is not None and average_precision >= ALARMING_AVERAGE_PRECISION:
        found.append(
            LeakageAlarm(
                "average precision",
                f"An average precision of {average_precision:.3f} is more than fraud allows: look "
                "for a column that is known only afterwards.",
            )
        )
    return tuple(found)


def shuffled_label_control(
    features: FeatureSet,
    transactions: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    train_days: Sequence[date],
    test_days: Sequence[date],
    as_of: date,
    seed: int,
    threads: int,
) -> ShuffledLabelControl:
    """Compute the features anew from shuffled labels, learn these labels, and judge on later days.

    Labels are permuted among the transactions of one event day that became known on one day (see
    `shuffled_labels`), *before* the features are computed. What a feature knows of earlier labels
    then says nothing of a later one, and an honest pipeline has an AUC of one half. A feature that
    holds a transaction's own label, such as a fraud rate that does not wait for the label, still
    does, and predicts the shuffled labels. A fraud rate that sees the labels of *other*
    transactions too early is not found here, as shuffling unties these; for that there are the
    causality tests of `features`.

    The AUC pools the pairs of a fraud and a legitimate row of one stratum of the permutation (event
    day and day known), so that a feature which tells days apart (a weekend, a growing count)
    gains nothing from their different fraud rates. Under the permutation its mean is exactly one
    half and its variance that of the Mann-Whitney statistic (1947; Hanley and McNeil 1982), summed
    over the strata: with rare frauds the limit is .5 + 4 / sqrt(12 * positives).

    Args:
        features: the declarations to test.
        transactions: as `compute_features` takes them, of both kinds of days and of the lookback.
        labels: label events, of the days and of the labels' lookback.
        train_days: days whose shuffled labels are learnt; a week is enough.
        test_days: later days whose shuffled labels are to be predicted.
        as_of: the day at whose end the labels are looked at.
        seed: of the permutation and the model.
        threads: threads for the features and the fit.

    Raises:
        ValueError: there are no days of one kind, or a test day is not after the train days.
    """
    if not train_days or not test_days or max(train_days) >= min(test_days):
        raise ValueError(
            f"the control learns from {_span(train_days)} and is judged on {_span(test_days)}: "
            "give days of both kinds, the test days after the train days"
        )
    shuffled = shuffled_labels(labels, seed)
    days = sorted({*train_days, *test_days})
    computed = compute_features(features, transactions, shuffled, days, threads=threads)
    rows = labelled_rows(computed, shuffled, as_of)
    train = rows.filter(pl.col(DAY).is_in(list(train_days)))
    known = latest_labels(shuffled, as_of).select(TRANSACTION_ID, _stratum().alias(_STRATUM))
    test = _with_both_classes(
        rows.filter(pl.col(DAY).is_in(list(test_days))).join(
            known, on=TRANSACTION_ID, how="left", maintain_order="left"
        )
    )
    label = test.get_column(LABEL)
    found: dict[str, Any] = {
        "rows": test.height,
        "positives": int(label.sum()),
        "fraud_share": label.mean(),
    }
    nothing: dict[str, Any] = dict.fromkeys(("roc_auc", "average_precision", "limit", "passed"))
    if train.get_column(LABEL).n_unique() < 2:
        note = f"the labels of {_span(train_days)} are not of both classes"
        return ShuffledLabelControl(**found, **nothing, note=note)
    null = _StratifiedNull.of(test)
    if null.limit is None:
        note = (
            f"{found['positives']} frauds of {_span(test_days)} share event day and day known with "
            "legitimate rows: too few to tell a leak from chance"
        )
        return ShuffledLabelControl(**found, **nothing, note=note)
    score = _learnt_scores(features, train, test, seed=seed, threads=threads)
    area = null.auc(test.select(LABEL, _STRATUM, pl.Series(SCORE, score)))
    return ShuffledLabelControl(
        **found,
        roc_auc=area,
        average_precision=metrics.average_precision(label.to_numpy(), score),
        limit=null.limit,
        passed=area <= null.limit,
        note="",
    )


def shuffled_labels(labels: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`labels` with `label` permuted among the rows of one event day and one day known (UTC).

    So each day keeps its number of frauds, and what is known by any day its share of them: only
    which transaction is the fraud is random. The same rows in any order give the same labels.
    """
    rows = labels.sort([LABEL_KNOWN_AT, EVENT_ORDER], maintain_order=True)
    stratum = rows.select(_stratum()).to_series().to_numpy()
    value = rows.get_column(LABEL).to_numpy()
    chance = np.random.default_rng(seed).random(rows.height)
    permuted = np.empty_like(value)
    permuted[np.argsort(stratum, kind="stable")] = value[np.lexsort((chance, stratum))]
    return rows.with_columns(pl.Series(LABEL, permuted))


@dataclass(frozen=True)
class _StratifiedNull:
    """What the AUC within strata may be by chance; `limit` is None if nothing could exceed it."""

    pairs: float
    limit: float | None

    @classmethod
    def of(cls, rows: pl.DataFrame) -> _StratifiedNull:
        counts = rows.group_by(_STRATUM).agg(pl.len().alias("all"), pl.col(LABEL).sum().alias("in"))
        everything = counts.get_column("all").to_numpy().astype(np.float64)
        frauds = counts.get_column("in").to_numpy().astype(np.float64)
        pairs = frauds * (everything - frauds)
        total = float(pairs.sum())
        if total == 0:
            return cls(0.0, None)
        # Ties make the variance smaller, so that the limit is on the safe side of no false alarm.
        error = float(np.sqrt(np.sum(pairs * (everything + 1)) / 12)) / total
        limit = 0.5 + STANDARD_ERRORS * error
        return cls(total, limit if limit < 1 else None)

    def auc(self, rows: pl.DataFrame) -> float:
        """Share of the pairs within strata in which the fraud has the higher score, ties half."""
        ranked = rows.with_columns(pl.col(SCORE).rank("average").over(_STRATUM).alias("rank"))
        frauds = ranked.filter(pl.col(LABEL) == 1).group_by(_STRATUM).agg(
            pl.col("rank").sum(), pl.len().cast(pl.Float64).alias("frauds")
        )  # fmt: skip
        above = pl.col("rank") - pl.col("frauds") * (pl.col("frauds") + 1) / 2
        return float(frauds.select(above.sum()).item()) / self.pairs


def _stratum() -> pl.Expr:
    """Event day and day known as one number."""
    happened, known = (
        pl.col(name).dt.date().to_physical().cast(pl.Int64) for name in (EVENT_TIME, LABEL_KNOWN_AT)
    )
    return happened * 10**6 + known


def _with_both_classes(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of strata with frauds and legitimate rows: in the others no label can move."""
    label = pl.col(LABEL)
    return rows.filter(label.min().over(_STRATUM) < label.max().over(_STRATUM))


def _learnt_scores(
    features: FeatureSet, train: pl.DataFrame, test: pl.DataFrame, *, seed: int, threads: int
) -> npt.NDArray[np.floating[Any]]:
    encoder = fit_encoder(train, features.numeric_names, features.categorical_names)
    choices = TrainingChoices(max_train_rows=CONTROL_ROWS, imbalance="none", seed=seed)
    estimator = make_estimator("xgboost")
    estimator.fit(
        rows_to_fit(train, encoder, choices),
        None,
        {"max_depth": CONTROL_DEPTH},
        rounds=CONTROL_ROUNDS,
        seed=seed,
        threads=threads,
    )
    return estimator.margin(encoder.encode(test))


def _span(days: Sequence[date]) -> str:
    return f"{min(days)} to {max(days)}" if days else "no day"


def _crossed_fraud_share(frame: pl.DataFrame, name: str) -> pl.Series:
    half = pl.int_range(pl.len()) % 2
    numbered = frame.select(pl.col(name).cast(pl.String), LABEL, half.alias("half"))
    shares = numbered.group_by(name, "half").agg(pl.col(LABEL).mean().alias("share"))
    other = shares.with_columns((1 - pl.col("half")).alias("half"))
    joined = numbered.join(
        other, on=[name, "half"], how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.get_column("share").fill_null(pl.lit(frame.get_column(LABEL).mean()))
