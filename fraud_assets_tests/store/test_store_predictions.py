from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sqlalchemy import text

from fraud_assets.store import predictions
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.listing import ListingFilter, ScoredRow, list_scored, page_end
from fraud_assets.store.predictions import (
    PredictionsRefusedError,
    read_day,
    replace_day,
)

DAY = date(2024, 3, 5)
NEXT = date(2024, 3, 6)
MakeDay = Callable[..., pl.DataFrame]


def test_a_day_is_read_as_it_was_written(store: PredictionStore, day_frame: MakeDay) -> None:
    frame = day_frame(DAY, 500)
    assert replace_day(store, DAY, frame.sample(fraction=1, shuffle=True, seed=1)) == 500
    assert_frame_equal(read_day(store, DAY), frame)


def test_writing_a_day_twice_leaves_the_same_rows_and_other_days_alone(
    store: PredictionStore, day_frame: MakeDay
) -> None:
    other = day_frame(NEXT, 20)
    replace_day(store, NEXT, other)
    for _ in range(2):
        replace_day(store, DAY, day_frame(DAY, 300))
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 300))
    assert_frame_equal(read_day(store, NEXT), other)


def test_a_new_champion_takes_over_the_whole_day(
    store: PredictionStore, day_frame: MakeDay
) -> None:
    replace_day(store, DAY, day_frame(DAY, 300, "1"))
    replace_day(store, DAY, day_frame(DAY, 100, "2"))
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 100, "2"))


def test_an_empty_frame_empties_the_day(store: PredictionStore, day_frame: MakeDay) -> None:
    replace_day(store, DAY, day_frame(DAY, 10))
    assert replace_day(store, DAY, day_frame(DAY, 0)) == 0
    assert read_day(store, DAY).is_empty()
    assert read_day(store, DAY).schema == predictions.SCHEMA


def test_a_day_longer_than_one_slice_arrives_whole(
    store: PredictionStore, day_frame: MakeDay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_ROWS_AT_ONCE", 64)
    replace_day(store, DAY, day_frame(DAY, 300))
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 300))


TEXTS = st.text(
    st.one_of(
        st.sampled_from("\"'\\,;\n\r\t \x01\x7f\u2028\u00e9\U0001f600ab.N"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROW = st.fixed_dictionaries(
    {
        "transaction_id": TEXTS,
        "event_time": st.integers(0, 86_400_000_000 - 1).map(
            lambda us: datetime(2024, 3, 5, tzinfo=UTC) + timedelta(microseconds=us)
        ),
        "payer_id": st.none() | TEXTS | st.sampled_from(["", "\\N", "\\.", "NULL", "null", " "]),
        "amount": FINITE,
        "score": st.floats(0, 1),
        "decision": st.sampled_from(["alert", "pass"]),
        "threshold": FINITE,
        "reasons": st.lists(TEXTS, max_size=3),
    }
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(ROW, max_size=6, unique_by=lambda row: row["transaction_id"]),
    version=TEXTS,
    digest=TEXTS,
)
def test_any_text_and_number_survives_the_store(
    store: PredictionStore, rows: list[dict[str, object]], version: str, digest: str
) -> None:
    models = {"model_version": version, "model_hash": digest}
    frame = pl.DataFrame([row | models for row in rows], schema=predictions.SCHEMA)
    replace_day(store, DAY, frame)
    assert_frame_equal(
        read_day(store, DAY).sort("transaction_id"), frame.sort("transaction_id"), check_exact=True
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.col("event_time") + timedelta(days=1), "10 rows are of another day"),
        (pl.lit(1.5).alias("score"), "scores are not between 0 and 1"),
        (pl.lit(float("nan")).alias("score"), "scores are not between 0 and 1"),
        (pl.lit(float("inf")).alias("amount"), "amounts or thresholds are not finite"),
        (pl.lit("review").alias("decision"), "decisions are neither 'alert' nor 'pass'"),
        (pl.lit("same").alias("transaction_id"), "10 transactions come more than once"),
        (pl.lit("a\0b").alias("payer_id"), "texts hold a NUL character"),
        (pl.lit(None, pl.Utf8).alias("model_hash"), "model_hash is missing in 10 rows"),
        (pl.col("transaction_id").alias("model_version"), "more than one model"),
        (pl.col("event_time").dt.replace_time_zone(None), "not a time in UTC"),
        (pl.lit("much").alias("amount"), "a column has the wrong type"),
    ],
)
def test_a_frame_that_breaks_a_promise_is_refused_and_changes_nothing(
    store: PredictionStore, day_frame: MakeDay, change: pl.Expr, said: str
) -> None:
    replace_day(store, DAY, day_frame(DAY, 5))
    with pytest.raises(PredictionsRefusedError, match=said) as refused:
        replace_day(store, DAY, day_frame(DAY, 10).with_columns(change))
    assert "2024-03-05" in str(refused.value)
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 5))


def test_a_missing_column_is_named(store: PredictionStore, day_frame: MakeDay) -> None:
    with pytest.raises(PredictionsRefusedError, match="'score', 'reasons'"):
        replace_day(store, DAY, day_frame(DAY, 5).drop("score", "reasons"))


def test_a_failure_after_the_old_rows_are_deleted_leaves_the_old_day(
    store: PredictionStore, day_frame: MakeDay, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_day(store, DAY, day_frame(DAY, 200, "1"))
    monkeypatch.setattr(predictions, "_ROWS_AT_ONCE", 50)
    slices = predictions._parts

    def fail_at_the_third(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        for number, part in enumerate(slices(rows)):
            if number == 2:
                raise RuntimeError("power is out")
            yield part

    monkeypatch.setattr(predictions, "_parts", fail_at_the_third)
    with pytest.raises(RuntimeError, match="power is out"):
        replace_day(store, DAY, day_frame(DAY, 300, "2"))
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 200, "1"))


