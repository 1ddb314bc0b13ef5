"""The days of a world, read through the application's own code, as known at the end of any day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from handbook_data import read_handbook
from history import History
from loop_plans import Plan

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.dataset import KnownPayers, known_payers_by_day, labelled_rows
from fraud_assets.modeling.splits import days_looked_at
from fraud_assets.transactions.columns import EVENT_TIME, LABEL, LABEL_KNOWN_AT
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources.simulated import SimulatorSource


@dataclass(frozen=True)
class World:
    """A world's days: features by day, labels by the day on which they became known.

    Whoever asks says as of which day; later labels are not looked at. No label of these worlds is
    ever withdrawn.
    """

    plan: Plan
    features: Mapping[date, pl.DataFrame]
    labels: Mapping[date, pl.DataFrame]
    quarantine: Mapping[date, float]
    feature_set: FeatureSet
    frauds: Mapping[date, pl.DataFrame] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        """Of the plan."""
        return self.plan.profile

    @property
    def delay(self) -> int:
        """Days after which labels are mature."""
        return self.plan.profile.label_delay_days

    @property
    def lookback(self) -> int:
        """Days before a training day whose labels a training may read, as in the graph."""
        return days_looked_at(self.delay, self.profile.training)

    def of_days(self, days: Sequence[date]) -> pl.DataFrame:
        """The features of some days, in the order of time."""
        return pl.concat([self.features[day] for day in days])

    def labels_between(self, first: date, last: date) -> pl.DataFrame:
        """Labels that became known from `first` to `last`, both included."""
        return pl.concat([self.labels[day] for day in _between(first, last) if day in self.labels])

    def labelled(self, days: Sequence[date], as_of: date) -> pl.DataFrame:
        """Rows of `days` whose label is known at the end of `as_of`; no label precedes its row."""
        return labelled_rows(self.of_days(days), self.labels_between(days[0], as_of), as_of)

    def known_payers(self, days: Sequence[date], as_of: date) -> KnownPayers:
        """Payers known to be compromised before each of `days`, by labels known at `as_of`."""
        trailing = _between(as_of - timedelta(days=self.lookback), as_of)
        told = [self.frauds[day] for day in trailing if day in self.frauds]
        empty = next(iter(self.labels.values())).clear()
        return known_payers_by_day(pl.concat([empty, *told]), days)

    def judging_labels(self, matured: date, as_of: date) -> pl.DataFrame:
        """Labels known at the end of `as_of` that concern a matured day or its known payers."""
        trailing = _between(as_of - timedelta(days=self.lookback), matured - timedelta(days=1))
        told = [self.frauds[day] for day in trailing if day in self.frauds]
        return pl.concat([*told, self.labels_between(matured, as_of)])

    def cut(self, as_of: date) -> World:
        """This world as it is known at the end of `as_of`: nothing later is in it."""

        def until(frames: Mapping[date, Any]) -> dict[date, Any]:
            return {day: frame for day, frame in frames.items() if day <= as_of}

        return replace(
            self,
            features=until(self.features),
            labels=until(self.labels),
            frauds=until(self.frauds),
            quarantine=until(self.quarantine),
        )


def read_world(plan: Plan, folder: Path, last_day: date | None = None) -> World:
    """The world's days, made once and then read from `folder`.

    Args:
        plan: the world.
        folder: of this world; made if need be.
        last_day: makes a world that ends there, and keeps nothing in the folder.
    """
    features = FeatureSet.from_profile(plan.profile)
    if last_day is not None:
        return _world(plan, features, *_made(plan, features, last_day))
    kept = [folder / f"{name}.parquet" for name in ("features", "labels", "quarantine")]
    if not all(path.is_file() for path in kept):
        folder.mkdir(parents=True, exist_ok=True)
        for path, frame in zip(kept, _made(plan, features, plan.days[-1]), strict=True):
            part = path.with_suffix(".part")
            frame.write_parquet(part)
            part.replace(path)
    return _world(plan, features, *(pl.read_parquet(path) for path in kept))


def _made(
    plan: Plan, feature_set: FeatureSet, last_day: date
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Features and labels of all days, and the share of quarantined rows by day."""
    days = [day for day in plan.days if day <= last_day]
    if isinstance(plan.source, Path):
        history = read_handbook(plan.source, plan.profile, last_day)
        received = dict.fromkeys(days, 0)
    else:
        source = SimulatorSource(plan.source, plan.first_day, len(plan.days))
        raw = {day: source.read_day(day) for day in days}
        history = History.of(raw.items(), plan.profile)
        received = {day: frame.height for day, frame in raw.items()}
    features = compute_features(feature_set, history.transactions, history.labels, history.days)
    validated = dict(features.group_by(pl.col(EVENT_TIME).dt.date()).len().iter_rows())
    # Re-sent rows are among them: five in ten thousand.
    shares = [1 - validated[d] / received[d] if received[d] else 0.0 for d in days]
    return features, history.labels, pl.DataFrame({"day": days, "share": shares})


def _world(
    plan: Plan,
    feature_set: FeatureSet,
    features: pl.DataFrame,
    labels: pl.DataFrame,
    quarantine: pl.DataFrame,
) -> World:
    told = _by_day(labels, LABEL_KNOWN_AT)
    return World(
        plan=plan,
        features=_by_day(features, EVENT_TIME),
        labels=told,
        quarantine=dict(quarantine.iter_rows()),
        feature_set=feature_set,
        frauds={day: frame.filter(pl.col(LABEL) == 1) for day, frame in told.items()},
    )


def _by_day(frame: pl.DataFrame, moment: str) -> dict[date, pl.DataFrame]:
    dated = frame.with_columns(pl.col(moment).dt.date().alias("_day"))
    parts = dated.partition_by("_day", as_dict=True, include_key=False, maintain_order=True)
    return {key[0]: part for key, part in sorted(parts.items())}


def _between(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=i) for i in range((last - first).days + 1))
