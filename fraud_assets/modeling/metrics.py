"""How good scores and decisions are: one pure function per metric.

A metric that cannot be computed (no positives, no rows) is None, never 0.0: a day without fraud
is not a day on which the model failed. Intervals belong in `bootstrap`, reports in `evaluation`.
Arrays are one-dimensional and of one length: `label` 0 or 1, `score` finite, higher is more
suspicious.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling.dataset import KnownPayers, without_known_payers
from fraud_assets.transactions.columns import DAY, LABEL, PAYER, SCORE

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def average_precision(
    label: Array, score: Array, *, fraud_share: float | None = None
) -> float | None:
    """Mean precision over the positives, ties sharing the precision of their group.

    The step-wise sum of scikit-learn's `average_precision_score`, without interpolation. None
    without positives.

    Precision falls when fraud becomes rarer, whatever the model does. With `fraud_share` the
    legitimate rows are weighted so that frauds have that share of all, which makes days of
    different fraud rates comparable (Siblini et al. 2020, "Master your Metrics with Calibration").
    It corrects for a fraud rate that moved, and for nothing else. None without legitimate rows,
    because no weight gives them a share then.

    Raises:
        ValueError: `fraud_share` does not lie between 0 and 1; and see `checked`.
    """
    truth, value = checked(label, score)
    check_share(fraud_share)
    positives = int(truth.sum())
    legitimate = truth.size - positives
    if positives == 0 or (fraud_share is not None and legitimate == 0):
        return None
    ends, order = tie_groups(value)
    caught = np.cumsum(truth[order])[ends]
    gained = np.diff(caught, prepend=0)
    above = (ends + 1).astype(np.float64)
    if fraud_share is not None:
        weight = positives * (1.0 - fraud_share) / (fraud_share * legitimate)
        above = caught + weight * (above - caught)
    return float(np.sum(gained * (caught / above)) / positives)


def roc_auc(label: Array, score: Array) -> float | None:
    """Area under the ROC curve; None unless both classes occur.

    Reported, never decisive: on rare fraud it hardly tells good models from poor ones (Fraud
    Detection Handbook, chapter 4.3).
    """
    from sklearn.metrics import roc_auc_score

    truth, value = checked(label, score)
    if truth.size == 0 or truth.min() == truth.max():
        return None
    return float(roc_auc_score(truth, value))


def recall_at_budget(label: Array, score: Array, day: Array, alerts_per_day: int) -> float | None:
    """Share of all frauds among each day's `alerts_per_day` highest scores.

    Ties at the edge of a day's budget are taken in the order of the rows. None without frauds.
    """
    truth, value = checked(label, score)
    total = int(truth.sum())
    if total == 0:
        return None
    caught = 0
    for one_day in np.unique(day):
        rows = np.flatnonzero(day == one_day)
        top = rows[np.argsort(-value[rows], kind="stable")[:alerts_per_day]]
        caught += int(truth[top].sum())
    return caught / total


def precision_at_recall(label: Array, score: Array, recall: float = 0.9) -> float | None:
    """The best precision of any threshold that catches at least `recall` of the frauds.

    None without frauds.
    """
    from sklearn.metrics import precision_recall_curve

    truth, value = checked(label, score)
    if truth.sum() == 0:
        return None
    precisions, recalls, _ = precision_recall_curve(truth, value)
    return float(np.max(precisions[:-1][recalls[:-1] >= recall - 1e-12]))


def brier(label: Array, score: Array) -> float | None:
    """Mean squared difference of probability and outcome (Brier 1950); None without rows."""
    truth, value = checked(label, score, probability=True)
    return float(np.mean((value - truth) ** 2)) if truth.size else None


@dataclass(frozen=True)
class ReliabilityBin:
    """What was predicted and what happened in one bin of scores."""

    rows: int
    predicted: float
    observed: float


def reliability(label: Array, score: Array, bins: int = 10) -> list[ReliabilityBin]:
    """Mean probability against the observed share of fraud in bins of (nearly) equal numbers.

    Equal-width bins would put almost every row of a rare-fraud day in the first one. Equal scores
    always share a bin, so that the result does not depend on the order of the rows; there may
    be fewer than `bins` bins.
    """
    truth, value = checked(label, score, probability=True)
    if truth.size == 0:
        return []
    edges = np.unique(np.quantile(value, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    place = np.searchsorted(edges, value, side="right")
    rows = np.bincount(place, minlength=edges.size + 1)
    predicted = np.bincount(place, weights=value, minlength=edges.size + 1)
    observed = np.bincount(place, weights=truth, minlength=edges.size + 1)
    return [
        ReliabilityBin(int(n), float(p / n), float(o / n))
        for n, p, o in zip(rows, predicted, observed, strict=True)
        if n
    ]


def expected_calibration_error(label: Array, score: Array, bins: int = 10) -> float | None:
    """Mean distance of predicted and observed share over equal-mass bins, weighted by rows.

    Naeini et al. 2015, with equal-mass bins (Nixon et al. 2019). It is an absolute error, at
    most about as large as the share of fraud for a model that says "never": read it beside
    `calibration_ratio`. None without rows.
    """
    found = reliability(label, score, bins)
    total = sum(one.rows for one in found)
    if total == 0:
        return None
    return sum(one.rows * abs(one.predicted - one.observed) for one in found) / total


def calibration_ratio(label: Array, score: Array) -> float | None:
    """Frauds expected by the scores over frauds observed; 1 is right. None without frauds."""
    truth, value = checked(label, score, probability=True)
    observed = float(truth.sum())
    return float(value.sum()) / observed if observed else None


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions against the truth."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        """Share of the alerts that were fraud; None without alerts."""
        alerts = self.true_positives + self.false_positives
        return self.true_positives / alerts if alerts else None

    @property
    def recall(self) -> float | None:
        """Share of the frauds that were alerted; None without frauds."""
        frauds = self.true_positives + self.false_negatives
        return self.true_positives / frauds if frauds else None


def confusion(label: Array, alert: Array) -> Confusion:
    """Counts for decisions `alert` (boolean)."""
    truth, flag = np.asarray(label).astype(bool), np.asarray(alert).astype(bool)
    return Confusion(
        true_positives=int(np.sum(truth & flag)),
        false_positives=int(np.sum(~truth & flag)),
        true_negatives=int(np.sum(~truth & ~flag)),
        false_negatives=int(np.sum(truth & ~flag)),
    )


def confusion_at_threshold(label: Array, score: Array, threshold: float) -> Confusion:
    """Counts when scores of at least `threshold` are alerts."""
    truth, value = checked(label, score)
    return confusion(truth, value >= threshold)


def row_costs(
    label: Array, amount: Array, alert: Array, review_cost: float, loss_share: float
) -> Floats:
    """What each row costs, in the amounts' currency (Bahnsen et al. 2013, example-dependent).

    An alert costs its review, whether it was right or not; a missed fraud costs its amount times
    `loss_share`; a passed legitimate transaction costs nothing.
    """
    flag = np.asarray(alert).astype(bool)
    missed = np.asarray(label).astype(bool) & ~flag
    loss = np.where(missed, np.asarray(amount, dtype=np.float64) * loss_share, 0.0)
    return np.where(flag, review_cost, 0.0) + loss


def cost(
    label: Array, amount: Array, alert: Array, review_cost: float, loss_share: float
) -> float | None:
    """Total of `row_costs`; None without rows."""
    if np.asarray(label).size == 0:
        return None
    return float(np.sum(row_costs(label, amount, alert, review_cost, loss_share)))


def savings(
    label: Array, amount: Array, alert: Array, review_cost: float, loss_share: float
) -> float | None:
    """1 - cost / cost of doing nothing: 1 is perfect and free, below 0 is worse than nothing.

    Bahnsen et al. 2013 divide by the cheaper of "alert nothing" and "alert everything"; no
    budget allows the latter, so it is always the former here. None where nothing would be lost.
    """
    nothing = cost(label, amount, np.zeros(np.asarray(label).size), review_cost, loss_share)
    spent = cost(label, amount, alert, review_cost, loss_share)
    if not nothing or spent is None:
        return None
    return 1.0 - spent / nothing


@dataclass(frozen=True)
class CardPrecisionDay:
    """Card precision of one day; `value` is None when no card was compromised that day."""

    day: date
    cards: int
    compromised: int
    detected: int
    value: float | None


@dataclass(frozen=True)
class CardPrecision:
    """Card precision at k: the mean over days, and the best mean that any ranking could reach."""

    k: int
    value: float | None
    achievable: float | None
    days: tuple[CardPrecisionDay, ...]


def card_precision_at_k(
    frame: pl.DataFrame,
    k: int,
    known_by_day: KnownPayers | None = None,
    *,
    drop_detected: bool = True,
) -> CardPrecision:
    """Share of compromised cards among the k most suspicious ones, per day and on average.

    Fraud Detection Handbook, chapter 4.4: per day a card is ranked by its highest score and is
    compromised if one of its transactions is a fraud; the denominator is always k. Cards known
    before the day are left out, and so are those that were found among an earlier day's top k.
    Equal scores are ranked by payer id. Days without any compromised card that was still unknown
    by the labels are None and are left out of the mean.

    Args:
        frame: columns `day`, `payer_id`, `label`, `score`; rows without a payer are ignored.
        k: cards that can be reviewed in a day.
        known_by_day: payers known before each day.
        drop_detected: whether a card that was found is gone on later days.

    Returns:
        The mean, its exact ceiling (the most detections that k reviews a day allow, each card once
        if `drop_detected`), and the days. Value and ceiling are None if no day is computable.
    """
    cards = (
        without_known_payers(frame.select(DAY, PAYER, LABEL, SCORE), known_by_day)
        .drop_nulls(PAYER)
        .group_by(DAY, PAYER)
        .agg(pl.col(SCORE).max(), pl.col(LABEL).max())
        .sort([DAY, SCORE, PAYER], descending=[False, True, False])
    )
    detected: set[str] = set()
    days: list[CardPrecisionDay] = []
    compromised_on: list[list[str]] = []
    for key, ranked in cards.group_by(DAY, maintain_order=True):
        compromised_on.append(ranked.filter(pl.col(LABEL) == 1).get_column(PAYER).to_list())
        left = ranked.filter(~pl.col(PAYER).is_in(list(detected))) if drop_detected else ranked
        hits = left.head(k).filter(pl.col(LABEL) == 1).get_column(PAYER).to_list()
        detected.update(hits)
        days.append(
            CardPrecisionDay(
                day=key[0],
                cards=left.height,
                compromised=int(left.get_column(LABEL).sum()),
                detected=len(hits),
                value=len(hits) / k if compromised_on[-1] else None,
            )
        )
    values = [one.value for one in days if one.value is not None]
    if not values:
        return CardPrecision(k, None, None, tuple(days))
    best = _most_detections(compromised_on, k, once=drop_detected)
    return CardPrecision(
        k, sum(one.detected for one in days) / (k * len(values)), best / (k * len(values)),
        tuple(days),
    )  # fmt: skip


def checked(label: Array, score: Array, *, probability: bool = False) -> tuple[Floats, Floats]:
    """`label` and `score` as floats.

    Raises:
        ValueError: the lengths differ, a label is not 0 or 1, a score is not finite, or is not a
            probability where one is needed.
    """
    truth, value = np.asarray(label, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if truth.shape != value.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {value.shape} must be of one length")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1: unknown ones do not belong in a metric")
    if not np.isfinite(value).all():
        raise ValueError(f"{int((~np.isfinite(value)).sum())} scores are missing or infinite")
    if probability and value.size and (value.min() < 0.0 or value.max() > 1.0):
        raise ValueError(f"scores from {value.min()} to {value.max()} are not probabilities")
    return truth, value


def check_share(fraud_share: float | None) -> None:
    """Refuse a share of frauds that no weighting of the legitimate rows can give.

    Raises:
        ValueError: it is given and does not lie between 0 and 1.
    """
    if fraud_share is not None and not 0.0 < fraud_share < 1.0:
        raise ValueError(f"a share of frauds lies between 0 and 1, not {fraud_share}")


def tie_groups(score: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Last position of each group of equal scores, and the order, both from the highest down."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    return np.append(np.flatnonzero(np.diff(ranked)), score.size - 1).astype(np.intp), order


def _most_detections(compromised_on: list[list[str]], k: int, *, once: bool) -> int:
    """The most compromised cards that k reviews a day can find.

    When each counts once it is a maximum matching of cards to review slots (augmenting paths):
    taking whichever cards come first can waste a slot on one that is seen again tomorrow.
    """
    if not once:
        return sum(min(k, len(cards)) for cards in compromised_on)
    seen_on: dict[str, list[int]] = {}
    for number, cards in enumerate(compromised_on):
        for card in cards:
            seen_on.setdefault(card, []).append(number)
    slots: list[list[str]] = [[] for _ in compromised_on]

    def place(card: str, tried: set[int]) -> bool:
        for number in seen_on[card]:
            if number in tried:
                continue
            tried.add(number)
            if len(slots[number]) < k:
                slots[number].append(card)
                return True
            for position, other in enumerate(slots[number]):
                if place(other, tried):
                    slots[number][position] = card
                    return True
        return False

    return sum(place(card, set()) for card in sorted(seen_on))
