"""Days of transactions in memory, read through the application's own code.

Validation, labels on the days on which they became known, and point-in-time features; for
benchmarks that ask about models and not about the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.dataset import labelled_rows
from fraud_assets.transactions.labels import label_lookback_days, labels_known_on
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.validation import validate_day


@dataclass(frozen=True)
class History:
    """Validated transactions, the labels that became known day by day, and all days."""

    transactions: pl.DataFrame
    labels: pl.DataFrame
    days: tuple[date, ...]
    quarantined: int

    @classmethod
    def of(cls, raw_days: Iterable[tuple[date, pl.DataFrame]], profile: Profile) -> History:
        """Every raw day through validation, and its labels on the days they are known."""
        validated: dict[date, pl.DataFrame] = {}
        quarantined = 0
        for day, raw in raw_days:
            outcome = validate_day(raw, profile, day)
            validated[day] = outcome.validated
            quarantined += outcome.quarantined.height
        days = tuple(validated)
        lookback = label_lookback_days(profile)
        known = []
        for day in [*days, *(days[-1] + timedelta(days=i + 1) for i in range(lookback))]:
            recent = [d for i in range(lookback + 1) if (d := day - timedelta(days=i)) in validated]
            if recent:
                told = pl.concat([validated[d] for d in recent])
                known.append(labels_known_on(told, day, profile))
        return cls(pl.concat(validated.values()), pl.concat(known), days, quarantined)

    def rows(self, features: FeatureSet, *, labels: pl.DataFrame | None = None) -> pl.DataFrame:
        """Features of every transaction with its label, whenever that became known.

        `labels` may be others than the real ones, for a leak that is made on purpose.
        """
        used = self.labels if labels is None else labels
        found = compute_features(features, self.transactions, used, self.days)
        return labelled_rows(found, self.labels, self.days[-1] + timedelta(days=365))
