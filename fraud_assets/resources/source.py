"""The transaction source that the settings name."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg

from fraud_assets.clock import SimulationClock
from fraud_assets.settings import Settings
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources import (
    AsOf,
    FileSource,
    LandingFolderSource,
    SimulatorSource,
    SqlSource,
    TransactionSource,
)


def build_source(settings: Settings, profile: Profile) -> TransactionSource:
    """The whole source, whatever the clock says."""
    if settings.source == "simulator":
        return SimulatorSource(settings.simulator, settings.first_day, settings.days)
    if settings.source == "sql":
        assert settings.source_url is not None  # noqa: S101  the settings refuse this
        assert settings.source_query is not None  # noqa: S101
        return SqlSource(
            settings.source_url.get_secret_value(),
            settings.source_query,
            days_query=settings.source_days_query,
        )
    assert settings.source_path is not None  # noqa: S101
    if settings.source == "file":
        return FileSource(settings.source_path, profile, settings.cache_dir / "split")
    return LandingFolderSource(settings.source_path, profile.csv)


def landed_source(settings: Settings, profile: Profile) -> TransactionSource:
    """The source as it looks at the clock: with no clock, the simulator has landed nothing."""
    source = build_source(settings, profile)
    today = SimulationClock(settings.data_dir).today()
    if today is None and settings.source != "simulator":
        return source
    return AsOf(source, today or settings.first_day - timedelta(days=1))


def landed_days(settings: Settings, profile: Profile) -> list[date]:
    """The partitions whose transactions are there, oldest first.

    A day without a row between two days of one file or table is an empty day, and is closed as
    such. In a landing folder it is a file that is late, and is waited for.
    """
    days = landed_source(settings, profile).days()
    if days and settings.source in ("file", "sql"):
        days = [days[0] + timedelta(days=i) for i in range((days[-1] - days[0]).days + 1)]
    return [day for day in days if settings.first_day <= day <= settings.last_day]


def source_resource(settings: Settings, profile: Profile) -> dg.ResourceDefinition:
    """The source as an asset reads it: any of its days, also ahead of the clock."""
    return dg.ResourceDefinition(
        lambda _: build_source(settings, profile),
        description=f"Raw transactions: {settings.source}, read by the profile '{profile.name}'.",
    )
