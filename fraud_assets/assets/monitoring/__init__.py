"""The group `monitoring`: drift, performance, what was decided about them, and a page for alarms.

Each module builds one asset. What is measured and decided is the business of
`fraud_assets.monitoring`; here days are read, written and described.
"""

import dagster as dg

from fraud_assets.assets.monitoring.dashboard import build_debugging_dashboard
from fraud_assets.assets.monitoring.decision import build_loop_decision
from fraud_assets.assets.monitoring.drift import build_drift_report
from fraud_assets.assets.monitoring.performance import build_performance_report
from fraud_assets.assets.monitoring.setting import MonitoringSetting
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.partitions import SimulationDays
from fraud_assets.transactions.profile import Profile


def build_monitoring_assets(
    days: SimulationDays, profile: Profile, features: FeatureSet, ui_url: str
) -> list[dg.AssetsDefinition]:
    """The group `monitoring`."""
    setting = MonitoringSetting(days, profile, features, ui_url)
    return [
        build_drift_report(setting),
        build_performance_report(setting),
        build_loop_decision(setting),
        build_debugging_dashboard(setting),
    ]
