from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fraud_assets.serving.journal import Journal
from fraud_assets.serving.writer import AnswerWriter
from fraud_assets.store.answers import answers_after
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate

ROUNDS = 4

# Acknowledged ids go to standard output, in one write each, which a kill cannot take back.
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
import uvloop
from fraud_assets.serving.journal import Journal
from fraud_assets.serving.writer import AnswerWriter
from fraud_assets.store.answers import StoredAnswer, last_sequence
from fraud_assets.store.engine import PredictionStore

folder, url, loop, stores = sys.argv[1:]
store = PredictionStore(url)
journal = Journal(Path(folder), "w0", segment_bytes=100_000)
journal.open(last_sequence(store, "w0") + 1)
writer = AnswerWriter(store, journal, max_batch=50, interval_seconds=0.001)
if stores == "stores":
    writer.start()

async def client():
    while True:
        n = journal.take_sequence()
        await journal.append(StoredAnswer(
            transaction_id=f"tx-{n}", event_time_us=n, event_order_us=n, amount=n / 7,
            payer_id="p" * (n % 300), score=n % 100 / 100, decision="pass", threshold=0.5,
            reasons=["why"] * (n % 4), model_version="1", model_hash="h", served_by="champion",
            digest=f"d{n}", worker="w0", sequence=n, scored_at_us=n))
        os.write(1, b"%d\\n" % n)

async def main():
    await asyncio.gather(*(client() for _ in range(8)))

(uvloop.run if loop == "uvloop" else asyncio.run)(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_acknowledged_answer_outlives_a_kill_at_any_moment(tmp_path, loop):
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    acknowledged: list[int] = []
    moments = random.Random(loop)
    for round_ in range(ROUNDS):
        stores = "stores" if round_ != 1 else "waits"
        out = tmp_path / "out"
        with out.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(tmp_path / "journal"), url, loop, stores],
                stdout=file,
            )
        while out.stat().st_size == 0 and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        acknowledged += map(int, out.read_bytes().splitlines())
    assert len(acknowledged) > 1_000
    assert len(set(acknowledged)) == len(acknowledged), "a number was given twice"

    journal = Journal(Path(tmp_path / "journal"), "w0")
    journal.open(1)
    with PredictionStore(url) as store:
        writer = AnswerWriter(store, journal)
        writer.store_leftovers()
        found = list(answers_after(store, "w0", 0))
    assert writer.status.refused == writer.status.conflicting == writer.status.waiting == 0
    assert journal.segments() == []
    journal.close()
    by_number = {one.sequence: one for one in found}
    assert len(by_number) == len(found)
    for number in acknowledged:
        one = by_number[number]
        assert one.transaction_id == f"tx-{number}"
        assert one.amount == number / 7
        assert one.payer_id == "p" * (number % 300)
        assert one.reasons == ["why"] * (number % 4)
    # Beyond the acknowledged ones there is at most what eight clients had under way at each kill.
    assert len(found) - len(acknowledged) <= 8 * ROUNDS
