"""The `cards` features against the Handbook's own definitions, with pandas rolling windows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.transactions.profile import load_profile

FEATURES = FeatureSet.from_profile(load_profile("cards"))


@pytest.fixture(scope="module")
def simulated(build, new_event):
    random = np.random.default_rng(11)
    return build(
        [
            new_event(
                int(gap),
                f"C{random.integers(40)}",
                f"T{random.integers(25)}",
                float(np.round(random.gamma(2, 30), 2)),
                int(random.random() < 0.08),
                168,
            )
            for gap in random.integers(0, 2_400, 5_000)
        ]
    )


@pytest.fixture(scope="module")
def computed(simulated):
    days = simulated.transactions["event_time"].dt.date().unique().to_list()
    return compute_features(FEATURES, *simulated, days)


@pytest.fixture(scope="module")
def frame(simulated):
    told = simulated.labels.select("transaction_id", "label")
    joined = simulated.transactions.join(told, on="transaction_id", maintain_order="left")
    content = {name: joined[name].to_list() for name in joined.columns if name != "event_time"}
    times = joined["event_time"].dt.replace_time_zone(None).to_numpy()
    return pd.DataFrame(content).assign(event_time=times, row=np.arange(joined.height))


def _rolling(frame: pd.DataFrame, entity: str, column: str, days: int) -> pd.DataFrame:
    ordered = frame.sort_values([entity, "row"]).set_index("event_time")
    windows = ordered.groupby(entity)[column].rolling(f"{days}d")
    found = pd.DataFrame({"sum": windows.sum().to_numpy(), "count": windows.count().to_numpy()})
    return found.set_index(ordered["row"].to_numpy()).sort_index()


@pytest.mark.parametrize("days", [1, 7, 30])
def test_spending_behaviour_is_the_handbooks(computed, frame, days):
    expected = _rolling(frame, "payer_id", "amount", days)
    assert (computed[f"payer_count_{days}d"].to_numpy() == expected["count"]).all()
    mean = expected["sum"] / expected["count"]
    np.testing.assert_allclose(computed[f"payer_mean_amount_{days}d"].to_numpy(), mean, rtol=1e-6)


@pytest.mark.parametrize("days", [1, 7, 30])
def test_terminal_risk_is_the_handbooks_with_its_delay_of_seven_days(computed, frame, days):
    delayed = _rolling(frame, "payee_id", "label", 7)
    window = _rolling(frame, "payee_id", "label", days + 7) - delayed
    risk = (window["sum"] / window["count"]).fillna(0)
    assert window["count"].max() > 0
    assert (computed[f"payee_labelled_count_{days}d"].to_numpy() == window["count"]).all()
    np.testing.assert_allclose(computed[f"payee_risk_{days}d"].to_numpy(), risk, atol=1e-6)


def test_night_and_weekend_are_the_handbooks(computed, frame):
    times = frame["event_time"].dt
    assert (computed["is_weekend"].to_numpy() == (times.weekday >= 5)).all()
    assert (computed["is_night"].to_numpy() == (times.hour <= 6)).all()
    assert computed["amount"].equals(pl.Series("amount", frame["amount"].to_numpy()))
