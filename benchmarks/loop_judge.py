"""What each model was worth on each day, by the labels that were known after the delay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from loop_candidates import Candidates

from fraud_assets.modeling import metrics
from fraud_assets.modeling.dataset import without_known_payers
from fraud_assets.transactions.columns import (
    AMOUNT,
    DAY,
    LABEL,
    PAYER,
    SCORE,
    TRANSACTION_ID,
)


@dataclass(frozen=True)
class Figures:
    """One model on one day. Money is in the amounts' currency; None is not computable.

    `spent` is what alerts and missed frauds cost, `lost_without` what the frauds would have taken.
    """

    frauds: int
    average_precision: float | None
    card_precision: float | None
    card_precision_ceiling: float | None
    spent: float
    lost_without: float


class Judge:
    """Judges days prequentially: a day's scores against its labels of `label delay` days later."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._rows: dict[date, pl.DataFrame] = {}
        self._figures: dict[tuple[str, date], Figures] = {}

    def figures(self, version: str, day: date) -> Figures:
        """A model's day, without the payers that were known before it."""
        if (version, day) not in self._figures:
            self._figures[version, day] = self._judged(version, day)
        return self._figures[version, day]

    def _judged(self, version: str, day: date) -> Figures:
        if day not in self._rows:
            self._rows[day] = self._known(day)
        rows = self._rows[day]
        at = rows["at"].to_numpy()
        scored = self._candidates.scored(version, [day])[at]
        label, amount = rows[LABEL].to_numpy(), rows[AMOUNT].to_numpy()
        alert = (scored["decision"] == "alert").to_numpy()
        choices = self._candidates.world.profile.decision
        cards = metrics.card_precision_at_k(
            rows.with_columns(scored[SCORE]), choices.alert_budget_per_day
        )
        money = (choices.review_cost, choices.loss_share)
        return Figures(
            frauds=int(label.sum()),
            average_precision=metrics.average_precision(label, scored[SCORE].to_numpy()),
            card_precision=cards.value,
            card_precision_ceiling=cards.achievable,
            spent=metrics.cost(label, amount, alert, *money) or 0.0,
            lost_without=metrics.cost(label, amount, np.zeros(label.size), *money) or 0.0,
        )

    def _known(self, day: date) -> pl.DataFrame:
        """The judged rows of a day, and where each stands among all rows of the day."""
        world = self._candidates.world
        as_of = day + timedelta(days=world.delay)
        places = world.features[day].select(TRANSACTION_ID).with_row_index("at")
        rows = world.labelled([day], as_of).select(TRANSACTION_ID, PAYER, AMOUNT, LABEL, DAY)
        judged = without_known_payers(rows, world.known_payers([day], as_of))
        return judged.join(places, on=TRANSACTION_ID, maintain_order="left")
