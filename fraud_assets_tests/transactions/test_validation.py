"""A raw day is divided without losing a row, and every reason is given."""

import time
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.canonical import MissingColumnError, canonical_schema
from fraud_assets.transactions.profile import Profile, load_profile, shipped_profiles
from fraud_assets.transactions.validation import (
    RowConservationError,
    ValidationOutcome,
    validate_day,
)

DAY = date(2026, 1, 3)

PROFILE = Profile.model_validate(
    {
        "name": "mine",
        "columns": {
            "transaction_id": "id",
            "time": {"column": "when"},
            "amount": {"column": "sum"},
            "payer": "who",
            "kind": {"column": "type", "allowed": ["IN", "OUT"]},
            "label": {"column": "bad", "known_at": "told"},
        },
        "numeric": [{"name": "age", "column": "age", "maximum": 120}],
    }
)

GOOD = {
    "id": "t", "when": "2026-01-03 12:00:00", "sum": "5", "who": "p", "type": "IN", "bad": "0",
    "told": "2026-01-05 00:00:00", "age": "30",
}  # fmt: skip


def raw_frame(*rows: dict) -> pl.DataFrame:
    full = [{**GOOD, "id": f"t{i}", **row} for i, row in enumerate(rows)]
    return pl.DataFrame(full, schema=dict.fromkeys(GOOD, pl.String)).with_row_index(c.SOURCE_ROW)


def reasons(outcome: ValidationOutcome) -> dict[int, list[str]]:
    return {row[c.SOURCE_ROW]: row[c.REASON] for row in outcome.quarantined.to_dicts()}


def test_good_rows_are_validated_in_the_order_of_events() -> None:
    raw = raw_frame(
        {"when": "2026-01-03 12:00:00"}, {"when": "2026-01-03 08:00:00"},
        {"when": "2026-01-03 12:00:00"},
    )  # fmt: skip
    outcome = validate_day(raw, PROFILE, DAY)
    assert outcome.validated[c.TRANSACTION_ID].to_list() == ["t1", "t0", "t2"]
    assert dict(outcome.validated.schema) == canonical_schema(PROFILE)
    assert (outcome.reject_share, outcome.reasons_table().height) == (0.0, 0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"sum": "abc"}, "amount: not a number ('abc')"),
        ({"sum": "1,5"}, "amount: not a number ('1,5')"),
        ({"sum": "-1"}, "amount: below 0 ('-1.0')"),
        ({"sum": "inf"}, "amount: not finite ('inf')"),
        ({"sum": "NaN"}, "amount: missing"),
        ({"sum": None}, "amount: missing"),
        ({"id": ""}, "transaction_id: missing"),
        ({"who": " "}, "payer_id: missing"),
        ({"type": "WIRE"}, "kind: not one of IN, OUT ('WIRE')"),
        ({"when": "3 Jan"}, "event_time: not a time from 1990-01-01 to 2100-01-01 ('3 Jan')"),
        (
            {"when": "9999-01-01"},
            "event_time: not a time from 1990-01-01 to 2100-01-01 ('9999-01-01')",
        ),
        ({"when": None}, "event_time: missing"),
        ({"bad": "maybe"}, "source_label: neither a fraud nor a legitimate value ('maybe')"),
        (
            {"told": "later"},
            "source_label_known_at: not a time from 1990-01-01 to 2100-01-01 ('later')",
        ),
        ({"age": "old"}, "age: not a number ('old')"),
        ({"age": "121"}, "age: above 120 ('121.0')"),
    ],
)
def test_a_broken_row_is_quarantined_with_its_one_reason(row: dict, reason: str) -> None:
    outcome = validate_day(raw_frame({}, row), PROFILE, DAY)
    assert outcome.validated[c.TRANSACTION_ID].to_list() == ["t0"]
    assert reasons(outcome) == {1: [reason]}


def test_another_days_rows_are_refused_with_the_time_they_have() -> None:
    outcome = validate_day(raw_frame({"when": "2026-01-04"}), PROFILE, DAY)
    (reason,) = reasons(outcome)[0]
    assert reason.startswith("event_time: outside 2026-01-03 ('2026-01-04 00:00:00")


def test_a_label_known_before_its_transaction_is_refused() -> None:
    outcome = validate_day(raw_frame({"told": "2026-01-01"}), PROFILE, DAY)
    assert reasons(outcome)[0][0].startswith("source_label_known_at: before the transaction")


