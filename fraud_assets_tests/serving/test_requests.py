"""What the scoring routes refuse is what the daily validation sets aside, and the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.features.online.events import OnlineTransaction
from fraud_assets.serving.requests import (
    RefusedTransactionError,
    RequestRules,
    ScoreRequest,
    digest_of,
)
from fraud_assets.transactions.canonical import canonicalise
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


def accepted(request: ScoreRequest, profile: Profile = EXTRAS) -> OnlineTransaction:
    return RequestRules(profile, max_ahead_seconds=300).read(request, NOW)


def refused_fields(request: ScoreRequest, profile: Profile) -> set[str]:
    try:
        accepted(request, profile)
    except RefusedTransactionError as error:
        return {one["field"].removeprefix("extras.") for one in error.problems}
    return set()


def in_the_daily_files(request: ScoreRequest, profile: Profile) -> pl.DataFrame:
    """The canonical row of a day whose file has the transaction with these very texts."""
    roles = profile.columns
    raw = {
        roles.transaction_id: request.transaction_id,
        roles.time.column: request.event_time,
        roles.amount.column: request.amount,
        roles.payer: request.payer_id,
        roles.payee: request.payee_id,
        roles.kind.column: request.kind,
        **{one.column: request.extras.get(one.name) for one in profile.numeric},
        **{one.column: request.extras.get(one.name) for one in profile.categorical},
        **dict.fromkeys([roles.label.column, roles.label.known_at, roles.label.scenario]),
        "source_row": 0,
    }
    raw.pop(None, None)
    numbers = {one.column: pl.Float64 for one in profile.numeric}
    frame = pl.DataFrame([raw], schema_overrides=numbers)
    return canonicalise(frame, profile, request.event_time.astimezone(UTC).date()).frame


def validation_refuses(request: ScoreRequest, profile: Profile) -> set[str]:
    """The columns for which the daily validation would set the transaction aside."""
    frame = in_the_daily_files(request, profile)
    broken = {
        rule.column
        for rule in transaction_rules(profile, request.event_time.astimezone(UTC).date())
        if not frame.select(rule.holds.fill_null(value=True)).item()
    }
    return broken | {name for name in required_columns(profile) if frame[name].null_count()}


texts = st.one_of(
    st.sampled_from(["A", "ä" * 129, "b" * 256, "c" * 257, "x\x00y", " b" * 128 + " ", "-7.0"]),
    st.sampled_from(["", " ", "NA", " NA", "null\t", "\u00a0None", "na"]),
    st.none(),
)


@settings(max_examples=200, deadline=None)
@given(
    payer=texts,
    payee=texts,
    kind=st.sampled_from(["PAYMENT", " TRANSFER", "payment", "GIFT", "NULL", None]),
    amount=st.sampled_from([0.0, 1e7, 1e7 + 1, -0.01, 5.0]),
    distance=st.sampled_from([None, -1.0, 0.0, 50.0, 51.0]),
    age=st.sampled_from([None, 3.0]),
    network=st.sampled_from([None, "visa", "\nvisa", "7", "7.0 ", "amex", "NA"]),
    device=st.sampled_from([None, "d", " d.0", "e" * 300, "", "None"]),
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
    refused = refused_fields(request, EXTRAS)
    assert refused == validation_refuses(request, EXTRAS)
    if not refused:
        expected = in_the_daily_files(request, EXTRAS).row(0, named=True)
        found = accepted(request)
        assert found.transaction_id == expected["transaction_id"]
        assert [found.payer_id, found.payee_id, found.kind] == [
            expected["payer_id"], expected["payee_id"], expected["kind"],
        ]  # fmt: skip
        assert found.extras == {
            name: expected[name] for name in extras if expected[name] is not None
        }


def test_a_good_transaction_passes() -> None:
    assert refused_fields(read(), load_profile("simulator")) == set()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_time": (NOW + timedelta(seconds=301)).isoformat()}, "event_time"),
        ({"event_time": "1899-01-01T00:00:00Z"}, "event_time"),
        ({"transaction_id": "  "}, "transaction_id"),
        ({"transaction_id": ""}, "transaction_id"),
        ({"transaction_id": "NaN "}, "transaction_id"),
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
    simulator = load_profile("simulator")
    assert accepted(read(payer_id=596), simulator).payer_id == "596"
    assert accepted(read(transaction_id=7), simulator).transaction_id == "7"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"transaction_id": "null"}, "transaction_id"),
        ({"payer_id": " NA"}, "payer_id"),
        ({"kind": ""}, "kind"),
        ({"extras": {"age": None, "device": "d"}}, "extras.age"),
        ({"extras": {"age": 3, "device": " None"}}, "extras.device"),
    ],
)
def test_what_is_needed_and_says_that_it_is_missing_is_refused_as_missing(
    changes: dict[str, object], field: str
) -> None:
    request = read(**{"extras": {"age": 3, "device": "d"}} | changes)
    with pytest.raises(RefusedTransactionError) as refusal:
        accepted(request)
    assert refusal.value.problems == [{"field": field, "message": "missing"}]


def test_the_profile_says_which_texts_are_missing() -> None:
    content = EXTRAS.model_dump(mode="json") | {"csv": {"null_values": ["?", ""]}}
    extras = {"age": 3, "device": "NA", "network": " ?"}
    found = accepted(
        read(payer_id="NA", payee_id="?", extras=extras), Profile.model_validate(content)
    )
    assert (found.payer_id, found.payee_id) == ("NA", None)
    assert found.extras == {"age": 3.0, "device": "NA"}


def digest(**changes: object) -> str:
    needed = {"age": 3, "device": "d"}
    return digest_of(accepted(read(**{"extras": needed} | changes)))


def test_the_digest_tells_contents_apart() -> None:
    others = [{"amount": 12.51}, {"payer_id": "B"}, {"payee_id": None}, {"kind": "TRANSFER"}]
    others += [{"extras": {"age": 4, "device": "d"}}, {"event_time": "2026-03-05T12:00:00.000001Z"}]
    assert len({digest(), *(digest(**one) for one in others)}) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"event_time": "2026-03-05T13:00:00+01:00"},
        {"extras": {"device": "d", "age": 3.0}},
        {"extras": {"age": 3, "device": "d", "distance": None}},
        {"extras": {"age": 3, "device": " d", "network": None}},
        {"extras": {"age": 3, "device": "d", "network": "NA"}},
        {"payer_id": " A", "payee_id": "X\t"},
        {"transaction_id": "t1 "},
    ],
)
def test_the_digest_does_not_depend_on_how_it_was_written(changes: dict[str, object]) -> None:
    assert digest(**changes) == digest()