KILLED = """
import os, signal, sys
from datetime import date
import polars as pl
from fraud_assets.store import predictions
from fraud_assets.store.engine import PredictionStore

store = PredictionStore(sys.argv[1])
name = "_copy" if store.dialect == "postgresql" else "_insert_many"
load = getattr(predictions, name)

def load_and_die(connection, part):
    load(connection, part)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(predictions, name, load_and_die)
predictions.replace_day(store, date(2024, 3, 5), pl.read_parquet(sys.argv[2]))
"""


def test_a_process_killed_before_its_commit_leaves_the_old_day(
    store: PredictionStore, store_url: str, day_frame: MakeDay, tmp_path
) -> None:
    replace_day(store, DAY, day_frame(DAY, 200, "1"))
    day_frame(DAY, 5_000, "2").write_parquet(tmp_path / "new.parquet")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, store_url, str(tmp_path / "new.parquet")], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 200, "1"))
    replace_day(store, DAY, day_frame(DAY, 100, "2"))  # no lock is left behind
    assert_frame_equal(read_day(store, DAY), day_frame(DAY, 100, "2"))


def test_two_writers_of_one_day_take_turns(
    store: PredictionStore, day_frame: MakeDay, meet_after: Callable[[object, str], None]
) -> None:
    meet_after(predictions, "_copy" if store.dialect == "postgresql" else "_insert_many")
    frames = [day_frame(DAY, 400, "1", "one"), day_frame(DAY, 300, "2", "two")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda frame: replace_day(store, DAY, frame), frames))
    left = read_day(store, DAY)
    assert any(left.equals(frame) for frame in frames)


def in_frame(rows: list[ScoredRow]) -> pl.DataFrame:
    """Listed predictions as they were given, behind their day."""
    times = pl.from_epoch("event_time_us", "us").dt.replace_time_zone("UTC").alias("event_time")
    found = pl.DataFrame([msgspec.structs.asdict(row) for row in rows], infer_schema_length=None)
    return found.with_columns(times).select("day", *predictions.SCHEMA).cast(predictions.SCHEMA)


def test_pages_together_are_the_whole_list_in_order(
    store: PredictionStore, day_frame: MakeDay
) -> None:
    for day in (DAY, NEXT):
        replace_day(store, day, day_frame(day, 130))
    pages, after = [], None
    while page := list_scored(store, limit=37, after=after):
        pages.append(in_frame(page))
        after = page_end(page)
    listed = pl.concat(pages)
    expected = pl.concat(
        day_frame(day, 130).select(pl.lit(day).alias("day"), pl.all()) for day in (DAY, NEXT)
    ).sort(["day", "score", "transaction_id"], descending=[True, True, False])
    assert_frame_equal(listed, expected)


def test_filters_restrict_the_list(store: PredictionStore, day_frame: MakeDay) -> None:
    for day in (DAY, NEXT):
        replace_day(store, day, day_frame(day, 130))

    def listed(limit: int = 100, **wanted: Any) -> pl.DataFrame:
        return in_frame(list_scored(store, ListingFilter(**wanted), limit=limit))

    alerts = listed(decision="alert", last_day=DAY)
    assert alerts.height == 13
    assert alerts["day"].unique().to_list() == [DAY]
    payer = listed(payer_id="payer-5", first_day=NEXT)
    assert payer["payer_id"].unique().to_list() == ["payer-5"]
    assert payer.height == day_frame(NEXT, 130).filter(pl.col("payer_id") == "payer-5").height
    high = listed(min_score=0.455, limit=1000)
    assert high["score"].min() == 0.455


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"wanted": ListingFilter(decision="x' OR 1")}])
def test_a_senseless_question_is_refused(store: PredictionStore, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"limit must be|decision is"):
        list_scored(store, **wrong)


def test_a_transaction_is_found_with_its_latest_prediction(
    store: PredictionStore, day_frame: MakeDay
) -> None:
    replace_day(store, DAY, day_frame(DAY, 20, "1"))
    twin = day_frame(NEXT, 1, "2").with_columns(transaction_id=pl.lit("tx-0305-000010"))
    replace_day(store, NEXT, twin)
    found = predictions.get(store, "tx-0305-000010")
    assert found is not None
    assert (found["day"], found["model_version"]) == (NEXT, "2")
    assert found["reasons"] == ["amount is high", "new payee"]
    assert predictions.get(store, "nobody") is None


def test_counts_are_by_day_and_version(store: PredictionStore, day_frame: MakeDay) -> None:
    replace_day(store, DAY, day_frame(DAY, 130, "1"))
    replace_day(store, NEXT, day_frame(NEXT, 60, "2"))
    assert predictions.counts_by_day(store).rows() == [(DAY, "1", 130, 13), (NEXT, "2", 60, 6)]
    assert predictions.counts_by_day(store, first_day=NEXT).rows() == [(NEXT, "2", 60, 6)]


def test_the_queue_of_alerts_and_a_single_transaction_are_read_through_an_index(
    store: PredictionStore, day_frame: MakeDay
) -> None:
    replace_day(store, DAY, day_frame(DAY, 5_000))
    questions = {
        "SELECT * FROM predictions WHERE day = '2024-03-05' AND decision = 'alert' "
        "AND score > 0.99": "predictions_alerts_by_day",
        "SELECT * FROM predictions WHERE transaction_id = 'x'": "predictions_by_transaction",
    }
    explain = "EXPLAIN" if store.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
    with store.writing() as connection:
        connection.execute(text("ANALYZE"))
        for question, index in questions.items():
            plan = str(connection.execute(text(f"{explain} {question}")).all())
            assert index in plan