def test_every_broken_rule_of_a_row_is_told() -> None:
    row = {"id": None, "sum": "x", "type": "y", "bad": "z", "age": "-", "when": "?", "who": None}
    outcome = validate_day(raw_frame(row), PROFILE, DAY)
    told = {reason.split(":")[0] for reason in reasons(outcome)[0]}
    assert told == {
        c.TRANSACTION_ID, c.AMOUNT, c.KIND, c.SOURCE_LABEL, "age", c.EVENT_TIME, c.PAYER
    }  # fmt: skip


def test_quarantined_rows_keep_the_raw_values_as_text() -> None:
    raw = raw_frame({"sum": "abc", "id": "t9"}).with_columns(more=pl.Series([[1, 2]]))
    kept = validate_day(raw, PROFILE, DAY).quarantined.to_dicts()[0]
    assert kept.pop(c.REASON) == ["amount: not a number ('abc')"]
    expected = {**GOOD, "id": "t9", "sum": "abc", "more": "[1, 2]"}
    assert kept == {**expected, c.SOURCE_ROW: 0, c.TRANSACTION_ID: "t9"}


def test_raw_columns_named_like_ours_are_kept_beside_them() -> None:
    raw = raw_frame({"sum": "abc"}).with_columns(
        transaction_id=pl.lit("theirs"), reject_reasons=pl.lit("theirs")
    )
    kept = validate_day(raw, PROFILE, DAY).quarantined.to_dicts()[0]
    assert (kept["raw_transaction_id"], kept["raw_reject_reasons"]) == ("theirs", "theirs")
    assert kept[c.TRANSACTION_ID] == "t0"


def test_the_first_valid_row_of_an_id_is_kept() -> None:
    raw = raw_frame({"id": "a", "sum": "bad"}, {"id": "a"}, {"id": "b"}, {"id": "a"}, {"id": "a"})
    outcome = validate_day(raw, PROFILE, DAY)
    assert outcome.validated[c.TRANSACTION_ID].to_list() == ["a", "b"]
    assert outcome.quarantined[c.SOURCE_ROW].to_list() == [0]
    assert outcome.duplicates[c.SOURCE_ROW].to_list() == [3, 4]
    assert outcome.duplicates[c.REASON].to_list() == [
        ["transaction_id: duplicate of an earlier row of the day (source_row 1)"]
    ] * 2  # fmt: skip
    assert outcome.duplicates.columns == outcome.quarantined.columns


def test_the_first_to_arrive_is_kept_whatever_the_order_of_the_frame() -> None:
    raw = raw_frame({"id": "a", "sum": "1"}, {"id": "a", "sum": "2"})[::-1]
    assert validate_day(raw, PROFILE, DAY).validated[c.AMOUNT].to_list() == [1.0]


def test_ids_of_earlier_days_are_duplicates() -> None:
    known = pl.Series([f"k{i}" for i in range(1000)] + ["t1", "t1"])
    outcome = validate_day(raw_frame({}, {}, {"id": "t1"}), PROFILE, DAY, known)
    assert outcome.validated[c.TRANSACTION_ID].to_list() == ["t0"]
    assert outcome.duplicates[c.REASON].to_list() == [
        ["transaction_id: duplicate of a transaction of an earlier day"]
    ] * 2  # fmt: skip


def test_an_invalid_row_of_a_known_id_is_quarantined_and_no_duplicate() -> None:
    outcome = validate_day(raw_frame({"sum": "x"}), PROFILE, DAY, pl.Series(["t0"]))
    assert (outcome.quarantined.height, outcome.duplicates.height) == (1, 0)


def test_reasons_are_counted_without_their_values() -> None:
    raw = raw_frame({"sum": "a"}, {"sum": "b ('c')"}, {"type": "X"}, {"id": "d"}, {"id": "d"})
    table = validate_day(raw, PROFILE, DAY).reasons_table()
    assert table.rows() == [
        ("amount: not a number", 2),
        ("kind: not one of IN, OUT", 1),
        ("transaction_id: duplicate of an earlier row of the day", 1),
    ]


def test_the_share_of_rejects_counts_quarantined_rows_only() -> None:
    raw = raw_frame({"sum": "a"}, {"id": "d"}, {"id": "d"}, {})
    assert validate_day(raw, PROFILE, DAY).reject_share == 0.25


