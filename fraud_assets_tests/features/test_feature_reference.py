"""Features against a reference that is slow, plain Python and reads like the definitions."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.features.batch import compute_features, label_events
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.expressions import feature_expression
from fraud_assets.transactions.profile import Profile, load_profile

DAY_US = 86_400_000_000
ENTITY = {
    "windows_days": [1, 7],
    "aggregates": ["count", "sum", "mean", "max"],
    "recency": True,
    "amount_ratio": True,
    "risk": {"windows_days": [1, 7], "aggregates": ["labelled_count", "risk"]},
    "known_frauds": {"window_days": 7},
}
_content = load_profile("simulator").model_dump(mode="json")
_content["features"] |= {"payer": ENTITY, "payee": ENTITY, "calendar": ["hour", "is_weekend"]}
PROFILE = Profile.model_validate(_content)
FEATURES = FeatureSet.from_profile(PROFILE)
DELAY_US = PROFILE.label_delay_days * DAY_US


def _reference(transactions: pl.DataFrame, labels: pl.DataFrame) -> list[dict]:
    rows, told = transactions.to_dicts(), labels.to_dicts()
    for label in told:
        usable = label["event_time"].timestamp() * 1e6 + DELAY_US
        label["usable"] = max(usable, label["label_known_at"].timestamp() * 1e6)
    return [_row(rows[: i + 1], told) for i in range(len(rows))]


def _row(past: list[dict], told: list[dict]) -> dict:
    now = past[-1]
    t = now["event_order_us"]

    def inside(key: float, days: int) -> bool:
        return t - days * DAY_US + 1000 <= key <= t

    values: dict = {
        "hour": now["event_time"].hour,
        "is_weekend": int(now["event_time"].weekday() >= 5),
    }
    for entity in ("payer", "payee"):
        who = now[f"{entity}_id"]
        own = [row for row in past if who is not None and row[f"{entity}_id"] == who]
        for days in (1, 7):
            ticks = [round(r["amount"] * 10_000) for r in own if inside(r["event_order_us"], days)]
            labels = [
                label["label"]
                for label in told
                if label[f"{entity}_id"] == who and inside(label["usable"], days)
            ]
            found = {
                "count": len(ticks),
                "sum_amount": sum(ticks) / 10_000,
                "mean_amount": sum(ticks) / (10_000 * max(len(ticks), 1)),
                "max_amount": max(ticks, default=0) / 10_000,
                "labelled_count": len(labels),
                "risk": sum(labels) / len(labels) if labels else 0.0,
            }
            for name, value in found.items():
                values[f"{entity}_{name}_{days}d"] = None if who is None else value
        known = [
            (label["usable"], label["label"], label["amount"])
            for label in told
            if label[f"{entity}_id"] == who and inside(label["usable"], 7) and who is not None
        ]
        frauds = [(usable, amount) for usable, label, amount in known if label == 1]
        values[f"{entity}_last_label"] = max(known)[1] if known else None
        values[f"{entity}_seconds_since_known_fraud"] = (
            (t - max(frauds)[0]) / 1e6 if frauds else None
        )
        values[f"{entity}_seconds_since_first_known_fraud"] = (
            (t - min(frauds)[0]) / 1e6 if frauds else None
        )
        values[f"{entity}_smallest_known_fraud"] = (
            min(amount for _, amount in frauds) if frauds else None
        )
        earlier = [r["event_order_us"] for r in own[:-1] if inside(r["event_order_us"], 7)]
        values[f"{entity}_seconds_since_last"] = (t - earlier[-1]) / 1e6 if earlier else None
        mean = sum(ticks) / len(ticks) if ticks else 0
        values[f"{entity}_amount_ratio"] = round(now["amount"] * 10_000) / mean if mean else None
    pair = (now["payer_id"], now["payee_id"])
    met = [r for r in past[:-1] if (r["payer_id"], r["payee_id"]) == pair]
    new = not any(inside(r["event_order_us"], 7) for r in met)
    values["is_new_payee"] = None if None in pair else int(new)
    return values


few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(data=st.data())
def test_every_feature_equals_a_plain_python_reference(data, build, histories):
    transactions, labels = build(data.draw(histories))
    days = transactions["event_time"].dt.date().unique().to_list()
    found = compute_features(FEATURES, transactions, labels, days, threads=1).to_dicts()
    for got, expected in zip(found, _reference(transactions, labels), strict=True):
        for name, value in expected.items():
            if value is None or got[name] is None:
                assert got[name] == value, name
            else:
                # the ratio and the recency may round their float64 one step apart
                np.testing.assert_allclose(got[name], np.float32(value), rtol=1.2e-7, err_msg=name)


@settings(few, max_examples=8)
@given(data=st.data())
def test_the_backend_neutral_expression_gives_the_same_values(data, build, histories):
    import duckdb
    import ibis

    transactions, labels = build(data.draw(histories))
    days = transactions["event_time"].dt.date().unique().to_list()
    naive = transactions.with_columns(pl.col("event_time").dt.replace_time_zone(None))
    events = label_events(labels, PROFILE.label_delay_days)
    tables = {"transactions_table": naive, "label_events_table": events}
    unbound = {n: ibis.table(ibis.Schema.from_polars(f.schema), name=n) for n, f in tables.items()}
    sql = str(ibis.to_sql(feature_expression(FEATURES, **unbound), dialect="duckdb"))
    with duckdb.connect(":memory:") as connection:
        for name, frame in tables.items():
            connection.register(name, frame.to_arrow())
        whole = pl.DataFrame(pl.from_arrow(connection.sql(sql).to_arrow_table()))
    found = compute_features(FEATURES, transactions, labels, days, threads=1)
    assert whole.columns == found.columns
    assert whole.select(FEATURES.names).equals(found.select(FEATURES.names))


def test_the_expression_compiles_to_the_sql_of_spark():
    import ibis

    known = {"event_order_us": "int64", "event_time": "timestamp(6)", "amount": "float64"}
    schema = {c: known.get(c, "string") for c in FEATURES.required_columns}
    told = {
        "payer_id": "string",
        "payee_id": "string",
        "known_us": "int64",
        "label": "int8",
        "amount": "float64",
    }
    expression = feature_expression(
        FEATURES, ibis.table(schema, name="t"), ibis.table(told, name="l")
    )
    assert "RANGE BETWEEN" in str(ibis.to_sql(expression, dialect="databricks"))
