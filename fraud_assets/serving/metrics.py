"""Counts and times of the scoring, as Prometheus reads them.

Labels have few values: versions, decisions, features and reasons from lists, never a payer, a
transaction or a text from a request. With several workers the numbers of all of them are added up,
through files in `PROMETHEUS_MULTIPROC_DIR` (see `server`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from fraud_assets.serving.writer import WriterStatus
from fraud_assets.store.answers import StoredAnswer

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus_client when it is imported."""

LATENCY_BUCKETS: Final = (
    0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075,
    0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
SCORE_BUCKETS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0,
)  # fmt: skip
"""Finer where nearly all scores of a fraud model lie, so that a shift shows."""

SAMPLE_EVERY: Final = 8
"""Of so many transactions the features of one are counted."""

_ROWS_AT_ONCE: Final = 128
_MAX_REASONS: Final = 20
OTHER: Final = "other"

Value = float | str | None


@dataclass(frozen=True)
class ServedModel:
    """A model that is in use: `role` is "champion", "challenger" or "traffic"."""

    role: str
    version: str
    model_hash: str
    form: str


class ServingMetrics:
    """What one process counts; every method but `render` is cheap enough for the hot path.

    Args:
        registry: where the metrics are kept; a new one by default.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # A second series for each, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
        add = self.registry
        self._scored = Counter(
            "scored_transactions_total", "Transactions that were answered",
            ["model_version", "decision", "served_by"], registry=add,
        )  # fmt: skip
        self._failed = Counter(
            "failed_transactions_total", "Transactions that were not answered",
            ["reason"], registry=add,
        )  # fmt: skip
        self._latency = Histogram(
            "scoring_latency_seconds", "Time from the decoded request to the answer",
            ["model_version"], buckets=LATENCY_BUCKETS, registry=add,
        )  # fmt: skip
        self._repeated = Counter(
            "repeated_transactions_total", "Transactions that had been answered before",
            registry=add,
        )  # fmt: skip
        self._fallbacks = Counter(
            "fallbacks_total", "Transactions that the rules answered instead of a model",
            ["reason"], registry=add,
        )  # fmt: skip
        self._late = Counter(
            "late_transactions_total", "Transactions older than the newest one seen",
            ["kind"], registry=add,
        )  # fmt: skip
        self._score = Histogram(
            "score", "Fraud probabilities that were answered",
            ["model_version"], buckets=SCORE_BUCKETS, registry=add,
        )  # fmt: skip
        self._features = _FeatureSummaries(add)
        self._waiting = Gauge(
            "journal_waiting", "Answers in the journal that the store does not have yet",
            registry=add, multiprocess_mode="livesum",
        )  # fmt: skip
        self._refused = Gauge(
            "journal_set_aside", "Answers that the store cannot take, kept in refused.jsonl",
            registry=add, multiprocess_mode="livesum",
        )  # fmt: skip
        self._failing = Gauge(
            "store_failing_seconds", "For how long the store has taken no answers; 0 if it does",
            registry=add, multiprocess_mode="livemax",
        )  # fmt: skip
        self._events = Gauge(
            "state_events", "Transactions that the feature state holds",
            registry=add, multiprocess_mode="livemax",
        )  # fmt: skip
        self._models = Gauge(
            "model_info", "1 for each model in use",
            ["role", "version", "hash", "form"], registry=add, multiprocess_mode="livemax",
        )  # fmt: skip
        # Finding a child by its labels takes a lock and builds a tuple of texts; done once.
        self._children: dict[tuple[str, str, str], tuple[Counter, Histogram, Histogram]] = {}
        self._reasons: set[str] = set()
        self._shown: set[ServedModel] = set()

    def observe_answer(
        self, answer: StoredAnswer, seconds: float, *, is_forgotten: bool = False
    ) -> None:
        """Count a new answer.

        Args:
            answer: what was answered.
            seconds: how long it took.
            is_forgotten: the transaction was too late to be remembered.
        """
        key = (answer.model_version, answer.decision, answer.served_by)
        children = self._children.get(key)
        if children is None:
            version = answer.model_version
            children = self._children[key] = (
                self._scored.labels(*key),
                self._latency.labels(version),
                self._score.labels(version),
            )
        scored, latency, score = children
        scored.inc()
        latency.observe(seconds)
        score.observe(answer.score)
        if answer.fallback is not None:
            self._fallbacks.labels(self._bounded(answer.fallback.partition(":")[0])).inc()
        if answer.is_late or is_forgotten:
            self._late.labels("forgotten" if is_forgotten else "late").inc()

    def observe_features(self, names: Sequence[str], values: Sequence[Value]) -> None:
        """Count the features of one in `SAMPLE_EVERY` transactions; `values` aligns with `names`.

        The list is kept for a moment, so the caller must not change it afterwards.
        """
        self._features.observe(names, values)

    def observe_failure(self, reason: str) -> None:
        """Count a transaction that was not answered; `reason` is one of few words."""
        self._failed.labels(self._bounded(reason)).inc()

    def observe_repeat(self) -> None:
        """Count a transaction that had been answered before."""
        self._repeated.inc()

    def observe_upkeep(self, writer: WriterStatus, *, state_events: int) -> None:
        """Set what is as it is now, instead of counted; called every now and then.

        Args:
            writer: how far the store is behind the journal.
            state_events: transactions that the state of the features holds.
        """
        self._features.flush()
        self._waiting.set(writer.waiting)
        self._refused.set(writer.refused + writer.conflicting)
        since = writer.failing_since
        self._failing.set(0.0 if since is None else max(0.0, time.time() - since))
        self._events.set(state_events)

    def observe_models(self, models: Iterable[ServedModel]) -> None:
        """Show which models are in use, in the place of those that were."""
        served = set(models)
        for gone in self._shown - served:
            # To zero and not removed: among several workers a removed one cannot be told from
            # one that another worker still shows.
            self._models.labels(gone.role, gone.version, gone.model_hash, gone.form).set(0)
        for model in served:
            self._models.labels(model.role, model.version, model.model_hash, model.form).set(1)
        self._shown |= served

    def render(self) -> bytes:
        """Everything in Prometheus' text format; of all workers, where there are several."""
        self._features.flush()
        if MULTIPROCESS_DIR not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _bounded(self, reason: str) -> str:
        """The reason, or `OTHER` once there are more of them than a label should have values."""
        if reason not in self._reasons:
            if len(self._reasons) >= _MAX_REASONS:
                return OTHER
            self._reasons.add(reason)
        return reason


