"""Raw columns of every kind become the canonical ones, or are noted as unreadable."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.canonical import (
    DerivedColumnError,
    MissingColumnError,
    canonical_schema,
    canonicalise,
    event_time_expression,
)
from fraud_assets.transactions.profile import CsvFormat, Profile, load_profile, shipped_profiles

DAY = date(2026, 1, 3)
NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)


def make_profile(time: dict | None = None, **other: object) -> Profile:
    columns = {
        "transaction_id": "id",
        "time": {"column": "when", **(time or {})},
        "amount": {"column": "sum"},
        "payer": "who",
        **other.pop("columns", {}),
    }
    return Profile.model_validate({"name": "mine", "columns": columns, **other})


def raw_frame(**columns: object) -> pl.DataFrame:
    given = {
        "id": ["a"], "when": ["2026-01-03 12:00:00"], "sum": ["1.5"], "who": ["p"], **columns
    }  # fmt: skip
    rows = max(len(values) for values in given.values())
    full = {k: v if len(v) == rows else list(v) * rows for k, v in given.items()}
    return pl.DataFrame(full).with_row_index(c.SOURCE_ROW)


def times(values: object, **time: object) -> list[datetime | None]:
    profile = make_profile(time)
    raw = raw_frame(when=values)
    read = raw.select(event_time_expression(profile, raw.schema))[c.EVENT_TIME]
    assert read.dtype == pl.Datetime("us", "UTC")
    assert canonicalise(raw, profile, DAY).frame[c.EVENT_TIME].equals(read)
    return read.to_list()


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-03 12:00:00", "2026-01-03T12:00:00", "2026-01-03T12:00:00Z", " 2026-01-03 12:00 ",
        "2026-01-03T12:00:00.000000001", "2026-01-03 14:00:00+02:00", "2026-01-03 12:00:00 UTC",
        "2026-01-03T07:00-05:00",
    ],
)  # fmt: skip
def test_iso_notations_of_one_instant_are_read_alike(text: str) -> None:
    assert times([text]) == [NOON]


def test_notations_may_be_mixed_in_one_column() -> None:
    assert times(["2026-01-03", "2026-01-03T12:00:00Z", "soon", None]) == [
        NOON - timedelta(hours=12), NOON, None, None
    ]  # fmt: skip


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_typed_datetimes_of_every_unit_are_read(unit: str) -> None:
    naive = pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime(unit))
    assert times(naive) == [NOON]
    assert times(naive.dt.replace_time_zone("Asia/Tokyo")) == [NOON - timedelta(hours=9)]


def test_naive_times_are_taken_in_the_profiles_zone() -> None:
    naive = pl.Series([NOON.replace(tzinfo=None)])
    assert times(naive, timezone="Europe/Paris") == [NOON - timedelta(hours=1)]
    assert times(["2026-01-03 12:00:00"], timezone="Europe/Paris") == [NOON - timedelta(hours=1)]


def test_a_repeated_clock_time_is_the_earlier_one_and_a_skipped_one_is_unreadable() -> None:
    got = times(["2026-10-25 02:30:00", "2026-03-29 02:30:00"], timezone="Europe/Paris")
    assert got == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), None]


def test_a_format_is_followed() -> None:
    assert times(["03/01/2026 12:00", "2026-01-03"], format="%d/%m/%Y %H:%M") == [NOON, None]
    assert times(["03.01.2026"], format="%d.%m.%Y") == [NOON - timedelta(hours=12)]
    assert times([20260103], format="%Y%m%d") == [NOON - timedelta(hours=12)]


@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize(
    ("value", "time"),
    [
        (int(NOON.timestamp()), {"unit": "epoch_seconds"}),
        (int(NOON.timestamp()) * 1000, {"unit": "epoch_milliseconds"}),
        (129_600, {"unit": "seconds", "origin": "2026-01-02T00:00:00Z"}),
        (37, {"unit": "hours", "origin": "2026-01-02T00:00:00Z", "first_value": 1}),
    ],
)
def test_counted_times_are_read_from_numbers_and_text(kind: type, value: int, time: dict) -> None:
    assert times([kind(value)], **time) == [NOON]


@pytest.mark.parametrize("value", [1e300, float("inf"), float("nan"), -1e18, None])
def test_absurd_counts_are_no_time(value: float | None) -> None:
    assert times([value, 0.0], unit="hours", origin=NOON)[0] is None


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_absurd_datetimes_are_no_time_and_do_not_overflow(unit: str) -> None:
    extremes = pl.Series([2**62, -(2**62)], dtype=pl.Int64).cast(pl.Datetime(unit))
    assert times(extremes) == [None, None]
    assert times(["9999-12-31 00:00:00", "0001-01-01"]) == [None, None]
    assert times(pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date)) == [None]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_the_time_expression_works_in_a_lazy_scan(tmp_path: object, engine: str) -> None:
    raw_frame(when=["2026-01-03T12:00:00", "x"]).write_csv(f"{tmp_path}/a.csv")
    scan = pl.scan_csv(f"{tmp_path}/a.csv", infer_schema=False)
    when = event_time_expression(make_profile(), scan.collect_schema())
    assert scan.select(when).collect(engine=engine)[c.EVENT_TIME].to_list() == [NOON, None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.5", " 2 ", "-3", "1e2", "", "NA", None], [1.5, 2.0, -3.0, 100.0, None, None, None]),
        ([1, 2, None], [1.0, 2.0, None]),
        ([1.5, float("nan")], [1.5, None]),
        ([Decimal("1.50")], [1.5]),
        ([True, False], [1.0, 0.0]),
    ],
)
def test_numbers_of_every_type_are_read_and_missing_ones_are_not_errors(
    values: list, expected: list
) -> None:
    read = canonicalise(raw_frame(sum=values), make_profile(), DAY)
    assert read.frame[c.AMOUNT].to_list() == expected
    assert read.unreadable == {}


@pytest.mark.parametrize("value", ["abc", "1,5", "0x1F", "1.2.3", NOON, date(2026, 1, 1), [1.0]])
def test_what_is_no_number_is_noted(value: object) -> None:
    read = canonicalise(raw_frame(sum=[value]), make_profile(), DAY)
    assert read.frame[c.AMOUNT].to_list() == [None]
    assert read.unreadable[c.AMOUNT].rule == "amount: not a number"


def test_decimal_commas_are_read_and_ambiguous_points_are_refused() -> None:
    profile = make_profile(csv={"decimal_comma": True})
    given = ["1,5", "1.234,56", "-1.234.567", "1.5", "12,3,4", "7"]
    read = canonicalise(raw_frame(sum=given), profile, DAY)
    assert read.frame[c.AMOUNT].to_list() == [1.5, 1234.56, -1234567.0, None, None, 7.0]
    assert read.unreadable[c.AMOUNT].rows.to_list() == [False, False, False, True, True, False]


def test_null_values_apply_before_a_number_is_read() -> None:
    profile = make_profile(csv=CsvFormat(null_values=["-999"]).model_dump())
    read = canonicalise(raw_frame(sum=["-999", "1"]), profile, DAY)
    assert read.frame[c.AMOUNT].to_list() == [None, 1.0]
    assert read.unreadable == {}


@pytest.mark.parametrize("values", [[596], [596.0], ["596"], ["596.0"], [" 596"], [Decimal(596)]])
def test_an_id_is_the_same_text_from_every_source(values: list) -> None:
    read = canonicalise(raw_frame(who=values, id=values), make_profile(), DAY).frame
    assert read[c.PAYER].to_list() == read[c.TRANSACTION_ID].to_list() == ["596"]


def test_big_integer_ids_keep_every_digit() -> None:
    read = canonicalise(raw_frame(id=[2**63 - 1]), make_profile(), DAY).frame
    assert read[c.TRANSACTION_ID].to_list() == ["9223372036854775807"]


def test_ids_of_odd_types_do_not_fail() -> None:
    for series in (
        pl.Series(["x"], dtype=pl.Categorical),
        pl.Series([b"x"]),
        pl.Series([object()], dtype=pl.Object),
        pl.Series([None], dtype=pl.Null),
    ):
        assert canonicalise(raw_frame(who=series), make_profile(), DAY).frame.height == 1


@pytest.mark.parametrize(
    "values",
    [["1", "0", None], [1, 0, None], [1.0, 0.0, None], [True, False, None], ["1.0", "0.0", ""],
     ["Fraud", "GENUINE", "NA"], [" true", "No ", "None"]],
)  # fmt: skip
def test_labels_of_every_type_have_three_states(values: list) -> None:
    profile = make_profile(columns={"label": {"column": "bad", "delay_days": 2}})
    read = canonicalise(raw_frame(bad=values), profile, DAY)
    assert read.frame[c.SOURCE_LABEL].to_list() == [1, 0, None]
    assert read.frame[c.SOURCE_LABEL_KNOWN_AT].to_list() == [
        NOON + timedelta(days=2), NOON + timedelta(days=2), None
    ]  # fmt: skip
    assert read.unreadable == {}


def test_own_label_values_replace_the_usual_ones() -> None:
    label = {"column": "bad", "fraud_values": ["Chargeback"], "legitimate_values": ["OK", "2.0"]}
    profile = make_profile(columns={"label": label})
    read = canonicalise(raw_frame(bad=["CHARGEBACK", "ok", "2", "1"]), profile, DAY)
    assert read.frame[c.SOURCE_LABEL].to_list() == [1, 0, 0, None]
    assert read.unreadable[c.SOURCE_LABEL].rows.to_list() == [False, False, False, True]


def test_a_labels_own_moment_is_read_and_its_absence_means_the_delay() -> None:
    label = {"column": "bad", "known_at": "told", "delay_days": 3}
    profile = make_profile(columns={"label": label})
    raw = raw_frame(bad=["1", "0", None], told=["2026-01-04T12:00:00", "", "2026-01-04T12:00:00"])
    known = canonicalise(raw, profile, DAY).frame[c.SOURCE_LABEL_KNOWN_AT].to_list()
    assert known == [NOON + timedelta(days=1), NOON + timedelta(days=3), None]


@pytest.mark.parametrize("told", [["2026-01-03 18:00:00"], ["42"], [42]])
def test_a_label_moment_may_count_as_the_event_time_does(told: list) -> None:
    profile = make_profile(
        {"unit": "hours", "origin": "2026-01-02T00:00:00Z"},
        columns={"label": {"column": "bad", "known_at": "told"}},
    )
    read = canonicalise(raw_frame(when=["36"], bad=["1"], told=told), profile, DAY).frame
    assert read[c.SOURCE_LABEL_KNOWN_AT].to_list() == [NOON + timedelta(hours=6)]


def test_without_an_id_column_day_and_row_make_the_id() -> None:
    profile = make_profile(columns={"transaction_id": None})
    read = canonicalise(raw_frame(sum=["1", "2"]), profile, DAY).frame
    assert read[c.TRANSACTION_ID].to_list() == ["2026-01-03-0", "2026-01-03-1"]


def test_derived_columns_have_roles_like_any_other() -> None:
    profile = make_profile(
        {"column": "stamp"},
        derived={
            "sum": "TRY_CAST(REPLACE(sum, '$', '') AS DOUBLE) / 100",
            "stamp": "when || ' 12:00:00'",
        },
    )
    raw = raw_frame(sum=["$150", "abc"], when=["2026-01-03"])
    assert canonicalise(raw, profile, DAY).frame[c.AMOUNT].to_list() == [1.5, None]
    read = raw.select(event_time_expression(profile, raw.schema))
    assert read[c.EVENT_TIME].to_list() == [NOON, NOON]


def test_a_derivation_that_fails_names_itself_and_the_remedy() -> None:
    broken = make_profile(derived={"sum": "CAST(sum AS DOUBLE)"})
    with pytest.raises(DerivedColumnError, match=r"derived\.sum.*TRY_CAST"):
        canonicalise(raw_frame(sum=["abc"]), broken, DAY)
    with pytest.raises(DerivedColumnError, match=r"derived\.sum.*not a Polars SQL expression"):
        canonicalise(raw_frame(), make_profile(derived={"sum": "SELECT ((("}), DAY)


def test_missing_columns_are_named_with_their_roles_and_the_nearest_match() -> None:
    raw = raw_frame().rename({"sum": "Summ"}).drop("who")
    with pytest.raises(MissingColumnError) as caught:
        canonicalise(raw, make_profile(), DAY)
    message = str(caught.value)
    assert "'sum' (amount); did you mean 'Summ'?" in message
    assert "'who' (payer_id)" in message
    assert "The data has: id, when, Summ" in message
    with pytest.raises(MissingColumnError, match=r"'base' \(derived\.sum \(amount\)\)"):
        canonicalise(raw_frame(), make_profile(derived={"sum": "base * 2"}), DAY)
    with pytest.raises(MissingColumnError, match=r"'when' \(event_time\)"):
        event_time_expression(make_profile(), {"id": pl.String()})


def test_a_raw_column_may_have_a_canonical_name_with_another_meaning() -> None:
    raw = raw_frame(amount=["999"], event_time=["never"])
    assert canonicalise(raw, make_profile(), DAY).frame[c.AMOUNT].to_list() == [1.5]


@pytest.mark.parametrize("name", shipped_profiles())
def test_an_answer_without_columns_is_an_empty_day_of_every_shipped_profile(name: str) -> None:
    profile = load_profile(name)
    read = canonicalise(pl.DataFrame(schema={c.SOURCE_ROW: pl.Int64}), profile, DAY).frame
    expected = {k: v for k, v in canonical_schema(profile).items() if k != c.EVENT_ORDER}
    assert dict(read.drop(c.SOURCE_ROW).schema) == expected
