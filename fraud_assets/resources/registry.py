"""The model registry as a resource."""

from __future__ import annotations

import dagster as dg

from fraud_assets.settings import Settings


def registry_resource(settings: Settings) -> dg.ResourceDefinition:
    """Versions, aliases and verified downloads; talks to MLflow only when it is used."""

    def create(_: dg.InitResourceContext) -> object:
        from fraud_assets.modeling.registry import ModelRegistry

        return ModelRegistry(
            settings.mlflow_uri, settings.registered_model, settings.cache_dir / "models"
        )

    return dg.ResourceDefinition(
        create, description="MLflow's model registry; a model is loaded only if its hash matches."
    )
