"""What a user tells us about their transactions, and nothing else.

A profile maps columns to roles and holds the choices that depend on the business: windows,
costs, budgets, delays. Machine-dependent choices (paths, URLs) belong in `settings`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
WindowDays = Annotated[int, Field(ge=1, le=366)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

RESERVED_NAMES = frozenset(
    {
        "transaction_id", "event_time", "event_order_us", "amount", "payer_id", "payee_id", "kind",
        "source_label", "source_label_known_at", "source_scenario", "source_row", "label", "day",
        "label_known_at", "label_source", "scenario", "score", "decision", "reasons",
        "reject_reasons",
    }
)  # fmt: skip


class ProfileError(ValueError):
    """A profile that cannot be used; the message names the file, the field and the reason."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeColumn(_Model):
    """Where the event time comes from.

    `timestamp` reads date-times (ISO 8601 unless `format`, in strftime notation, is given);
    `epoch_seconds` and `epoch_milliseconds` count from 1970; `seconds` and `hours` count from
    `origin`. PaySim's `step` is `hours` with `first_value: 1`.
    """

    column: str
    unit: Literal["timestamp", "epoch_seconds", "epoch_milliseconds", "seconds", "hours"] = (
        "timestamp"
    )
    format: str | None = None
    origin: datetime | None = None
    first_value: float = 0.0
    timezone: str = "UTC"
    earliest: datetime = datetime(1990, 1, 1, tzinfo=UTC)
    latest: datetime = datetime(2100, 1, 1, tzinfo=UTC)

    @model_validator(mode="after")
    def _origin_is_given_for_offsets(self) -> Self:
        if self.unit in ("seconds", "hours") and self.origin is None:
            raise ValueError(f"unit '{self.unit}' counts from an origin: give `origin`")
        if self.format is not None and self.unit != "timestamp":
            raise ValueError("`format` applies to unit 'timestamp' only")
        return self

    @field_validator("origin", "earliest", "latest")
    @classmethod
    def _utc(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value


class AmountColumn(_Model):
    """The amount in the currency's main unit; negative amounts are refused by default."""

    column: str
    minimum: float = 0.0
    maximum: float = 1e9


class KindColumn(_Model):
    """The transaction's kind; an `allowed` list makes any other value a reject."""

    column: str
    allowed: list[str] | None = None


class LabelColumn(_Model):
    """Where the truth comes from, and when it is known.

    `known_at` names a column with the moment at which the label became known (read like a
    timestamp). Without it every label is known `delay_days` after the transaction. A label is
    never taken as known before that moment, and never later than it by assumption.
    """

    column: str
    fraud_values: list[str] = ["1", "true", "yes", "fraud"]
    legitimate_values: list[str] = ["0", "false", "no", "legitimate", "genuine"]
    delay_days: Annotated[int, Field(ge=0, le=180)] = 7
    known_at: str | None = None
    scenario: str | None = None


class NumericColumn(_Model):
    """An extra number. `feature: false` keeps it in the data and out of the model."""

    name: Name
    column: str
    minimum: float | None = None
    maximum: float | None = None
    nullable: bool = True
    feature: bool = True


class CategoricalColumn(_Model):
    """An extra category, kept as text. Values outside `allowed` are rejects."""

    name: Name
    column: str
    allowed: list[str] | None = None
    nullable: bool = True
    feature: bool = True


class CsvFormat(_Model):
    """How the user's CSV files are written."""

    separator: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    decimal_comma: bool = False
    null_values: list[str] = ["", "NA", "NaN", "null", "NULL", "None"]


class Columns(_Model):
    """The roles. `transaction_id` may be missing: then the day and row make the id."""

    transaction_id: str | None = None
    time: TimeColumn
    amount: AmountColumn
    payer: str | None = None
    payee: str | None = None
    kind: KindColumn | None = None
    label: LabelColumn | None = None


Aggregate = Literal["count", "sum", "mean", "max"]


class RiskFeatures(_Model):
    """An entity's labels that became known: the share of frauds among them, and their number."""

    windows_days: list[WindowDays] = Field(min_length=1)
    aggregates: list[Literal["risk", "labelled_count"]] = Field(["risk"], min_length=1)


KnownFraudAspect = Literal["last_label", "last_fraud", "first_fraud", "smallest_fraud"]


class KnownFraudFeatures(_Model):
    """What is known of an entity's frauds in one window of labels, beyond their share.

    `last_label` tells whether the latest known label is a fraud, `last_fraud` and `first_fraud`
    how long the latest and the earliest fraud of the window have been known, `smallest_fraud` the
    least amount among them: a compromised terminal shows by frauds of ordinary amounts, one that
    was used with a stolen card by a large one.
    """

    window_days: WindowDays = 28
    aspects: list[KnownFraudAspect] = Field(
        ["last_label", "last_fraud", "first_fraud", "smallest_fraud"], min_length=1
    )


class EntityFeatures(_Model):
    """Features over the history of one entity, a payer or a payee."""

    windows_days: list[WindowDays] = []
    aggregates: list[Aggregate] = ["count", "sum", "mean", "max"]
    recency: bool = False
    amount_ratio: bool = False
    risk: RiskFeatures | None = None
    known_frauds: KnownFraudFeatures | None = None


class FeatureChoices(_Model):
    """Which features are made; `features.definitions` turns this into declarations."""

    calendar: list[Literal["hour", "is_night", "is_weekend"]] = ["hour", "is_night", "is_weekend"]
    amount: bool = True
    kind: bool = True
    payer: EntityFeatures = EntityFeatures()
    payee: EntityFeatures = EntityFeatures()
    new_pair: bool = False
    new_pair_window_days: WindowDays = 30


class ValidationChoices(_Model):
    """`max_reject_share` stops the day; ids are compared over `duplicate_lookback_days`."""

    max_reject_share: Share = 0.05
    duplicate_lookback_days: Annotated[int, Field(ge=0)] = 30


class DecisionChoices(_Model):
    """Money and capacity: what a missed fraud and an alert cost, and how many are reviewed."""

    alert_budget_per_day: Annotated[int, Field(ge=1)] = 100
    review_cost: Annotated[float, Field(ge=0)] = 5.0
    loss_share: Share = 1.0


class TrainingChoices(_Model):
    """Days of each slice and the search budget. See `modeling.splits` for how they line up."""

    window_days: Annotated[int, Field(ge=1)] = 28
    validation_days: Annotated[int, Field(ge=1)] = 3
    gate_days: Annotated[int, Field(ge=2)] = 5
    min_train_positives: Annotated[int, Field(ge=1)] = 30
    trials: Annotated[int, Field(ge=0)] = 6
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0
    """For machines that hang, not busy ones: a search that it cuts short depends on the machine."""

    max_rounds: Annotated[int, Field(ge=1)] = 400
    max_train_rows: Annotated[int, Field(ge=1)] = 5_000_000
    estimator: Literal["xgboost", "lightgbm", "random_forest", "logistic_regression", "auto"] = (
        "xgboost"
    )
    """`auto` searches every family on the same folds, each with `trials` and its part of
    `timeout_seconds`, and keeps the one with the best AP."""

    folds: Annotated[int, Field(ge=1, le=12)] = 3
    """Folds in time of the search, each `validation_days` earlier than the next. Where history is
    too short for all of them, there are fewer; at least one."""

    imbalance: Literal["none", "class_weight", "undersample", "smote"] = "none"
    """What is done about the rarity of fraud, in training rows only. Off by default: on boosted
    trees none of it raised AP, and all of it bends the probabilities (Handbook, chapter 6)."""

    frauds_per_legitimate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The ratio that `undersample` and `smote` aim at."""

    monotone: dict[str, Literal[-1, 1]] = {}
    """Feature name to the direction in which the score may move with it: 1 up, -1 down."""

    seed: int = 7

    @model_validator(mode="after")
    def _family_can_keep_directions(self) -> Self:
        if self.monotone and self.estimator == "logistic_regression":
            raise ValueError(
                "a logistic regression cannot keep `monotone`: empty it, or choose another family"
            )
        return self


class GateChoices(_Model):
    """When a challenger is allowed to replace the champion."""

    min_positives: Annotated[int, Field(ge=1)] = 30
    min_ap_gain: float = 0.0
    min_cost_gain: float | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000
    max_calibration_error: Share = 0.05
    max_calibration_ratio: Annotated[float, Field(gt=1.0)] = 2.0
    """Expected over observed frauds may be at most this, and at least its inverse; among the rows
    that the alert budget reviews at most this, and at least the inverse of its square. An absolute
    calibration error says little where one row in two hundred is fraud."""

    max_latency_ms: Annotated[float, Field(gt=0)] = 20.0


class MonitoringChoices(_Model):
    """What counts as drift, decay or damage, and how soon something may follow something else."""

    drift_share_threshold: Share = 0.3
    drift_alone: Literal["warn", "retrain"] = "warn"
    """What drift leads to where performance has not fallen; see ADR 13 before you change it."""

    column_threshold: Annotated[float, Field(gt=0)] = 0.1
    sample_rows: Annotated[int, Field(ge=100)] = 10_000
    page_columns: Annotated[int, Field(ge=1)] = 10
    """Inputs that Evidently's page draws, the furthest first. The table has all of them."""

    min_rows: Annotated[int, Field(ge=1)] = 1_000
    max_quarantine_share: Share = 0.02
    max_missing_increase: Share = 0.1
    """An input is broken when this many more of its values are missing than in the reference."""

    max_unseen_share: Share = 0.05
    """An input is broken when so many rows have a kind that the reference never had."""

    max_out_of_range_share: Share = 0.05
    """An input is broken when so many rows lie outside the range of the reference."""

    max_broken_weight: Share = 0.2
    """Falls back when broken inputs make up this share of the champion's contributions."""

    rate_factor: Annotated[float, Field(gt=1)] = 1.5
    """The rate of alerts, or of frauds, has moved when it differs by this factor and not by
    chance."""

    performance_drop: Share = 0.25
    """Decay: realised average precision lies this much below the gate's, beyond its interval. Half
    of it is enough where inputs, scores, alerts or the fraud rate have moved too."""

    performance_days: Annotated[int, Field(ge=1)] = 3
    compared_days: Annotated[int, Field(ge=2)] = 7
    """Matured days over which the champion is compared with former champions and the rules."""

    former_champions: Annotated[int, Field(ge=0)] = 2
    """How many former champions go on being compared; each scores every matured day once."""

    min_rollback_gain: Share = 0.02
    """Average precision that a former champion must win back for certain."""

    healthy_days: Annotated[int, Field(ge=1)] = 2
    """Days without damage after which a champion that was fallen back from serves again."""

    cooldown_days: Annotated[int, Field(ge=0)] = 3
    min_mature_positives: Annotated[int, Field(ge=1)] = 30
    growth: Annotated[float, Field(gt=1)] = 1.6
    """Retrain again when the frauds that can be learnt have grown by this factor."""

    max_model_age_days: Annotated[int, Field(ge=1)] | None = 28
    """Retrain after so many days without another reason; None for never."""


class Profile(_Model):
    """A user's data and choices. Load one with `load_profile`.

    >>> load_profile("cards").columns.payee
    'TERMINAL_ID'
    """

    name: Name
    description: str = ""
    columns: Columns
    derived: dict[str, str] = {}
    """Raw column name to a Polars SQL expression over the raw columns, for data that needs a
    little arithmetic before it has the roles: `{"Amount": "REPLACE(Amount, '$', '')"}`."""

    numeric: list[NumericColumn] = []
    categorical: list[CategoricalColumn] = []
    csv: CsvFormat = CsvFormat()
    features: FeatureChoices = FeatureChoices()
    validation: ValidationChoices = ValidationChoices()
    decision: DecisionChoices = DecisionChoices()
    training: TrainingChoices = TrainingChoices()
    gate: GateChoices = GateChoices()
    monitoring: MonitoringChoices = MonitoringChoices()

    @model_validator(mode="after")
    def _names_are_free_and_entities_exist(self) -> Self:
        names = [c.name for c in self.numeric] + [c.name for c in self.categorical]
        for name in names:
            if name in RESERVED_NAMES:
                raise ValueError(f"extra column name '{name}' is reserved: choose another")
            if names.count(name) > 1:
                raise ValueError(f"extra column name '{name}' is used twice")
        for role in ("payer", "payee"):
            wanted: EntityFeatures = getattr(self.features, role)
            labelled = wanted.risk or wanted.known_frauds
            uses = wanted.windows_days or wanted.recency or wanted.amount_ratio or labelled
            if uses and getattr(self.columns, role) is None:
                raise ValueError(
                    f"features.{role} asks for features, but columns.{role} is not mapped: "
                    f"map it to a column, or drop features.{role}"
                )
            if wanted.amount_ratio and not wanted.windows_days:
                raise ValueError(f"features.{role}.amount_ratio needs features.{role}.windows_days")
            if labelled and self.columns.label is None:
                asked = "risk" if wanted.risk else "known_frauds"
                raise ValueError(f"features.{role}.{asked} needs columns.label")
        if self.features.new_pair and not (self.columns.payer and self.columns.payee):
            raise ValueError("features.new_pair needs columns.payer and columns.payee")
        return self

    @property
    def label_delay_days(self) -> int:
        """Days after which a label counts as mature; 0 where the data has no labels."""
        return self.columns.label.delay_days if self.columns.label else 0


def shipped_profiles() -> list[str]:
    """Names of the profiles that come with the package, sorted."""
    folder = resources.files("fraud_assets.profiles")
    files = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a shipped profile by name, or a user's YAML file by path.

    Raises:
        ProfileError: there is no such profile, it is not YAML, or a field is wrong; the message
            lists every wrong field with its reason.
    """
    label = str(name_or_path)
    if label in shipped_profiles():
        text = resources.files("fraud_assets.profiles").joinpath(f"{label}.yaml").read_text("utf-8")
    else:
        path = Path(label)
        if not path.is_file():
            raise ProfileError(
                f"profile '{label}' is neither a shipped profile ({', '.join(shipped_profiles())}) "
                "nor a file"
            )
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ProfileError(f"profile {label}: not UTF-8 text ({error.reason})") from error
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProfileError(f"profile {label}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ProfileError(f"profile {label}: expected a mapping of fields at the top")
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(str(part) for part in item['loc']) or 'profile'}: {item['msg']}"
            for item in error.errors()
        )
        raise ProfileError(f"profile {label} is refused:\n{problems}") from error
