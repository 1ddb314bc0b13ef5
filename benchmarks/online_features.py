"""One transaction's features from the online state, against the batch engine and against pandas.

    python benchmarks/online_features.py --handbook PATH [--warm-days 70] [--days 3]

The Fraud Detection Handbook's days (profile `cards`) are read through the application's own
validation and labels. The state is warmed with the first of them, and the days after are observed
one transaction at a time, each label told when it may be used. Every value must equal that of
`compute_features`, after the cast to float32, before a time is worth anything.

The peers compute the same row's features, for a few rows: the batch engine for a frame that ends
with the row, and pandas' rolling windows over the row's payer alone, which is a part of the work.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import polars as pl
from handbook_data import FIRST_DAY, between, read_handbook

from fraud_assets.features.batch import compute_features, label_events
from fraud_assets.features.definitions import FeatureSet, LabelHistory
from fraud_assets.features.online.events import LabelEvent, Observation, OnlineTransaction
from fraud_assets.features.online.snapshot import restore, save
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.transactions.columns import DAY, EVENT_TIME
from fraud_assets.transactions.profile import load_profile

PEER_ROWS = 5
FIELDS = ("transaction_id", "amount", "payer_id", "payee_id")


def online_transactions(rows: pl.DataFrame) -> list[OnlineTransaction]:
    """Canonical rows as single transactions."""
    times = rows[EVENT_TIME].dt.epoch("us")
    columns = [times, *(rows[name] for name in FIELDS)]
    return [
        OnlineTransaction(name, time_us, amount, payer, payee)
        for time_us, name, amount, payer, payee in zip(*columns, strict=True)
    ]


def replay(
    state: OnlineFeatures, rows: pl.DataFrame, labels: pl.DataFrame, delay_days: int
) -> tuple[list[Observation], np.ndarray]:
    """What was observed, and the seconds of each observation."""
    columns = ("known_us", "label", "amount", "payer_id", "payee_id")
    told = [LabelEvent(*row) for row in label_events(labels, delay_days).select(columns).rows()]
    transactions = online_transactions(rows)
    seconds = np.empty(len(transactions))
    found = []
    next_label = 0
    gc.collect()
    gc.freeze()  # as a service would: what was loaded is there to stay
    for i, transaction in enumerate(transactions):
        while next_label < len(told) and told[next_label].known_us <= max(
            transaction.event_time_us, state.last_key + 1
        ):
            state.add_label(told[next_label])
            next_label += 1
        started = time.perf_counter()
        observation = state.observe(transaction)
        seconds[i] = time.perf_counter() - started
        found.append(observation)
    return found, seconds


def unequal(features: FeatureSet, found: list[Observation], expected: pl.DataFrame) -> int:
    """How many values differ from the batch's, nulls included."""
    wrong = 0
    for place, name in enumerate(features.names):
        values = [observation.values[place] for observation in found]
        kind = expected.schema[name]
        if kind == pl.Float32:
            numbers = np.array([np.nan if v is None else v for v in values]).astype(np.float32)
            ours = pl.Series(name, numbers, nan_to_null=True)
        else:
            ours = pl.Series(name, values, kind)
        wrong += int(ours.ne_missing(expected[name]).sum())
    return wrong


def pandas_row(own: pd.DataFrame) -> pd.DataFrame:
    """Count, mean and maximum over five windows of one payer's transactions; the last row."""
    indexed = own.set_index("event_time")["amount"]
    return pd.concat(
        [indexed.rolling(f"{days}d").agg(["count", "mean", "max"]) for days in (1, 7, 14, 30, 60)],
        axis=1,
    ).tail(1)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Replay, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--handbook", type=Path, required=True)
    parser.add_argument("--warm-days", type=int, default=70)
    parser.add_argument("--days", type=int, default=3)
    given = parser.parse_args()
    profile = load_profile("cards")
    features = FeatureSet.from_profile(profile)
    delay = max(d.delay_days for d in features.definitions if isinstance(d, LabelHistory))
    first = FIRST_DAY + timedelta(days=given.warm_days)
    last = first + timedelta(days=given.days - 1)
    history = read_handbook(given.handbook, profile, last)
    dated = history.transactions.with_columns(pl.col(EVENT_TIME).dt.date().alias(DAY))
    warm = between(dated, FIRST_DAY, first - timedelta(days=1))
    asked = between(dated, first, last)
    on = pl.col("label_known_at").dt.date()
    known, later = history.labels.filter(on < first), history.labels.filter(on >= first)

    state = OnlineFeatures(features)
    loading = timed(lambda: (state.load_transactions(warm), state.load_labels(known)))
    print(f"warm start: {warm.height:,} transactions, {known.height:,} labels in {loading:.2f} s")
    found, seconds = replay(state, asked, later, delay)
    days: list[date] = [first + timedelta(days=i) for i in range(given.days)]
    expected = compute_features(features, history.transactions, history.labels, days)
    wrong = unequal(features, found, expected)
    print(
        f"{len(features.names)} columns x {asked.height:,} rows compared with the batch: "
        f"{wrong} unequal values"
    )
    if wrong:
        raise SystemExit("the online state disagrees with the batch")
    # the median, as on a shared machine the mean is that of the other processes
    each, high = (float(q) * 1e6 for q in np.quantile(seconds, [0.5, 0.99]))
    print(f"observe: p50 {each:.1f} us, p99 {high:.1f} us a transaction")

    ends = np.linspace(warm.height, dated.height - 1, PEER_ROWS).astype(int)
    batch_seconds, pandas_seconds = [], []
    for end in ends.tolist():
        until = history.transactions.head(end + 1)
        day = until[EVENT_TIME].dt.date()[-1]
        # the row alone is asked for: the day is cut down to it
        alone = pl.concat([until.filter(pl.col(EVENT_TIME).dt.date() < day), until.tail(1)])
        call = lambda rows=alone, of=day: compute_features(features, rows, history.labels, [of])  # noqa: E731
        batch_seconds.append(timed(call))
        payer = until["payer_id"][-1]
        own = until.filter(pl.col("payer_id") == payer).select(EVENT_TIME, "amount").to_pandas()
        pandas_seconds.append(timed(lambda rows=own: pandas_row(rows)))
    for name, measured in (
        ("batch call (DuckDB)", batch_seconds),
        ("pandas, payer only", pandas_seconds),
    ):
        middle = float(np.median(measured)) * 1e6
        print(f"{name}: {middle:,.0f} us a row, {middle / each:,.0f} times as long")

    with TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        saving = timed(lambda: save(state, path, ""))
        size = path.stat().st_size
        restoring = timed(lambda: restore(features, path, late_days=2.0))
    print(
        f"snapshot: {state.size:,} transactions, {size / 1e6:.1f} MB, saved in "
        f"{saving * 1e3:.0f} ms, restored in {restoring * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
