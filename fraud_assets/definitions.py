"""The one assembly point: `build_defs` from settings, and `defs` for Dagster's tools.

Nothing is read from the environment until Dagster asks for `defs`.
"""

from __future__ import annotations

import dagster as dg

from fraud_assets.assets.features import build_feature_assets
from fraud_assets.assets.models import build_model_assets
from fraud_assets.assets.monitoring import build_monitoring_assets
from fraud_assets.assets.scoring import build_scoring_assets
from fraud_assets.assets.transactions import build_transaction_assets
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.jobs import RETENTION, RETRAINING, build_jobs
from fraud_assets.partitions import SimulationDays
from fraud_assets.resources import build_resources
from fraud_assets.schedules import build_schedules
from fraud_assets.sensors import build_sensors
from fraud_assets.settings import Settings
from fraud_assets.transactions.profile import load_profile


def build_defs(settings: Settings) -> dg.Definitions:
    """Assets, checks, jobs, sensors, schedules and resources of one installation.

    Raises:
        ProfileError: the profile that the settings name cannot be used.
    """
    profile = load_profile(settings.profile)
    days = SimulationDays(settings.first_day, settings.days)
    features = FeatureSet.from_profile(profile)
    threads = settings.thread_count
    jobs = {job.name: job for job in build_jobs()}
    return dg.Definitions(
        assets=[
            *build_transaction_assets(days, profile),
            *build_feature_assets(days, profile, features, threads),
            *build_model_assets(days, profile, features, threads, settings.studies_dir),
            *build_scoring_assets(days),
            *build_monitoring_assets(days, profile, features, settings.alerts.ui_url),
        ],
        jobs=list(jobs.values()),
        sensors=build_sensors(settings, profile, jobs),
        schedules=build_schedules(jobs[RETRAINING], jobs[RETENTION], settings.keep_days),
        resources=build_resources(settings, profile),
        # A process per step costs seconds of imports for work of tenths of a second.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads."""
    return build_defs(Settings())
