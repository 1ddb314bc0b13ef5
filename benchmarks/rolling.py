"""The features of a few days by pandas' own rolling windows, as most projects write them.

`backfill.py` starts it in a process of its own. The same transactions and labels go to pandas and
to `compute_features`; every value of every row must agree before the times are worth anything.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.lake import Lake
from fraud_assets.transactions.profile import load_profile

WINDOWS = {"1d": pd.Timedelta(days=1), "7d": pd.Timedelta(days=7)}
LABEL_DELAY = pd.Timedelta(days=2)
ALLOWANCE = pd.Timedelta(milliseconds=1)
"""Windows are a millisecond short on both sides, see `fraud_assets/features/semantics.py`."""


def pandas_features(transactions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The shipped profile's features, one column each, in the order of the transactions."""
    rows = transactions.copy()
    rows["at"] = pd.to_datetime(rows["event_order_us"], unit="us")
    rows["hour"] = rows["event_time"].dt.hour
    rows["is_night"] = (rows["hour"] <= 6).astype(float)
    rows["is_new_payee"] = (
        ~(rows.groupby(["payer_id", "payee_id"])["at"].diff() <= WINDOWS["7d"] - ALLOWANCE)
    ).astype(float)
    for entity, aggregates in (("payer", ("count", "mean", "max")), ("payee", ("count", "mean"))):
        key = f"{entity}_id"
        since = rows.groupby(key)["at"].diff()
        rows[f"{entity}_seconds_since_last"] = since.where(
            since <= WINDOWS["7d"] - ALLOWANCE
        ).dt.total_seconds()
        for name, length in WINDOWS.items():
            found = rolled(rows, key, "amount", length - ALLOWANCE, aggregates)
            for aggregate in aggregates:
                middle = "" if aggregate == "count" else "_amount"
                rows[f"{entity}_{aggregate}{middle}_{name}"] = found[aggregate]
    rows["payer_amount_ratio"] = rows["amount"] / rows["payer_mean_amount_7d"]
    told = labels[["payee_id", "label"]].copy()
    usable = labels["event_time"] + LABEL_DELAY
    told["at"] = usable.where(usable > labels["label_known_at"], labels["label_known_at"])
    told["at"] = told["at"].dt.tz_localize(None)
    told["row"] = -1
    asking = rows[["payee_id", "at"]].copy()
    asking["row"] = np.arange(len(asking))
    # Stable, with the labels first: one that becomes known at t counts at t.
    stream = pd.concat([told, asking]).sort_values("at", kind="stable", ignore_index=True)
    for name, length in WINDOWS.items():
        mean = rolled(stream, "payee_id", "label", length - ALLOWANCE, ("mean",))["mean"]
        known = stream["row"] >= 0
        risk = pd.Series(mean[known.to_numpy()].to_numpy(), index=stream.loc[known, "row"])
        rows[f"payee_risk_{name}"] = risk.sort_index().fillna(0.0).to_numpy()
    return rows


def rolled(
    rows: pd.DataFrame, key: str, value: str, length: pd.Timedelta, aggregates: tuple[str, ...]
) -> pd.DataFrame:
    """Aggregates of `value` over each entity's window, closed at both ends, in the rows' order."""
    window = rows.groupby(key, sort=False).rolling(length, on="at", closed="both", min_periods=1)[
        value
    ]
    found = pd.DataFrame({name: getattr(window, name)() for name in aggregates})
    # pandas answers entity by entity; its stable grouping says which row each answer belongs to.
    order = np.concatenate(list(rows.groupby(key, sort=False).indices.values()))
    return found.set_axis(order, axis=0).sort_index()


def main() -> None:
    """Compute both ways, compare every value, and write `<folder>/rolling.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--first", type=date.fromisoformat, required=True)
    parser.add_argument("--days", type=int, required=True)
    given = parser.parse_args()
    features = FeatureSet.from_profile(load_profile("simulator"))
    lake = Lake(str(given.folder / "data" / "lake"))
    days = [given.first + timedelta(days=i) for i in range(given.days)]
    transactions = lake.read_days("validated_transactions", days, features.required_columns)
    labels = lake.read_days("fraud_labels", days)
    compute_features(features, transactions.head(1000), labels, days)  # imports and compiles
    rows, told = transactions.to_pandas(), labels.to_pandas()
    seconds = []
    # Before and behind pandas, as the load of a shared machine changes while it runs.
    for turn in ("ours", "pandas", "ours"):
        started = time.perf_counter()
        if turn == "ours":
            ours = compute_features(features, transactions, labels, days)
        else:
            theirs = pandas_features(rows, told)
        seconds.append(time.perf_counter() - started)
    for name in features.numeric_names:
        np.testing.assert_allclose(
            ours[name].cast(pl.Float64).to_numpy(),
            theirs[name].to_numpy(dtype=float),
            rtol=1e-5,
            atol=1e-6,
            err_msg=name,
        )
    found = {
        "rows": transactions.height,
        "features": len(features.numeric_names),
        "seconds": (seconds[0] + seconds[2]) / 2,
        "pandas_seconds": seconds[1],
    }
    (given.folder / "rolling.json").write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
