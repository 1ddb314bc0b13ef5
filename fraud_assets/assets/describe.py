"""Column schemas, small tables and pictures for the UI, made from what the domain already says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.manifest import FoldRecord
from fraud_assets.transactions.profile import Profile


def column_schema(columns: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Definition metadata with a column schema of (name, type, description)."""
    return {
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, kind, description=text) for name, kind, text in columns]
        )
    }


def transaction_columns(profile: Profile) -> list[tuple[str, str, str]]:
    """The canonical columns, each with the user's column that it comes from."""
    roles = profile.columns
    label = roles.label
    rows = [
        ("transaction_id", "string", f"{roles.transaction_id or 'day and row'}; unique over days"),
        ("event_time", "timestamp[us, UTC]", f"from {roles.time.column} ({roles.time.unit})"),
        ("event_order_us", "int64", "strictly increasing order key; ties by order of arrival"),
        ("amount", "float64", f"from {roles.amount.column}"),
        ("payer_id", "string", f"from {roles.payer or 'nothing: not mapped'}"),
        ("payee_id", "string", f"from {roles.payee or 'nothing: not mapped'}"),
        ("kind", "string", f"from {roles.kind.column if roles.kind else 'nothing: not mapped'}"),
    ]
    rows += [(c.name, "float64", f"from {c.column}") for c in profile.numeric]
    rows += [(c.name, "string", f"from {c.column}") for c in profile.categorical]
    if label:
        rows += [
            ("source_label", "int8", f"from {label.column}; read by fraud_labels alone"),
            ("source_label_known_at", "timestamp[us, UTC]", "when the source's label was known"),
            ("source_scenario", "string", "the source's fraud scenario; for evaluation alone"),
        ]
    return rows


def feature_columns(features: FeatureSet) -> list[tuple[str, str, str]]:
    """The keys and the features, each with its sentence."""
    keys = [
        ("transaction_id", "string", "key"),
        ("event_time", "timestamp[us, UTC]", "when it happened"),
        ("event_order_us", "int64", "order key"),
        ("payer_id", "string", "for card precision; not a feature"),
    ]
    return keys + [
        (d.name, "string" if d.name in features.categorical_names else "float32", d.description)
        for d in features.definitions
    ]


def table(
    key: str, rows: Sequence[Mapping[str, Any]], limit: int = 50
) -> dict[str, dg.TableMetadataValue]:
    """Metadata `{key: table}` of the first `limit` rows, or nothing where there are none."""
    if not rows:
        return {}
    shown = dg.MetadataValue.table(
        [
            dg.TableRecord({k: "" if v is None else _cell(v) for k, v in row.items()})
            for row in rows[:limit]
        ],
        schema=dg.TableSchema(
            columns=[dg.TableColumn(name, _column_type(rows, name)) for name in rows[0]]
        ),
    )
    return {key: shown}


def fold_table(key: str, folds: Sequence[FoldRecord]) -> dict[str, dg.TableMetadataValue]:
    """Metadata `{key: table}` of the folds, a row each in the order given; see `table`."""
    rows = [
        {"trained on": one.train_window, "judged on": one.validation_window}
        | one.model_dump(exclude={"train_window", "validation_window"})
        for one in folds
    ]
    return table(key, rows)


def pictures(pngs: Mapping[str, bytes]) -> dict[str, dg.MarkdownMetadataValue]:
    """Metadata `{name: picture}` of PNG files by name; the UI shows them in place."""
    from fraud_assets.modeling.reporting.plots import as_markdown_image

    return {name: dg.MetadataValue.md(as_markdown_image(png)) for name, png in pngs.items()}


def _cell(value: object) -> str | int | float | bool:
    if isinstance(value, bool | int | str):
        return value
    return round(value, 6) if isinstance(value, float) else str(value)


def _column_type(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    if values and len(values) == len(rows) and all(isinstance(v, int | float) for v in values):
        return "float"
    return "string"
