"""What an asset writes as metadata is what a sensor reads back from the instance."""

import types
from datetime import date
from typing import Any, Literal, Union, get_args, get_origin

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fraud_assets.metadata import (
    DashboardRecord,
    DecisionRecord,
    DriftRecord,
    EvaluationRecord,
    FeatureRecord,
    LabelRecord,
    ModelRecord,
    PerformanceRecord,
    PredictionRecord,
    PromotionRecord,
    RawRecord,
    Record,
    ValidationRecord,
    latest,
    latest_by_day,
)

RECORDS = [
    RawRecord, ValidationRecord, LabelRecord, FeatureRecord, ModelRecord, EvaluationRecord,
    PromotionRecord, PredictionRecord, DriftRecord, PerformanceRecord, DecisionRecord,
    DashboardRecord,
]  # fmt: skip

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=30)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(min_value=-(2**53), max_value=2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: TEXT,
    bool: st.booleans(),
    date: st.dates(),
    types.NoneType: st.none(),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return st.one_of([values_of(one) for one in get_args(annotation)])
    if get_origin(annotation) is list:
        return st.lists(values_of(get_args(annotation)[0]), max_size=4)
    if get_origin(annotation) is dict:
        return st.dictionaries(*map(values_of, get_args(annotation)), max_size=4)
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    return records(annotation) if issubclass(annotation, BaseModel) else VALUES[annotation]


def records(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    return st.builds(
        kind, **{name: values_of(field.annotation) for name, field in kind.model_fields.items()}
    )


def example_of(annotation: Any) -> Any:
    """One value that is not None."""
    plain = {int: 3, float: 0.25, str: "text", bool: True, date: date(2025, 1, 9)}
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is list:
        return [example_of(parts[0])]
    if origin is dict:
        return {example_of(parts[0]): example_of(parts[1])}
    if origin is Literal:
        return parts[0]
    if parts:  # a value or None
        return example_of(parts[0])
    return example(annotation) if issubclass(annotation, BaseModel) else plain[annotation]


def example(kind: type[BaseModel], **changes: Any) -> Any:
    values = {name: example_of(field.annotation) for name, field in kind.model_fields.items()}
    return kind(**{**values, **changes})


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def report(instance: dg.DagsterInstance, asset: str, day: date, record: Record) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset, partition=str(day), metadata=record.to_dagster())
    )


def test_every_record_of_the_module_is_tested_here() -> None:
    assert set(RECORDS) == set(Record.__subclasses__())


@pytest.mark.parametrize("kind", RECORDS)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_record_comes_back_from_the_event_log_as_it_was_written(kind, instance, data) -> None:
    record = data.draw(records(kind))
    report(instance, kind.__name__, date(2025, 1, 1), record)
    assert latest(instance, kind.__name__, date(2025, 1, 1), kind) == record


@pytest.mark.parametrize("kind", RECORDS)
def test_what_is_not_computable_is_said_in_words_and_never_as_a_number(kind, instance) -> None:
    missing = {
        name: None
        for name, field in kind.model_fields.items()
        if types.NoneType in get_args(field.annotation)
    }
    record = example(kind, **missing)
    report(instance, "asset", date(2025, 1, 1), record)
    shown = record.to_dagster()
    for name in missing:
        assert name not in shown
        assert shown[f"{name}_note"] == "not computable"
    assert latest(instance, "asset", date(2025, 1, 1), kind) == record


def test_a_zero_is_a_number_and_not_a_note() -> None:
    shown = example(PredictionRecord, alerts=0, alert_share=0.0).to_dagster()
    assert (shown["alerts"], shown["alert_share"]) == (0, 0.0)
    assert "alert_share_note" not in shown


def test_numbers_stay_numbers_so_that_the_ui_plots_them(instance) -> None:
    report(instance, "asset", date(2025, 1, 1), example(EvaluationRecord))
    event = instance.fetch_materializations(dg.AssetKey("asset"), limit=1).records[0]
    metadata = event.asset_materialization.metadata
    assert isinstance(metadata["rows"], dg.IntMetadataValue)
    assert isinstance(metadata["ap_gain"], dg.FloatMetadataValue)
    assert isinstance(metadata["promote"], dg.BoolMetadataValue)


def test_what_an_asset_adds_beside_its_record_is_passed_over(instance) -> None:
    record = example(RawRecord)
    metadata = {**record.to_dagster(), "dagster/row_count": 3, "path": dg.MetadataValue.path("/x")}
    event = dg.AssetMaterialization("asset", partition="2025-01-01", metadata=metadata)
    assert RawRecord.from_event(event) == record


def test_an_event_without_a_field_is_refused_by_the_name_of_the_record_and_field() -> None:
    content = example(ValidationRecord).to_dagster()
    del content["duplicate_rows"]
    with pytest.raises(ValidationError, match=r"ValidationRecord\nduplicate_rows\n\s+Field requir"):
        ValidationRecord.from_event(dg.AssetMaterialization("asset", metadata=content))


def test_a_value_of_another_kind_is_refused_by_name() -> None:
    content = {**example(ValidationRecord).to_dagster(), "reject_share": "many"}
    with pytest.raises(ValidationError, match="reject_share"):
        ValidationRecord.from_event(dg.AssetMaterialization("asset", metadata=content))


def test_an_unknown_field_cannot_be_written() -> None:
    content = example(RawRecord).model_dump()
    with pytest.raises(ValidationError, match="colour"):
        RawRecord(**content, colour="red")


def test_the_newest_report_of_a_day_counts_and_a_day_without_one_is_none(instance) -> None:
    day = date(2025, 1, 1)
    report(instance, "asset", day, example(RawRecord, rows=1))
    report(instance, "asset", date(2025, 1, 2), example(RawRecord, rows=2))
    report(instance, "asset", day, example(RawRecord, rows=3))
    assert latest(instance, "asset", day, RawRecord).rows == 3
    assert latest(instance, "asset", date(2025, 1, 3), RawRecord) is None
    by_day = latest_by_day(instance, "asset", RawRecord)
    assert {str(d): r.rows for d, r in by_day.items()} == {"2025-01-01": 3, "2025-01-02": 2}


def test_more_days_than_one_page_of_the_event_log_are_read(instance) -> None:
    days = [date.fromordinal(date(2025, 1, 1).toordinal() + i) for i in range(205)]
    for index, day in enumerate(days):
        report(instance, "asset", day, example(RawRecord, rows=index))
    by_day = latest_by_day(instance, "asset", RawRecord)
    assert [by_day[day].rows for day in days] == list(range(205))
