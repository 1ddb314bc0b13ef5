"""What a day's monitoring found, as plain facts: the records that reports and decisions share.

Only declarations belong here. `daily` fills them, `policy` decides on them, and the lake keeps
them as JSON beside each day's report, so that a decision can be traced and taken again.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

AlternativeKind = Literal["former", "suspended", "rules"]


class Alternative(BaseModel):
    """Another model compared with the one in force, on the same matured days.

    `former` was champion before, `suspended` is the champion that was fallen back from, `rules` is
    the rule set. Gains are positive where the alternative is better: in average precision, and in
    money per day. They are None where they cannot be computed; days on which either model had been
    trained are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    kind: AlternativeKind
    days: int
    frauds: int
    average_precision: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    cost_gain: float | None
    cost_gain_low: float | None
    cost_gain_high: float | None


class DayDrift(BaseModel):
    """A day's transactions against the reference of a champion.

    `champion_version` scored the day. `reference_version` is the model whose training window is
    the reference: the same, or the champion that was fallen back from; empty without a model.
    Shares and rates that could not be measured are None, and `status` says why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    status: str
    drift_share: float | None
    drifted_columns: list[str]
    drifted_weight: float | None = Field(
        description="Share of the model's contributions that comes from drifted inputs"
    )
    top_causes: list[str] = Field(description="Inputs by drift times contribution, largest first")
    score_drift: float | None
    score_drifted: bool | None
    alert_share: float | None
    reference_alert_share: float | None
    alert_rate_ratio: float | None
    alert_rate_moved: bool | None
    broken_columns: list[str]
    broken_weights: dict[str, float] = Field(
        description="By version, the share of its contributions that comes from broken inputs"
    )
    worst_missing_increase: float | None
    worst_unseen_share: float | None
    worst_out_of_range_share: float | None
    rows: int
    reference_rows: int
    reference: str
    method: str
    column_threshold: float
    champion_version: str
    reference_version: str
    report_path: str


class DayPerformance(BaseModel):
    """What was realised on the day whose labels have just matured, and what to expect of `day`.

    `champion_version` is in force on `day`, `model_version` scored the matured day. `week_…` is the
    mean over the last seven matured days, whoever scored them. `recent_…` is the mean over the last
    matured days (at most `performance_days`) that the champion scored, each with the fraud rate of
    its gate, so that it compares with `champion_gate_average_precision` also where fraud has become
    rarer or more frequent. `positives` are the frauds among the `judged_rows`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    matured_day: date | None
    model_version: str
    rows: int
    labelled_share: float | None
    judged_rows: int
    positives: int
    average_precision: float | None
    average_precision_at_gate_rate: float | None
    average_precision_low: float | None
    average_precision_high: float | None
    week_average_precision: float | None
    week_low: float | None
    week_high: float | None
    week_days: int
    card_precision: float | None
    card_precision_ceiling: float | None
    recall_at_budget: float | None
    alert_precision: float | None
    alert_recall: float | None
    brier: float | None
    savings: float | None
    loss_without_alerts: float | None
    fraud_share: float | None
    reference_fraud_share: float | None
    fraud_rate_ratio: float | None
    fraud_rate_moved: bool | None
    estimated_frauds: float | None
    estimated_average_precision: float | None
    estimated_alert_precision: float | None
    estimated_alert_recall: float | None
    matured_estimated_frauds: float | None
    matured_estimated_average_precision: float | None
    estimate_error: float | None = Field(
        description="Estimated less realised average precision of the matured day"
    )
    frauds_surprise: float | None = Field(
        description="Realised less estimated frauds, in standard deviations of the estimate"
    )
    champion_version: str
    champion_gate_average_precision: float | None
    recent_average_precision: float | None
    recent_low: float | None
    recent_high: float | None
    recent_days: int
    recent_frauds: int
    alternatives: list[Alternative]
