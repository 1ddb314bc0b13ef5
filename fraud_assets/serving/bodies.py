"""What the routes beside the scoring take and give, as Pydantic models.

The scoring routes have their own, faster ones in `requests`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar

import msgspec
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from fraud_assets.store.answers import StoredAnswer
from fraud_assets.store.listing import DayStatistics, ScoredRow
from fraud_assets.store.records import EPOCH, MICROSECOND
from fraud_assets.transactions.schema import MAX_TEXT_BYTES

T = TypeVar("T")

_NO_NUL: Final = r"^[^\x00]*$"  # PostgreSQL has no such character
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

MAX_NOTE: Final = 2_000


def _only_iso(value: object) -> object:
    # Pydantic would take a number of seconds since 1970 as well.
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("not a day, as 2026-11-22")
    return value


Day = Annotated[date, BeforeValidator(_only_iso), Field(examples=["2026-11-22"])]
Line = Annotated[
    str,
    StringConstraints(
        pattern=_NO_NUL, strip_whitespace=True, min_length=1, max_length=MAX_TEXT_BYTES
    ),
]
TransactionId = Annotated[Line, Field(examples=["tx-1001"])]
Note = Annotated[str, StringConstraints(pattern=_NO_NUL, max_length=MAX_NOTE)]
Version = Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")]
LabelName = Literal["fraud", "legitimate"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldProblem(_Body):
    """One thing that is wrong with a request."""

    field: str
    message: str


class Problem(_Body):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="`about:blank`: the status says what kind of problem it is")
    title: str
    status: int
    detail: str
    problems: list[FieldProblem] | None = None
    request_id: str | None = Field(None, description="To be found in the server's log")


class Page(_Body, Generic[T]):
    """Some of a list, and where the rest begins."""

    items: list[T]
    next_cursor: str | None = Field(
        description="Give it as `cursor`, beside the same filters, for the rest; null at the end"
    )


class NewLabel(_Body):
    """What became known of a transaction. It is added to what was said before, never replaces it.

    The transaction is looked up; only one that nobody has scored here is described with
    `event_time` and the other fields.
    """

    transaction_id: TransactionId
    label: LabelName
    labelled_at: AwareDatetime | None = Field(
        None, description="When it became known, on a day that is not closed yet; now if null"
    )
    author: Line | None = Field(None, description="Who says so; the API key's name if null")
    note: Note | None = None
    event_time: AwareDatetime | None = None
    payer_id: Line | None = None
    payee_id: Line | None = None
    amount: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="At most what the profile takes for an amount"
    )

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"transaction_id": "tx-1001", "label": "fraud", "note": "chargeback"}]
        },
    )


class Label(_Body):
    """What was said of a transaction."""

    transaction_id: str
    label: LabelName
    labelled_at: datetime
    author: str
    source: str
    note: str | None
    event_time: datetime
    payer_id: str | None
    payee_id: str | None
    amount: float | None


class Labels(_Body):
    """Labels in the order in which they were given."""

    labels: list[Label]


class Prediction(_Body):
    """A scored transaction. What a batch prediction does not have is null."""

    transaction_id: str
    origin: Literal["online", "batch"]
    label: LabelName | None = Field(description="The latest that an analyst said")
    event_time: datetime
    payer_id: str | None
    payee_id: str | None
    kind: str | None
    amount: float
    extras: dict[str, float | str | None] | None
    probability: float
    decision: str
    threshold: float
    reasons: list[str]
    model_version: str
    model_hash: str
    served_by: str | None
    fallback: str | None
    is_late: bool | None
    scored_at: datetime | None

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def of_row(cls, row: ScoredRow) -> Self:
        """From a row of a list."""
        values = msgspec.structs.asdict(row)
        return cls._of(values, origin=row.origin, label=row.label)

    @classmethod
    def of_answer(cls, answer: StoredAnswer, label: int | None) -> Self:
        """From an answer, which may not be in the store yet."""
        return cls._of(msgspec.structs.asdict(answer), origin="online", label=label)

    @classmethod
    def of_batch(cls, predicted: Mapping[str, Any], label: int | None) -> Self:
        """From a row of `store.predictions`."""
        event_time_us = (predicted["event_time"] - EPOCH) // MICROSECOND
        return cls._of({**predicted, "event_time_us": event_time_us}, origin="batch", label=label)

    @classmethod
    def _of(
        cls, values: Mapping[str, Any], *, origin: Literal["online", "batch"], label: int | None
    ) -> Self:
        scored_at = values.get("scored_at_us")
        same = cls.model_fields.keys() - _CHANGED
        return cls(
            origin=origin,
            label=None if label is None else label_name(label),
            probability=values["score"],
            event_time=EPOCH + values["event_time_us"] * MICROSECOND,
            scored_at=None if scored_at is None else EPOCH + scored_at * MICROSECOND,
            **{name: values.get(name) for name in same},
        )


_CHANGED: Final = {"origin", "label", "probability", "event_time", "scored_at"}


def label_name(label: int) -> LabelName:
    """The word for what the store holds as 1 and 0."""
    return "fraud" if label else "legitimate"


class DayCounts(_Body):
    """What one model said of one day's transactions, and what is known of them."""

    day: date
    origin: Literal["online", "batch"]
    model_version: str
    scored: int
    alerts: int
    mean_probability: float
    labelled: int
    frauds: int = Field(description="Those whose latest label says so")
    frauds_among_alerts: int
    fallbacks: int = Field(description="Answers of the rules in the champion's place")

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def of(cls, counted: DayStatistics) -> Self:
        """From the store's counts."""
        values = msgspec.structs.asdict(counted)
        return cls(mean_probability=values.pop("mean_score"), **values)


