"""Everything that the gate looks at, gathered for one candidate.

The parts are `evaluation`, `baselines`, `leakage`, `gate`, `latency` and `plots`; this puts them
together in one pass over the gate days. Reading the days and keeping the report is the asset's
business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud_assets.modeling.baselines import (
    BaselineEvaluation,
    Baselines,
    evaluate_baselines,
    rule_average_precision,
)
from fraud_assets.modeling.dataset import KnownPayers, without_known_payers
from fraud_assets.modeling.evaluation import Comparison, Evaluation, compare, evaluate
from fraud_assets.modeling.gate import PromotionDecision, decide_promotion
from fraud_assets.modeling.latency import single_score_latency_ms
from fraud_assets.modeling.leakage import (
    LeakageAlarm,
    ShuffledLabelControl,
    best_single_feature_auc,
    leakage_alarms,
)
from fraud_assets.modeling.scoring import Scorer
from fraud_assets.transactions.columns import AMOUNT, DAY, LABEL, SCORE
from fraud_assets.transactions.profile import Profile


@dataclass(frozen=True)
class GateReport:
    """A candidate's report: both models' evaluations, their comparison, and the decision.

    `baselines` are told and do not decide: the gate compares with the champion.
    """

    champion_title: str
    candidate: Evaluation
    champion: Evaluation
    comparison: Comparison
    decision: PromotionDecision
    latency_ms: float | None
    best_single_feature: str | None
    best_single_feature_auc: float | None
    baselines: tuple[BaselineEvaluation, ...]
    control: ShuffledLabelControl | None
    candidate_rows: pl.DataFrame
    champion_rows: pl.DataFrame

    @property
    def leakage_alarms(self) -> tuple[LeakageAlarm, ...]:
        """What is too good to be true; see `leakage`."""
        return leakage_alarms(
            best_single_feature=self.best_single_feature,
            best_single_feature_auc=self.best_single_feature_auc,
            rule_average_precision=rule_average_precision(self.baselines),
            average_precision=self.candidate.average_precision.estimate,
            control=self.control,
        )

    def document(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return {
            "decision": self.decision.model_dump(mode="json"),
            "comparison": self.comparison.model_dump(mode="json"),
            "candidate": self.candidate.model_dump(mode="json"),
            "champion": self.champion.model_dump(mode="json"),
            "champion_title": self.champion_title,
            "confusion": self.confusion(),
            "baselines": [one.model_dump(mode="json") for one in self.baselines],
            "best_single_feature": self.best_single_feature,
            "best_single_feature_auc": self.best_single_feature_auc,
            "control": self.control.model_dump(mode="json") if self.control else None,
            "latency_ms": self.latency_ms,
        }

    def confusion(self) -> dict[str, int]:
        """The candidate's decisions at its own threshold."""
        found = self.candidate
        return {
            "caught": found.caught,
            "missed": found.positives - found.caught,
            "false_alerts": found.alerts - found.caught,
            "rightly_passed": found.rows - found.positives - found.alerts + found.caught,
        }

    def pictures(self, profile: Profile) -> dict[str, bytes]:
        """PNG pictures by name, in the order in which to show them."""
        from fraud_assets.modeling.reporting import plots

        rows, money = self.candidate_rows, profile.decision
        label, score = rows[LABEL].to_numpy(), rows[SCORE].to_numpy()
        return {
            "precision_recall": plots.precision_recall(
                label,
                score,
                self.champion_rows[SCORE].to_numpy(),
                day=rows[DAY].to_numpy(),
                alerts_per_day=money.alert_budget_per_day,
            ),
            "calibration": plots.reliability(label, score),
            "cost_curve": plots.cost_curve(
                label,
                rows[AMOUNT].to_numpy(),
                score,
                review_cost=money.review_cost,
                loss_share=money.loss_share,
                days=rows[DAY].n_unique(),
                threshold=rows["threshold"][0] if rows.height else None,
            ),
            "by_day": plots.average_precision_by_day(
                [one.day for one in self.candidate.by_day],
                [one.average_precision for one in self.candidate.by_day],
                [one.average_precision for one in self.champion.by_day],
            ),
            "slices": plots.slice_bars(self.candidate.slices, self.candidate.alert_recall),
        }


def judge_candidate(
    candidate: Scorer,
    champion: Scorer,
    rows: pl.DataFrame,
    *,
    known_by_day: KnownPayers,
    profile: Profile,
    feature_names: Sequence[str],
    champion_title: str,
    baselines: Baselines | None,
    control: ShuffledLabelControl | None = None,
) -> GateReport:
    """Score the gate days with both models and decide on the promotion.

    Args:
        candidate: the challenger.
        champion: the model in force, or the rule set.
        rows: labelled rows of the gate days, as `dataset.labelled_rows` gives them.
        known_by_day: payers known to be compromised before each gate day.
        profile: costs, budget and the gate's limits.
        feature_names: features among the columns, for the leakage check.
        champion_title: what to call the champion in the reasons.
        baselines: simple methods fitted on the candidate's training days, judged beside it; None
            judges none.
        control: of `leakage.shuffled_label_control`; one that failed refuses the candidate.
    """
    ours, theirs = (
        pl.concat([rows, model.score(rows)], how="horizontal") for model in (candidate, champion)
    )
    gate, seed = profile.gate, profile.training.seed

    def evaluated(frame: pl.DataFrame) -> Evaluation:
        return evaluate(
            frame,
            decision=profile.decision,
            known_by_day=known_by_day,
            samples=gate.bootstrap_samples,
            confidence=gate.confidence,
            seed=seed,
        )

    evaluation = evaluated(ours)
    comparison = compare(
        ours,
        theirs,
        decision=profile.decision,
        known_by_day=known_by_day,
        samples=gate.bootstrap_samples,
        confidence=gate.confidence,
        seed=seed,
    )
    latency = single_score_latency_ms(candidate, rows)
    feature, area = best_single_feature_auc(without_known_payers(rows, known_by_day), feature_names)
    judged: tuple[BaselineEvaluation, ...] = ()
    if baselines is not None:
        judged = evaluate_baselines(
            baselines,
            ours,
            known_by_day=known_by_day,
            alert_budget_per_day=profile.decision.alert_budget_per_day,
            samples=gate.bootstrap_samples,
            confidence=gate.confidence,
            seed=seed,
        )
    return GateReport(
        champion_title=champion_title,
        candidate=evaluation,
        champion=evaluated(theirs),
        comparison=comparison,
        decision=decide_promotion(
            comparison,
            evaluation,
            gate,
            latency_ms=latency,
            champion=champion_title,
            shuffled_labels_predicted=control is not None and control.passed is False,
        ),
        latency_ms=latency,
        best_single_feature=feature,
        best_single_feature_auc=area,
        baselines=judged,
        control=control,
        candidate_rows=without_known_payers(ours, known_by_day),
        champion_rows=without_known_payers(theirs, known_by_day),
    )
