"""What is counted: once per transaction, under few labels, and over all workers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fraud_assets.serving.metrics import OTHER, SAMPLE_EVERY, ServedModel, ServingMetrics
from fraud_assets.store.answers import StoredAnswer


def answer(**changes: Any) -> StoredAnswer:
    values: dict[str, Any] = {
        "transaction_id": "tx-secret", "event_time_us": 1, "event_order_us": 1,
        "payer_id": "payer-secret", "amount": 4242.0, "score": 0.25, "decision": "pass",
        "threshold": 0.5, "reasons": [], "model_version": "3", "model_hash": "h",
        "served_by": "champion", "digest": "d", "worker": "w0", "sequence": 1, "scored_at_us": 2,
    }  # fmt: skip
    return StoredAnswer(**{**values, **changes})


def samples(content: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def value(metrics: ServingMetrics, name: str, **labels: str) -> float | None:
    return samples(metrics.render()).get((name, frozenset(labels.items())))


def test_an_answer_is_counted_with_its_time_and_its_score() -> None:
    metrics = ServingMetrics()
    for _ in range(3):
        metrics.observe_answer(answer(), 0.0004)
    labels = {"model_version": "3", "decision": "pass", "served_by": "champion"}
    assert value(metrics, "scored_transactions_total", **labels) == 3
    assert value(metrics, "scoring_latency_seconds_sum", model_version="3") == pytest.approx(0.0012)
    assert value(metrics, "scoring_latency_seconds_bucket", model_version="3", le="0.0005") == 3
    assert value(metrics, "scoring_latency_seconds_bucket", model_version="3", le="0.0003") == 0
    assert value(metrics, "score_sum", model_version="3") == pytest.approx(0.75)


def test_nothing_of_a_transaction_is_a_label() -> None:
    metrics = ServingMetrics()
    metrics.observe_answer(answer(is_late=True, fallback="model: payer-secret failed"), 0.001)
    metrics.observe_features(("amount",), [4242.0])
    text = metrics.render().decode()
    assert "secret" not in text
    assert 'fallbacks_total{reason="model"} 1.0' in text
    assert 'late_transactions_total{kind="late"} 1.0' in text


def test_reasons_beyond_the_first_few_are_one() -> None:
    metrics = ServingMetrics()
    for number in range(100):
        metrics.observe_failure(f"reason {number}")
    found = [
        line
        for line in metrics.render().decode().splitlines()
        if "failed_transactions_total{" in line
    ]
    assert len(found) == 21
    assert value(metrics, "failed_transactions_total", reason=OTHER) == 80


def test_the_models_in_use_are_those_of_the_last_time() -> None:
    metrics = ServingMetrics()
    first, second = (ServedModel("champion", version, "h", "onnx") for version in "12")
    metrics.observe_models([first])
    metrics.observe_models([second])
    shown = {
        dict(labels)["version"]: number
        for (name, labels), number in samples(metrics.render()).items()
        if name == "model_info"
    }
    assert shown == {"1": 0.0, "2": 1.0}


VALUES = st.none() | st.floats(-1e6, 1e6) | st.just(math.nan)


@given(st.lists(st.tuples(VALUES, st.none() | st.sampled_from(["a", "b"])), max_size=60))
def test_the_features_of_every_nth_transaction_are_summed_up(rows) -> None:
    metrics = ServingMetrics()
    for row in rows:
        metrics.observe_features(("ratio", "kind"), list(row))
    taken = rows[::SAMPLE_EVERY]
    known = [ratio for ratio, _ in taken if ratio is not None and not math.isnan(ratio)]
    found = {
        (name, dict(labels)["feature"]): number
        for (name, labels), number in samples(metrics.render()).items()
        if "feature" in dict(labels)
    }
    if not taken:
        assert found == {}
        return
    assert found["feature_values", "ratio"] == len(known)
    assert found["feature_missing", "ratio"] == len(taken) - len(known)
    assert found["feature_sum", "ratio"] == pytest.approx(sum(known))
    squares = sum(number * number for number in known)
    assert found["feature_sum_of_squares", "ratio"] == pytest.approx(squares)
    assert found["feature_values", "kind"] == sum(kind is not None for _, kind in taken)


WORKER = """
import json, os, sys, time
from fraud_assets.serving.writer import WriterStatus
from fraud_assets.serving.metrics import ServedModel, ServingMetrics, forget_dead_workers
from fraud_assets_tests.serving.test_serving_metrics import answer
forget_dead_workers()
metrics = ServingMetrics()
metrics.observe_answer(answer(), 0.001)
metrics.observe_features(("amount",), [2.0])
metrics.observe_models([ServedModel("champion", sys.argv[1], "h", "onnx")])
status = WriterStatus(
    waiting=int(sys.argv[1]), stored=0, conflicting=1, refused=2, last_error="away",
    failing_since=time.time() - 100,
)
metrics.observe_upkeep(status, state_events=7)
print(json.dumps(metrics.render().decode()))
"""


def test_workers_are_added_up_and_a_dead_one_only_counts_for_what_it_did(tmp_path: Path) -> None:
    def worker(number: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        done = subprocess.run(
            [sys.executable, "-c", WORKER, str(number)],
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return samples(json.loads(done.stdout).encode())

    worker(3)
    found = worker(4)
    labels = {"model_version": "3", "decision": "pass", "served_by": "champion"}
    assert found["scored_transactions_total", frozenset(labels.items())] == 2
    assert found["feature_sum", frozenset({("feature", "amount")})] == 4.0
    assert found["journal_waiting", frozenset()] == 4
    assert found["journal_set_aside", frozenset()] == 3
    assert 100 <= found["store_failing_seconds", frozenset()] < 160
    versions = {
        dict(labels)["version"]
        for (name, labels), number in found.items()
        if name == "model_info" and number
    }
    assert versions == {"4"}