class Statistics(_Body):
    """Counts by day, oldest first."""

    days: list[DayCounts]


class NewRetraining(_Body):
    """A retraining to be started."""

    day: Day | None = Field(None, description="Train as of its close; null: the last closed day")
    reason: Annotated[Line, StringConstraints(max_length=200)]

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"reason": "new terminals since Monday"}]},
    )


class Retraining(_Body):
    """A retraining as Dagster sees it."""

    run_id: str
    status: str = Field(description="Dagster's status: queued, starting, started, success, …")
    day: date | None
    reason: str | None
    author: str | None
    url: str = Field(description="The run in Dagster's interface")
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None


class StartedRetraining(_Body):
    """A retraining that Dagster has taken; follow it at `Location`."""

    run_id: str
    day: date


class NewTraffic(_Body):
    """Which other version answers a share of the transactions in the champion's place."""

    version: Version | None = Field(description="A version of the registry; null for none")
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    reason: Line

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"version": "3", "share": 0.1, "reason": "trial week"}]},
    )


class Traffic(_Body):
    """The share in force; without a version the champion answers everything."""

    version: str | None
    share: float
    author: str | None
    reason: str | None
    created_at: datetime | None


class Scorer(_Body):
    """A model, or the rules, as it answers now."""

    version: str
    model_hash: str
    form: str = Field(description="`onnx`, `native` or `rules`")
    why_native: str | None = Field(
        None, description="Why a model answers in its own, slower form; null where it does not"
    )
    threshold: float
    trained_as_of: str | None = None
    train_window: str | None = None
    validation_window: str | None = None
    gate_window: str | None = None


class ModelState(_Body):
    """What answers now, and why it is not something else."""

    champion: Scorer
    fallback: str | None = Field(description="Why the rules answer in the champion's place")
    challenger: Scorer | None = Field(description="Scores every transaction for the record alone")
    traffic: Scorer | None = Field(description="Answers the share `share`")
    share: float
    features: list[str]
    problems: list[str]

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Alive(_Body):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Ready(_Body):
    """Transactions are answered.

    `degraded` says why not as well as they should be, such as by the rules; empty if all is well.
    """

    status: Literal["ready"] = "ready"
    degraded: list[str] = []
