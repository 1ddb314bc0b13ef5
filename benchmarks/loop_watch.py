"""What the policies look at: a day against the champion's reference, and the champion's gate.

Made by the application's own code, from what is known at the close of the day.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from loop_candidates import RULES, Candidates

from fraud_assets.modeling.manifest import DayWindow
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.daily.models import GateLevel, Reference, build_reference
from fraud_assets.monitoring.drift import drift_columns, measure_drift
from fraud_assets.transactions.columns import EVENT_TIME, PAYER, TRANSACTION_ID
from fraud_assets.transactions.profile import Profile

IDENTITY = (TRANSACTION_ID, EVENT_TIME, PAYER, "amount")


class Watch:
    """A world's days as they look to the champions of the day."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self.columns = drift_columns(candidates.world.feature_set)
        self._references: dict[str, Reference] = {}
        self._shares: dict[tuple[str, date], float | None] = {}

    @property
    def profile(self) -> Profile:
        """Of the world."""
        return self.candidates.world.profile

    def reference(self, version: str) -> Reference | None:
        """What a model's days are compared with; the rules have none."""
        model = self.candidates.model(version)
        if not isinstance(model, FraudModel):
            return None
        if version not in self._references:
            world, found = self.candidates.world, model.manifest
            self._references[version] = build_reference(
                model,
                world.of_days(_days(found.reference_window)),
                world.of_days(_days(found.gate_window)),
                self.columns,
                self.profile,
            )
        return self._references[version]

    def gate_level(self, version: str) -> GateLevel:
        """What a champion reached when it was promoted; nothing is known of the rules."""
        if version == RULES.version:
            return GateLevel(None, None)
        return GateLevel.of(self.candidates.evaluation(version))

    def predictions(self, version: str, day: date) -> pl.DataFrame:
        """What a model said of a day, as it would have been kept."""
        features = self.candidates.world.features[day]
        scored = self.candidates.scored(version, [day])
        return pl.concat([features.select(IDENTITY), scored], how="horizontal").with_columns(
            pl.lit(version).alias("model_version")
        )

    def current(self, version: str, day: date) -> pl.DataFrame:
        """The features of a day, with a model's scores and decisions."""
        features = self.candidates.world.features[day]
        return pl.concat([features, self.candidates.scored(version, [day])], how="horizontal")

    def drift_share(self, version: str, day: date) -> float | None:
        """Share of drifted inputs of a day against a model's training days."""
        reference = self.reference(version)
        if reference is None:
            return None
        if (version, day) not in self._shares:
            found = measure_drift(
                self.current(version, day), reference.frame, self.columns,
                self.profile.monitoring, self.profile.training.seed, html=False,
            )  # fmt: skip
            self._shares[version, day] = found.drift_share
        return self._shares[version, day]


def _days(window: DayWindow) -> list[date]:
    return [window.first + timedelta(days=i) for i in range((window.last - window.first).days + 1)]
