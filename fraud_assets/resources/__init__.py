"""What the assets use of the outside world, built once from the settings.

`build_resources` is the only place where settings become objects. Secrets stay inside the
closures, so that the UI shows a description of each resource and never its URL.
"""

from __future__ import annotations

import dagster as dg

from fraud_assets.lake import Lake
from fraud_assets.resources.registry import registry_resource
from fraud_assets.resources.source import source_resource
from fraud_assets.resources.tracking import tracking_resource
from fraud_assets.settings import Settings
from fraud_assets.transactions.profile import Profile

__all__ = ["build_resources"]


def build_resources(settings: Settings, profile: Profile) -> dict[str, dg.ResourceDefinition]:
    """Resources by key: `lake`, `source`, `store`, `registry` and `tracking`."""
    return {
        "lake": dg.ResourceDefinition(
            lambda _: Lake(settings.lake_root),
            description="Parquet files by asset and day, on a local disk or an object store.",
        ),
        "source": source_resource(settings, profile),
        "store": store_resource(settings),
        "registry": registry_resource(settings),
        "tracking": tracking_resource(settings),
    }


def store_resource(settings: Settings) -> dg.ResourceDefinition:
    """The prediction store, migrated to the current schema before its first use."""

    def create(_: dg.InitResourceContext) -> object:
        from fraud_assets.store.engine import PredictionStore
        from fraud_assets.store.migrate import migrate

        migrate(settings.store_sqlalchemy_url)
        return PredictionStore(settings.store_sqlalchemy_url)

    return dg.ResourceDefinition(
        create,
        description=(
            "Predictions, analysts' labels, promotions, decisions and alerts: SQLite or PostgreSQL."
        ),
    )
