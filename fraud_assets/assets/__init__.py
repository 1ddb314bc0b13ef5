"""The software-defined assets: thin adapters that read, call the domain, write and describe.

No rule about fraud, features or models belongs here. Every module has one `build_…` function,
because the partitions and the column schemas depend on the settings and the profile.
"""

from __future__ import annotations

from typing import Final

from fraud_assets.lake import LABELS as LABELS
from fraud_assets.lake import VALIDATED as VALIDATED

OWNERS: Final = ["team:fraud-data"]

RAW: Final = "raw_transactions"
QUARANTINED: Final = "quarantined_transactions"
FEATURES: Final = "transaction_features"
MODEL: Final = "fraud_model"
EVALUATION: Final = "evaluation_report"
CHAMPION: Final = "champion_model"
PREDICTIONS: Final = "fraud_predictions"
DRIFT: Final = "drift_report"
PERFORMANCE: Final = "performance_report"
DECISION: Final = "loop_decision"
DASHBOARD: Final = "debugging_dashboard"

RETRAINING: Final = "retraining"
"""The job that materialises the models; named here, because a decision asks whether it runs."""