class _FeatureSummaries:
    """Count, sum, sum of squares and missing values by feature, of a sample.

    From two readings the mean and the spread of a feature within the time between them follow,
    which is what a drift shows in. Rows are gathered and counted many at a time with NumPy: one
    by one they would take longer than the scoring.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            # No counters, because sums may fall; added up over the workers, also those that ended.
            return Gauge(name, text, ["feature"], registry=registry, multiprocess_mode="sum")

        text = f"of a sample of one in {SAMPLE_EVERY} transactions"
        self._gauges: Mapping[str, Gauge] = {
            "count": gauge("feature_values", f"Values that are not missing, {text}"),
            "sum": gauge("feature_sum", f"Sum of the values, {text}; numbers only"),
            "squares": gauge("feature_sum_of_squares", f"Sum of their squares, {text}"),
            "missing": gauge("feature_missing", f"Missing values, {text}"),
        }
        self._names: tuple[str, ...] = ()
        self._rows: list[Sequence[Value]] = []
        self._until_next = 1

    def observe(self, names: Sequence[str], values: Sequence[Value]) -> None:
        self._until_next -= 1
        if self._until_next:
            return
        self._until_next = SAMPLE_EVERY
        if not self._names:
            self._names = tuple(names)
        self._rows.append(values)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        for name, column in zip(self._names, zip(*rows, strict=True), strict=True):
            known = [value for value in column if value is not None]
            # NaN stands for "missing" as well where a profile's extra number brought it.
            numbers = np.array([v for v in known if not isinstance(v, str)], dtype=np.float64)
            numbers = numbers[np.isfinite(numbers)]
            texts = sum(isinstance(value, str) for value in known)
            count = len(numbers) + texts
            self._gauges["count"].labels(name).inc(count)
            self._gauges["missing"].labels(name).inc(len(column) - count)
            if not texts:
                self._gauges["sum"].labels(name).inc(float(numbers.sum()))
                self._gauges["squares"].labels(name).inc(float(numbers @ numbers))


def forget_dead_workers() -> None:
    """Drop what workers that have ended said of themselves; their counts stay."""
    folder = os.environ.get(MULTIPROCESS_DIR)
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)  # asks whether it lives
        except ProcessLookupError:
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