@pytest.mark.parametrize("name", shipped_profiles())
@pytest.mark.parametrize("with_columns", [True, False])
def test_an_empty_day_is_a_valid_outcome(name: str, with_columns: bool) -> None:
    profile = load_profile(name)
    schema = {"source_row": pl.Int64}
    if with_columns:
        schema |= dict.fromkeys(raw_columns(profile), pl.String)
    outcome = validate_day(pl.DataFrame(schema=schema), profile, DAY, pl.Series(["a"]))
    assert dict(outcome.validated.schema) == canonical_schema(profile)
    assert (outcome.raw_rows, outcome.validated.height, outcome.reject_share) == (0, 0, 0.0)
    assert outcome.quarantined.schema == outcome.duplicates.schema
    assert outcome.reasons_table().height == 0


def raw_columns(profile: Profile) -> list[str]:
    roles = profile.columns
    names = [roles.transaction_id, roles.time.column, roles.amount.column, roles.payer, roles.payee]
    names += [roles.kind.column] if roles.kind else []
    names += [roles.label.column, roles.label.known_at, roles.label.scenario]
    names += [extra.column for extra in (*profile.numeric, *profile.categorical)]
    return [name for name in names if name]


SHIPPED_ROWS = {
    "cards": {"TX_DATETIME": datetime(2026, 1, 3, 5, tzinfo=UTC)},
    "ieee_cis": {"TransactionDT": (DAY - date(2017, 12, 1)).days * 86_400},
    "paysim": {"step": 50, "type": "PAYMENT"},
    "simulator": {
        "timestamp": datetime(2026, 1, 3, 5, tzinfo=UTC), "type": "CASH_OUT",
        "labelKnownAt": datetime(2026, 1, 4, 5, tzinfo=UTC),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", shipped_profiles())
@pytest.mark.parametrize("as_text", [False, True])
def test_rows_of_every_shipped_profile_pass_typed_and_as_text(name: str, as_text: bool) -> None:
    profile = load_profile(name)
    row = {**dict.fromkeys(raw_columns(profile), 1), **SHIPPED_ROWS[name]}
    raw = pl.DataFrame([row]).with_row_index(c.SOURCE_ROW)
    if as_text:
        raw = raw.with_columns(pl.exclude(c.SOURCE_ROW).cast(pl.String))
    outcome = validate_day(raw, profile, DAY)
    assert outcome.quarantined[c.REASON].to_list() == []
    assert outcome.validated[c.SOURCE_LABEL].to_list() == [1]
    bad = raw.with_columns(pl.lit(-5.0).cast(raw[profile.columns.amount.column].dtype)
                           .alias(profile.columns.amount.column))  # fmt: skip
    assert "amount: below 0" in reasons(validate_day(bad, profile, DAY))[0][0]


@pytest.mark.parametrize(
    "absurd",
    [pl.Series([2**62]).cast(pl.Datetime("us")), pl.Series([-(2**62)]).cast(pl.Datetime("ms")),
     pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date), pl.Series([b"\xff"]),
     pl.Series([[1]]), pl.Series([object()], dtype=pl.Object), pl.Series([1e300])],
)  # fmt: skip
@pytest.mark.parametrize("column", ["when", "sum", "told", "bad"])
def test_an_absurd_value_of_any_type_quarantines_its_row_and_no_more(
    absurd: pl.Series, column: str
) -> None:
    raw = raw_frame({}).with_columns(absurd.alias(column))
    outcome = validate_day(raw, PROFILE, DAY)
    (told,) = reasons(outcome)[0]
    assert told.startswith(("event_time: ", "amount: ", "source_label"))
    assert outcome.quarantined[column].dtype == pl.String


def test_source_rows_must_name_each_row() -> None:
    raw = raw_frame({}, {})
    with pytest.raises(ValueError, match="no 'source_row' column"):
        validate_day(raw.drop(c.SOURCE_ROW), PROFILE, DAY)
    with pytest.raises(ValueError, match="nulls or repeats"):
        validate_day(raw.with_columns(source_row=pl.lit(1)), PROFILE, DAY)
    with pytest.raises(ValueError, match="must be integers"):
        validate_day(raw.with_columns(source_row=pl.Series(["0", "1"])), PROFILE, DAY)
    with pytest.raises(MissingColumnError, match="'sum'"):
        validate_day(raw.drop("sum"), PROFILE, DAY)


def test_lost_rows_are_an_error_that_says_how_many() -> None:
    whole = validate_day(raw_frame({}, {"sum": "x"}), PROFILE, DAY)
    with pytest.raises(RowConservationError, match=r"2 raw rows .* = 1"):
        ValidationOutcome(whole.validated, whole.quarantined.clear(), whole.duplicates, 2)


def test_the_checks_run_even_if_panderas_settings_turn_them_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pandera.config import CONFIG, ValidationDepth

    monkeypatch.setattr(CONFIG, "validation_enabled", False)
    monkeypatch.setattr(CONFIG, "validation_depth", ValidationDepth.SCHEMA_ONLY)
    assert validate_day(raw_frame({"sum": "-1"}), PROFILE, DAY).quarantined.height == 1


def test_many_bad_rows_do_not_take_minutes() -> None:
    rows = 100_000
    raw = pl.concat([raw_frame({})] * rows).with_columns(
        source_row=pl.int_range(rows),
        id=pl.int_range(rows).cast(pl.String),
        sum=pl.when(pl.int_range(rows) % 2 == 0).then(pl.lit("oops")).otherwise("sum"),
        type=pl.when(pl.int_range(rows) % 3 == 0).then(pl.lit("?")).otherwise("type"),
    )
    start = time.perf_counter()
    outcome = validate_day(raw, PROFILE, DAY)
    assert time.perf_counter() - start < 10  # about 0.3 s on two slow cores
    assert outcome.quarantined.height == 66_667


dirty = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c", "7", "7.0", "", None]) | st.text(max_size=3),
        "when": st.sampled_from(
            ["2026-01-03", "2026-01-03T10:00:00Z", "2026-01-03 10:00:00", "2026-01-04", "x", None]
        ),
        "sum": st.sampled_from(["1", "-1", "NaN", "inf", "1,5", "abc", "", None, "1e400"])
        | st.floats().map(str),
        "who": st.sampled_from(["p", "q", None]) | st.text(max_size=3),
        "type": st.sampled_from(["IN", "OUT", "in", None]),
        "bad": st.sampled_from(["1", "0", "true", "perhaps", None]),
        "told": st.sampled_from(["2026-01-05", "2026-01-01", "x", None]),
        "age": st.sampled_from(["1", "500", "NaN", "x", None]),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(dirty, max_size=12), known=st.none() | st.just(["a", "7"]))
