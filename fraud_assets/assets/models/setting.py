"""What the three assets of the group share: the days that they read, and the files they leave."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import dagster as dg

from fraud_assets.assets import FEATURES, LABELS, OWNERS
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.splits import NotEnoughHistoryError, SplitPlan, days_looked_at
from fraud_assets.partitions import SimulationDays, trailing_mapping
from fraud_assets.transactions.profile import Profile

CANDIDATE_FILE: Final = "candidate.json"
EVALUATION_FILE: Final = "evaluation.json"
EVALUATION_PAGE: Final = "evaluation.html"
MODEL_CARD: Final = "model_card.md"
PROMOTION_FILE: Final = "promotion.json"


@dataclass(frozen=True)
class ModelSetting:
    """The installation, as far as the models depend on it."""

    days: SimulationDays
    profile: Profile
    features: FeatureSet
    threads: int
    studies: Path

    @property
    def history(self) -> int:
        """Days before a training day that it may read."""
        return days_looked_at(self.profile.label_delay_days, self.profile.training)

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of every asset of the group."""
        return {
            "group_name": "models",
            "owners": OWNERS,
            "partitions_def": self.days.definition,
            # A run a day, in order: a candidate is compared with what the day before promoted.
            "backfill_policy": dg.BackfillPolicy.multi_run(1),
            "code_version": "2",
            "pool": "training",
        }

    def data(self, label_lookback: int = 0) -> list[dg.AssetDep]:
        """The trailing days of features, and of labels with `label_lookback` days more."""
        window, told = self.history, self.history + label_lookback
        return [
            dg.AssetDep(FEATURES, partition_mapping=trailing_mapping(window)),
            dg.AssetDep(LABELS, partition_mapping=trailing_mapping(told)),
        ]

    def study_folder(self, day: date) -> Path:
        """Where the search of a day's training is kept: a journal belongs to one training."""
        return self.studies / day.isoformat()

    def split(self, day: date) -> SplitPlan:
        """The days of a training as of `day`; fails without a retry where history is too short."""
        try:
            return SplitPlan.as_of(
                day, self.profile.label_delay_days, self.profile.training, self.days.first_day
            )
        except NotEnoughHistoryError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
