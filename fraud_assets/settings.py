"""Settings of this installation: where things lie and which services answer.

The only reader of the environment (`FRAUD_*`, or a `.env` file in the working folder). What
depends on the business rather than on the machine belongs in `transactions.profile`.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from datetime import date, timedelta
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fraud_assets.transactions.simulator import SimulatorConfig

_BETWEEN_URLS: Final = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""A comma within a URL, as between two recipients, does not end it."""


class AlertSettings(BaseModel):
    """Who is told what, and how often. Without URLs alerts are kept in the store, and that is all.

    The URLs are Apprise's (`slack://…`, `mailto://…`, `json://…`) and hold secrets. They are read
    as one text, separated by commas, or as a JSON list; whether Apprise knows them is checked when
    the first alert is to be delivered (`resources.alerts`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: Annotated[list[SecretStr], NoDecode] = Field([], description="Apprise URLs")
    minimum_severity: Literal["info", "warning", "critical"] = Field(
        "warning", description="Alerts below it are kept and not sent"
    )
    quiet_days: Annotated[int, Field(ge=0)] = Field(
        3, description="Something that comes back within so many days is not told again"
    )
    quiet_hours: Annotated[int, Field(ge=0)] = Field(
        6, description="The same for what belongs to no day, as a failed run"
    )
    remind_days: Annotated[int, Field(ge=1)] = Field(
        7, description="What goes on for so many days, by the clock on the wall, is told again"
    )
    stale_after_minutes: Annotated[int, Field(ge=1)] = Field(
        120, description="A day that has landed is to be closed within this time"
    )
    silent_after_minutes: Annotated[int, Field(ge=1)] | None = Field(
        None, description="A new day is to land within this time; None for no such rule"
    )
    ui_url: Annotated[str, Field(pattern=r"^https?://\S+$")] = Field(
        "http://127.0.0.1:3000", description="Dagster's UI, for the links"
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:  # noqa: ANN401  whatever a deployment wrote
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError("starts like a JSON list, and is none") from None
        return [url for url in _BETWEEN_URLS.split(value.strip(" ,\t\n")) if url]


class ApiSettings(BaseModel):
    """The scoring API: where it listens, whom it serves, and what it keeps in memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        "127.0.0.1", description="Address to bind; any other than loopback needs keys"
    )
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Processes; more than one share their state through Redis"
    )
    redis_url: SecretStr | None = Field(None, description="redis://… by which workers share state")
    require_keys: bool = Field(
        default=False, description="Refuse requests without a key also where no key exists yet"
    )
    docs: bool = Field(default=True, description="Serve the OpenAPI pages under /docs")

    score_rate: str | None = Field(
        None, description="Most scoring requests per key, as `1000/second`; None for no limit"
    )
    other_rate: str | None = Field("50/second", description="The same for all other requests")
    max_body_bytes: Annotated[int, Field(ge=1_000)] = 1_000_000
    max_batch: Annotated[int, Field(ge=1)] = Field(1_000, description="Transactions per request")

    refresh_seconds: Annotated[float, Field(gt=0)] = Field(
        2.0, description="How often aliases, traffic, keys and new labels are looked up"
    )
    snapshot_seconds: Annotated[float, Field(gt=0)] = Field(
        300.0, description="How often the state of the features is saved"
    )
    late_days: Annotated[float, Field(ge=0)] = Field(
        2.0, description="Transactions older than the newest by more are scored and not remembered"
    )
    max_ahead_seconds: Annotated[float, Field(ge=0)] = Field(
        300.0, description="Event times further in the future than this are refused"
    )
    remembered_answers: Annotated[int, Field(ge=1_000)] = Field(
        200_000, description="Answers in memory; older ones are looked up in the store"
    )
    fsync: bool = Field(
        default=False, description="Acknowledge only what outlives a power cut too; slow"
    )
    shadow: bool = Field(
        default=True, description="Let the challenger score too, for the record alone"
    )
    dagster_url: Annotated[str, Field(pattern=r"^https?://\S+$")] = Field(
        "http://127.0.0.1:3000", description="Dagster's webserver, which starts retrainings"
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the API."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value != "localhost":
            try:
                ipaddress.ip_address(value)
            except ValueError:
                raise ValueError("give an IP address or `localhost`, as 0.0.0.0") from None
        return value

    @model_validator(mode="after")
    def _workers_share(self) -> Self:
        if self.workers > 1 and self.redis_url is None:
            raise ValueError(
                f"FRAUD_API__WORKERS={self.workers} needs FRAUD_API__REDIS_URL: without it each "
                "worker would know a part of the transactions only"
            )
        return self


class Settings(BaseSettings):
    """Everything that a deployment chooses. Defaults need no service and no configuration.

    >>> Settings(_env_file=None, data_dir="/tmp/x").lake_root
    '/tmp/x/lake'
    """

    model_config = SettingsConfigDict(
        env_prefix="FRAUD_",
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # a URL with a password may be among it
    )

    data_dir: Path = Field(
        Path("data"), description="Folder of the lake, the store, the registry and the caches"
    )
    profile: str = Field("simulator", description="A shipped profile's name, or a YAML file")
    source: Literal["simulator", "file", "folder", "sql"] = Field(
        "simulator", description="Where raw transactions come from"
    )
    source_path: Path | None = Field(
        None, description="File or landing folder, for the sources `file` and `folder`"
    )
    source_url: SecretStr | None = Field(None, description="SQLAlchemy URL, for the source `sql`")
    source_query: str | None = Field(
        None, description="Query of one day with :start and :end, for the source `sql`"
    )
    source_days_query: str | None = Field(
        None, description="Query that lists the days there are, for the source `sql`"
    )

    # Dagster 1.13 plots the 120 latest days up to now, also where the partitions end long before.
    first_day: date = Field(date(2026, 9, 30), description="First partition")
    days: Annotated[int, Field(ge=2)] = 52
    history_days: Annotated[int, Field(ge=1)] = Field(
        21, description="Days that `simulate` backfills at once before the clock starts to move"
    )

    lake_url: str | None = Field(None, description="Lake elsewhere than in data_dir: s3://…")
    store_url: SecretStr | None = Field(
        None, description="Prediction store elsewhere than in data_dir: postgresql+psycopg2://…"
    )
    mlflow_tracking_uri: str | None = Field(
        None, description="MLflow server; the default is an SQLite file in data_dir"
    )
    mlflow_experiment: str = "fraud_assets"
    registered_model: str = "fraud_model"
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="Threads for features and training; 0 takes the cores of this process"
    )
    simulator: SimulatorConfig = SimulatorConfig()
    alerts: AlertSettings = AlertSettings()
    api: ApiSettings = ApiSettings()
    keep_days: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Days of predictions and answers that the store keeps; None for all"
    )

    @model_validator(mode="after")
    def _source_is_complete(self) -> Self:
        if self.source in ("file", "folder") and self.source_path is None:
            raise ValueError(f"FRAUD_SOURCE={self.source} needs FRAUD_SOURCE_PATH")
        if self.source == "sql" and (self.source_url is None or self.source_query is None):
            raise ValueError("FRAUD_SOURCE=sql needs FRAUD_SOURCE_URL and FRAUD_SOURCE_QUERY")
        if self.history_days >= self.days:
            raise ValueError(
                f"FRAUD_HISTORY_DAYS ({self.history_days}) must be less than FRAUD_DAYS "
                f"({self.days})"
            )
        return self

    @model_validator(mode="after")
    def _late_transactions_are_kept(self) -> Self:
        # An answer that is pruned while its transaction may still come again is given twice, and
        # the transaction counted twice. Days are kept whole: what comes half a day late may be of
        # the day before.
        if self.keep_days is not None and self.keep_days <= ceil(self.api.late_days):
            raise ValueError(
                f"FRAUD_KEEP_DAYS ({self.keep_days}) must be more than FRAUD_API__LATE_DAYS "
                f"({self.api.late_days:g}): a transaction may come so late, and its answer must "
                "still be there then"
            )
        return self

    @property
    def last_day(self) -> date:
        """The last partition."""
        return self.first_day + timedelta(days=self.days - 1)

    @property
    def lake_root(self) -> str:
        """Folder or URL of the lake."""
        return self.lake_url or str(self.data_dir.resolve() / "lake")

    @property
    def store_sqlalchemy_url(self) -> str:
        """URL of the prediction store; may hold a password."""
        if self.store_url is not None:
            return self.store_url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve() / 'store.db'}"

    @property
    def mlflow_uri(self) -> str:
        """Tracking and registry URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.data_dir.resolve() / 'mlflow.db'}"

    @property
    def mlflow_artifact_root(self) -> str | None:
        """Folder of the artefacts, where no MLflow server decides it."""
        if self.mlflow_tracking_uri is not None:
            return None
        return (self.data_dir.resolve() / "mlflow").as_uri()

    @property
    def cache_dir(self) -> Path:
        """Folder for what can be made again: split files, downloaded models."""
        return self.data_dir.resolve() / "cache"

    @property
    def serving_dir(self) -> Path:
        """Folder of the scoring API: the journal of its answers and the snapshots of its state."""
        return self.data_dir.resolve() / "serving"

    @property
    def studies_dir(self) -> Path:
        """Folder of the searches that are under way, to be resumed after a crash."""
        return self.data_dir.resolve() / "studies"

    @property
    def thread_count(self) -> int:
        """Threads to compute with: the setting, else the cores that this process may use."""
        return self.threads or len(os.sched_getaffinity(0))