def test_any_dirty_day_is_divided_without_losing_a_row(
    rows: list[dict], known: list[str] | None
) -> None:
    raw = raw_frame(*rows)
    ids = None if known is None else pl.Series(known)
    outcome = validate_day(raw, PROFILE, DAY, ids)
    aside = [*outcome.quarantined[c.SOURCE_ROW], *outcome.duplicates[c.SOURCE_ROW]]
    assert len(set(aside)) == len(aside)
    assert outcome.validated.height + len(aside) == outcome.raw_rows == len(rows)
    assert all(outcome.quarantined[c.REASON].list.len() > 0)
    assert all(outcome.duplicates[c.REASON].list.len() == 1)
    valid = outcome.validated
    assert valid[c.TRANSACTION_ID].n_unique() == valid.height
    assert not set(valid[c.TRANSACTION_ID]) & set(known or [])
    again = validate_day(raw, PROFILE, DAY, ids)
    assert again.validated.equals(valid)
    assert again.quarantined.equals(outcome.quarantined)


@settings(max_examples=60, deadline=None)
@given(seconds=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_the_order_key_is_strictly_increasing_and_is_the_time_where_no_two_are_equal(
    seconds: list[int],
) -> None:
    start = datetime(2026, 1, 3)  # noqa: DTZ001 - as a source writes it
    rows = [{"when": str(start + timedelta(seconds=s)), "sum": str(i)} for i, s in
            enumerate(seconds)]  # fmt: skip
    valid = validate_day(raw_frame(*rows), PROFILE, DAY).validated
    order, epoch = valid[c.EVENT_ORDER], valid[c.EVENT_TIME].dt.epoch("us")
    assert valid.height == len(seconds)
    assert all(order.diff().drop_nulls() > 0)
    assert valid[c.AMOUNT].to_list() == sorted(range(len(seconds)), key=lambda i: (seconds[i], i))
    first = valid[c.EVENT_TIME].is_first_distinct()
    assert order.filter(first).equals(epoch.filter(first))
