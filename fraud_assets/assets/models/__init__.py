"""The group `models`: a candidate, its report, and the promotion; one module each."""

from pathlib import Path

import dagster as dg

from fraud_assets.assets.models.evaluation import build_evaluation_report
from fraud_assets.assets.models.promotion import build_champion_model
from fraud_assets.assets.models.setting import ModelSetting
from fraud_assets.assets.models.training import build_fraud_model
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.matrices import column_directions
from fraud_assets.partitions import SimulationDays
from fraud_assets.transactions.profile import Profile


def build_model_assets(
    days: SimulationDays, profile: Profile, features: FeatureSet, threads: int, studies: Path
) -> list[dg.AssetsDefinition]:
    """The group `models`; `studies` is the folder of searches that are under way.

    Raises:
        ValueError: `training.monotone` names something else than a numeric feature.
    """
    column_directions(
        profile.training.monotone, (features.numeric_names, features.categorical_names)
    )
    setting = ModelSetting(days, profile, features, threads, studies)
    return [
        build_fraud_model(setting),
        build_evaluation_report(setting),
        build_champion_model(setting),
    ]
