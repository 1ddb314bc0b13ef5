"""The models that a day is watched with, and what its transactions are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Self

import polars as pl

from fraud_assets.modeling.evaluation import Evaluation
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.drift import DriftColumns, sample_rows
from fraud_assets.monitoring.records import AlternativeKind
from fraud_assets.transactions.columns import DAY, DECISION, EVENT_TIME, SCORE
from fraud_assets.transactions.profile import Profile


@dataclass(frozen=True)
class Watched:
    """The models of a day: the one that scored it, and those that it is compared with."""

    in_force: FraudModel | RuleSet
    rules: RuleSet
    formers: tuple[FraudModel, ...] = ()
    suspended: FraudModel | None = None

    @property
    def reference_model(self) -> FraudModel | None:
        """The model whose training days are the reference: one that is waited for comes first."""
        if self.suspended is not None:
            return self.suspended
        return self.in_force if isinstance(self.in_force, FraudModel) else None

    @property
    def others(self) -> dict[str, AlternativeKind]:
        """Every other model by version, and what it is."""
        kinds: dict[str, AlternativeKind] = {self.rules.version: "rules"}
        kinds |= {one.version: "former" for one in self.formers}
        if self.suspended is not None:
            kinds[self.suspended.version] = "suspended"
        return {
            version: kind for version, kind in kinds.items() if version != self.in_force.version
        }

    @property
    def all(self) -> tuple[FraudModel | RuleSet, ...]:
        """Each model once, the one in force first."""
        models = (self.in_force, self.suspended, *self.formers, self.rules)
        return tuple({one.version: one for one in models if one is not None}.values())


@dataclass(frozen=True)
class Reference:
    """What a model's days are compared with.

    `frame` has a sample of the inputs of its training days, and beside them (not of the same rows)
    scores of its gate days. `alerts_by_day` are (alerts, rows) of each gate day.
    """

    version: str
    frame: pl.DataFrame
    rows: int
    days: str
    alerts_by_day: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class GateLevel:
    """What a champion reached on the days on which it was promoted."""

    average_precision: float | None
    fraud_share: float | None

    @classmethod
    def of(cls, judged: Evaluation) -> Self:
        """From its evaluation on the gate days.

        The mean over days and not the average precision of all days' rows, which is lower where
        days have few frauds: matured days are averaged in the same way.
        """
        days = [one.average_precision for one in judged.by_day]
        known = [value for value in days if value is not None]
        share = judged.positives / judged.rows if judged.rows else 0.0
        return cls(
            average_precision=fmean(known) if known else None,
            fraud_share=share if 0.0 < share < 1.0 else None,
        )


def build_reference(
    model: FraudModel,
    inputs: pl.DataFrame,
    gate_features: pl.DataFrame,
    columns: DriftColumns,
    profile: Profile,
) -> Reference:
    """A seeded sample of a champion's warm training days, with scores of its gate days.

    The scores of a model on the days that it was fitted on would look better than any later day's,
    so they come from the gate days, which it had not seen.

    Args:
        model: the champion.
        inputs: features of the days of `manifest.reference_window`.
        gate_features: features of the days of `manifest.gate_window`, with `event_time`.
        columns: the inputs that are compared.
        profile: the sample's size and seed.
    """
    wanted, seed = profile.monitoring.sample_rows, profile.training.seed
    names = [*columns.numeric, *columns.categorical]
    sample = sample_rows(inputs.select(names), wanted, (seed, 2))
    scored = model.score(gate_features)
    alerts = (
        gate_features.select(pl.col(EVENT_TIME).dt.date().alias(DAY))
        .with_columns((scored.get_column(DECISION) == "alert").alias("alert"))
        .group_by(DAY)
        .agg(pl.col("alert").sum().cast(pl.Int64), pl.len().cast(pl.Int64).alias("rows"))
        .sort(DAY)
    )
    scores = sample_rows(scored.select(SCORE), sample.height, (seed, 3))
    sides = sample_rows(sample, scores.height, (seed, 4)), scores
    return Reference(
        version=model.version,
        frame=pl.concat(sides, how="horizontal"),
        rows=inputs.height,
        days=str(model.manifest.reference_window),
        alerts_by_day=tuple(
            (int(a), int(n)) for a, n in alerts.select("alert", "rows").iter_rows()
        ),
    )
