"""What the scoring routes refuse is what the daily validation sets aside, and the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.serving.requests import (
    RefusedTransactionError,
    RequestRules,
    ScoreRequest,
    digest_of,
)
from fraud_assets.transactions.canonical import canonical_schema
from fraud_assets.transactions.profile import Profile, load_profile
from fraud_assets.transactions.schema import required_columns, transaction_rules

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
TOLD = {
    "transaction_id": "t1",
    "event_time": NOW.isoformat(),
    "amount": 12.5,
    "payer_id": "A",
    "payee_id": "X",
    "kind": "PAYMENT",
}


def profile_with_extras() -> Profile:
    content = load_profile("simulator").model_dump(mode="json")
    content["numeric"] = [
        {"name": "distance", "column": "distance", "minimum": 0.0, "maximum": 50.0},
        {"name": "age", "column": "age", "nullable": False},
    ]
    content["categorical"] = [
        {"name": "network", "column": "network", "allowed": ["visa", "7.0"]},
        {"name": "device", "column": "device", "nullable": False},
    ]
    return Profile.model_validate(content)


EXTRAS = profile_with_extras()


def read(**changes: object) -> ScoreRequest:
    given = {name: value for name, value in (TOLD | changes).items() if value is not ...}
    return msgspec.json.decode(msgspec.json.encode(given), type=ScoreRequest)


def refused_fields(request: ScoreRequest, profile: Profile) -> set[str]:
    rules = RequestRules(profile, max_ahead_seconds=300)
    try:
        rules.check(request, NOW)
    except RefusedTransactionError as error:
        return {one["field"].removeprefix("extras.") for one in error.problems}
    return set()


def validation_refuses(request: ScoreRequest, profile: Profile) -> set[str]:
    """The columns for which the daily validation would set the transaction aside."""
    transaction = request.transaction()
    row = dict.fromkeys(canonical_schema(profile)) | {
        "transaction_id": transaction.transaction_id,
        "event_time": request.event_time,
        "amount": transaction.amount,
        "payer_id": transaction.payer_id,
        "payee_id": transaction.payee_id,
        "kind": transaction.kind,
        **transaction.extras,
    }
    frame = pl.DataFrame([row], schema=canonical_schema(profile))
    broken = {
        rule.column
        for rule in transaction_rules(profile, request.event_time.astimezone(UTC).date())
        if not frame.select(rule.holds.fill_null(value=True)).item()
    }
    return broken | {name for name in required_columns(profile) if frame[name].null_count()}


texts = st.one_of(st.sampled_from(["A", "ä" * 129, "b" * 256, "c" * 257, "x\x00y"]), st.none())


@settings(max_examples=200, deadline=None)
@given(
    payer=texts,
    payee=texts,
    kind=st.sampled_from(["PAYMENT", "TRANSFER", "payment", "GIFT", None]),
    amount=st.sampled_from([0.0, 1e7, 1e7 + 1, -0.01, 5.0]),
    distance=st.sampled_from([None, -1.0, 0.0, 50.0, 51.0]),
    age=st.sampled_from([None, 3.0]),
    network=st.sampled_from([None, "visa", "7", "7.0", "amex"]),
    device=st.sampled_from([None, "d", "e" * 300]),
)
def test_a_transaction_is_refused_for_what_the_daily_validation_sets_it_aside_for(
    payer: str | None,
    payee: str | None,
    kind: str | None,
    amount: float,
    distance: float | None,
    age: float | None,
    network: str | None,
    device: str | None,
) -> None:
    extras = {"distance": distance, "age": age, "network": network, "device": device}
    request = read(payer_id=payer, payee_id=payee, kind=kind, amount=amount, extras=extras)
    assert refused_fields(request, EXTRAS) == validation_refuses(request, EXTRAS)


def test_a_good_transaction_passes() -> None:
    assert refused_fields(read(), load_profile("simulator")) == set()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_time": (NOW + timedelta(seconds=301)).isoformat()}, "event_time"),
        ({"event_time": "1899-01-01T00:00:00Z"}, "event_time"),
        ({"transaction_id": "  "}, "transaction_id"),
        ({"transaction_id": ""}, "transaction_id"),
        ({"extras": {"colour": "red"}}, "colour"),
        ({"kind": ...}, "kind"),
        ({"payer_id": ...}, "payer_id"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    assert refused_fields(read(**changes), load_profile("simulator")) == {field}


def test_a_role_that_the_profile_does_not_have_is_refused_rather_than_ignored() -> None:
    content = load_profile("simulator").model_dump(mode="json")
    content["columns"]["kind"] = None
    assert refused_fields(read(), Profile.model_validate(content)) == {"kind"}


def test_every_problem_is_told_at_once() -> None:
    request = read(amount=-1, kind="GIFT", payer_id="")
    assert refused_fields(request, load_profile("simulator")) == {"amount", "kind", "payer_id"}


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "12"},
        {"amount": True},
        {"event_time": "2026-03-05T12:00:00"},
        {"event_time": "yesterday"},
        {"payer_id": 1.5},
        {"nonsense": 1},
        {"extras": {"a": [1]}},
        {"amount": ...},
    ],
)
def test_what_has_another_form_cannot_be_read(changes: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(**changes)


def test_numbers_are_ids_by_their_digits() -> None:
    assert read(payer_id=596).transaction().payer_id == "596"
    assert read(transaction_id=7).transaction().transaction_id == "7"


def test_the_digest_tells_contents_apart_and_not_how_they_were_written() -> None:
    same = read(event_time="2026-03-05T13:00:00+01:00", extras={})
    assert digest_of(read().transaction()) == digest_of(same.transaction())
    others = [
        read(**{name: value})
        for name, value in {
            "amount": 12.51,
            "payer_id": "B",
            "payee_id": None,
            "kind": None,
        }.items()
    ]
    digests = {digest_of(one.transaction()) for one in [read(), *others]}
    assert len(digests) == 5


def test_the_order_of_extras_does_not_matter() -> None:
    one = read(extras={"a": 1.0, "b": "x"})
    other = read(extras={"b": "x", "a": 1.0})
    assert digest_of(one.transaction()) == digest_of(other.transaction())
