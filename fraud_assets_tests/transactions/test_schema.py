"""The Pandera schema really looks at the data, for every type of column and every rule."""

from datetime import UTC, date, datetime, timedelta

import pandera.errors
import polars as pl
import pytest

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.canonical import canonical_schema
from fraud_assets.transactions.profile import Profile, load_profile, shipped_profiles
from fraud_assets.transactions.schema import transaction_rules, transaction_schema

DAY = date(2026, 1, 3)
NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)

PROFILE = Profile.model_validate(
    {
        "name": "mine",
        "columns": {
            "transaction_id": "id",
            "time": {"column": "when"},
            "amount": {"column": "sum", "maximum": 1000},
            "payer": "who",
            "payee": "whom",
            "kind": {"column": "type", "allowed": ["IN", "OUT", "3.0"]},
            "label": {"column": "bad", "scenario": "how"},
        },
        "numeric": [
            {"name": "age", "column": "age", "minimum": 0, "nullable": False},
            {"name": "free", "column": "free"},
        ],
        "categorical": [{"name": "colour", "column": "colour", "allowed": ["red"]}],
    }
)

GOOD = {
    c.TRANSACTION_ID: "t", c.EVENT_TIME: NOON, c.EVENT_ORDER: 1, c.AMOUNT: 5.0, c.PAYER: "p",
    c.PAYEE: "q", c.KIND: "IN", "age": 3.0, "free": None, "colour": "red", c.SOURCE_LABEL: 1,
    c.SOURCE_LABEL_KNOWN_AT: NOON, c.SOURCE_SCENARIO: "s",
}  # fmt: skip


def frame(**changed: object) -> pl.DataFrame:
    second = {**GOOD, c.EVENT_ORDER: 2, **changed}
    return pl.DataFrame([GOOD, second], schema=canonical_schema(PROFILE))


def complaints(data: pl.DataFrame) -> list[str]:
    with pytest.raises(pandera.errors.SchemaErrors) as caught:
        transaction_schema(PROFILE, DAY).validate(data, lazy=True)
    cases = caught.value.failure_cases
    assert cases["index"].to_list() == [1] * cases.height
    return cases["check"].to_list()


def test_good_rows_pass() -> None:
    transaction_schema(PROFILE, DAY).validate(frame(), lazy=True)
    nothing_known = {c.PAYEE: None, c.SOURCE_LABEL: None, c.SOURCE_LABEL_KNOWN_AT: None}
    transaction_schema(PROFILE, DAY).validate(frame(**nothing_known, colour=None), lazy=True)


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        (c.TRANSACTION_ID, "x" * 257, "transaction_id: longer than 256 bytes"),
        (c.EVENT_TIME, NOON - timedelta(days=1), "event_time: outside 2026-01-03"),
        (c.EVENT_ORDER, 1, "event_order_us: not strictly increasing"),
        (c.AMOUNT, -0.01, "amount: below 0"),
        (c.AMOUNT, 1000.5, "amount: above 1000"),
        (c.AMOUNT, float("inf"), "amount: not finite"),
        (c.PAYER, "a\x00b", "payer_id: contains a NUL character"),
        (c.PAYEE, "x" * 257, "payee_id: longer than 256 bytes"),
        (c.KIND, "in", "kind: not one of IN, OUT, 3"),
        ("age", -1.0, "age: below 0"),
        ("free", float("-inf"), "free: not finite"),
        ("free", float("nan"), "free: not finite"),
        ("colour", "blue", "colour: not one of red"),
        (c.SOURCE_LABEL, 2, "source_label: neither 0 nor 1"),
        (
            c.SOURCE_LABEL_KNOWN_AT,
            NOON - timedelta(microseconds=1),
            "source_label_known_at: before the transaction",
        ),
        (c.SOURCE_SCENARIO, "x" * 300, "source_scenario: longer than 256 bytes"),
    ],
)
def test_a_bad_value_is_caught_in_a_column_of_every_type(
    column: str, value: object, complaint: str
) -> None:
    assert complaint in complaints(frame(**{column: value}))


@pytest.mark.parametrize(
    "column", [c.TRANSACTION_ID, c.EVENT_TIME, c.AMOUNT, c.PAYER, c.KIND, "age"]
)
def test_a_required_value_may_not_be_missing(column: str) -> None:
    assert "not_nullable" in complaints(frame(**{column: None}))


@pytest.mark.parametrize("column", list(canonical_schema(PROFILE)))
def test_a_column_of_another_type_is_refused(column: str) -> None:
    wrong = frame().with_columns(pl.lit(1, dtype=pl.UInt16).alias(column))
    with pytest.raises(pandera.errors.SchemaErrors, match="WRONG_DATATYPE"):
        transaction_schema(PROFILE, DAY).validate(wrong, lazy=True)


@pytest.mark.parametrize("name", shipped_profiles())
def test_the_names_of_the_rules_are_unique_in_every_shipped_profile(name: str) -> None:
    names = [rule.name for rule in transaction_rules(load_profile(name), DAY)]
    assert len(names) == len(set(names))
    assert all(rule.split(":")[0] for rule in names)


def test_the_day_ends_before_midnight() -> None:
    midnight = datetime(2026, 1, 4, tzinfo=UTC)
    late = midnight - timedelta(microseconds=1)
    known = {c.SOURCE_LABEL_KNOWN_AT: midnight}
    transaction_schema(PROFILE, DAY).validate(frame(**known, **{c.EVENT_TIME: late}), lazy=True)
    assert complaints(frame(**known, **{c.EVENT_TIME: midnight})) == [
        "event_time: outside 2026-01-03"
    ]
