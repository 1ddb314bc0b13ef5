"""A gate report as it was written down, read back with types and checked on the way.

`report.GateReport.document` writes it; cards and pages read it, perhaps months later. What both
of them say of it stands here too. How the numbers come about belongs in `report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fraud_assets.modeling.baselines import BaselineEvaluation
from fraud_assets.modeling.evaluation import Comparison, Evaluation
from fraud_assets.modeling.gate import PromotionDecision
from fraud_assets.modeling.leakage import ShuffledLabelControl
from fraud_assets.modeling.reporting.wording import count, limits, metric, money, share


class ReportDocumentError(ValueError):
    """The document is not a gate report; the message names the fields and the remedy."""


class Measured(NamedTuple):
    """A number as it is written, and what stands beside it: its interval, or what it is of."""

    value: str
    detail: str = ""


class ReportDocument(BaseModel):
    """What `GateReport.document` holds, but for what is stored beside it."""

    # Assets keep lineage (their record, the model's hash) in the same file.
    model_config = ConfigDict(extra="ignore", frozen=True)

    decision: PromotionDecision
    comparison: Comparison
    candidate: Evaluation
    champion: Evaluation
    champion_title: str
    confusion: dict[str, int]
    baselines: tuple[BaselineEvaluation, ...]
    best_single_feature: str | None
    best_single_feature_auc: float | None
    control: ShuffledLabelControl | None
    latency_ms: float | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """The report in `document`, as JSON gives it.

        Raises:
            ReportDocumentError: a field is missing or wrong.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
                for one in error.errors()[:5]
            )
            raise ReportDocumentError(
                f"not a gate report of this version ({wrong}): evaluate the candidate again"
            ) from error

    @property
    def verdict(self) -> str:
        """What the gate decided, in one sentence."""
        if self.decision.promote:
            return f"Promoted: it was better than {self.champion_title} on later days."
        return f"Not promoted: {self.champion_title} stays in force."

    def compared(self) -> list[tuple[str, Measured, Measured]]:
        """The metrics of both models on the same rows: name, candidate, champion.

        What leads comes first: average precision, card precision and money, then the rest.
        """
        ours, theirs = _measured(self.candidate), _measured(self.champion)
        return [(name, ours[name], theirs[name]) for name in ours]


def _measured(found: Evaluation) -> dict[str, Measured]:
    precision, budget = found.average_precision, found.alert_budget_per_day
    best = found.card_precision_achievable
    return {
        "average precision": Measured(
            metric(precision.estimate), limits(precision.low, precision.high)
        ),
        f"card precision at {budget} a day": Measured(
            metric(found.card_precision), "" if best is None else f"of {metric(best)} possible"
        ),
        f"recall at {count(budget, 'alert')} a day": Measured(share(found.recall_at_budget)),
        "cost": Measured(money(found.cost)),
        "saved against doing nothing": Measured(share(found.savings)),
        "alerts at the threshold": Measured(count(found.alerts)),
        "frauds caught by them": Measured(
            share(found.alert_recall), f"{found.caught:,} of {found.positives:,}"
        ),
        "alerts that were right": Measured(share(found.alert_precision)),
        "precision at 90% recall": Measured(share(found.precision_at_90_recall)),
        "expected over observed frauds": Measured(metric(found.calibration_ratio, 2)),
        "expected calibration error": Measured(metric(found.expected_calibration_error, 4)),
        "Brier score": Measured(metric(found.brier, 5)),
        "ROC AUC": Measured(metric(found.roc_auc)),
    }
