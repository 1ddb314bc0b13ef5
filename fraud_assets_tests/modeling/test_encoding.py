"""The matrix that the estimators see."""

from __future__ import annotations

import math
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.modeling.encoding import FeatureEncoder, MissingFeaturesError, fit_encoder

TRAIN = pl.DataFrame(
    {
        "amount": [1.5, 2.0, 3.0, 4.0],
        "count": pl.Series([1.0, None, 3.0, 4.0], dtype=pl.Float32),
        "kind": ["b", "a", "b", None],
    }
)


def test_columns_stand_in_their_declared_order_and_missing_is_nan() -> None:
    encoder = fit_encoder(TRAIN, ["count", "amount"], ["kind"])

    matrix = encoder.encode(TRAIN.select("kind", "amount", "count"))

    assert encoder.columns == ("count", "amount", "kind")
    assert matrix.dtype == np.float32
    assert matrix.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(matrix, [[1, 1.5, 0], [np.nan, 2, 1], [3, 3, 0], [4, 4, np.nan]])


def test_a_category_that_training_did_not_see_is_missing() -> None:
    encoder = fit_encoder(TRAIN, ["amount"], ["kind"])

    matrix = encoder.encode(pl.DataFrame({"amount": [1.0, 1.0], "kind": ["z", "a"]}))

    assert math.isnan(matrix[0, 1])
    assert matrix[1, 1] == 1.0


def test_equally_frequent_categories_are_ranked_by_name_whatever_the_order_of_the_rows() -> None:
    one = fit_encoder(pl.DataFrame({"kind": ["b", "c", "a", "c"]}), [], ["kind"])
    other = fit_encoder(pl.DataFrame({"kind": ["c", "a", "c", "b"]}), [], ["kind"])

    assert one.vocabularies == other.vocabularies == {"kind": ("c", "a", "b")}


def test_only_the_most_frequent_categories_get_a_code() -> None:
    encoder = fit_encoder(
        pl.DataFrame({"kind": ["a", "a", "b", "b", "c"]}), [], ["kind"], max_categories=2
    )

    assert encoder.vocabularies == {"kind": ("a", "b")}


def test_a_category_that_was_always_missing_stays_missing() -> None:
    empty = pl.DataFrame({"kind": pl.Series([None, None], dtype=pl.String), "amount": [1.0, 2.0]})
    encoder = fit_encoder(empty, ["amount"], ["kind"])

    assert np.isnan(encoder.encode(TRAIN)[:, 1]).all()


def test_an_absent_column_is_named() -> None:
    encoder = fit_encoder(TRAIN, ["amount", "count"], ["kind"])

    with pytest.raises(MissingFeaturesError, match="lacks count, kind"):
        encoder.encode(TRAIN.select("amount"))


def test_text_where_a_number_is_needed_is_refused() -> None:
    encoder = fit_encoder(TRAIN, ["amount"], ["kind"])

    with pytest.raises(MissingFeaturesError, match="numbers in amount"):
        encoder.encode(TRAIN.with_columns(pl.lit("x").alias("amount")))
    with pytest.raises(MissingFeaturesError, match="text in kind"):
        encoder.encode(TRAIN.with_columns(pl.lit(1.0).alias("kind")))


def test_an_infinite_value_is_refused_with_its_column() -> None:
    encoder = fit_encoder(TRAIN, ["amount", "count"], [])

    with pytest.raises(ValueError, match="infinite values in amount"):
        encoder.encode(TRAIN.with_columns(pl.lit(math.inf).alias("amount")))


def test_a_feature_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        FeatureEncoder(numeric=("amount", "kind"), vocabularies={"kind": ()})


def test_a_frame_without_rows_gives_a_matrix_without_rows() -> None:
    assert fit_encoder(TRAIN, ["amount"], ["kind"]).encode(TRAIN.head(0)).shape == (0, 2)


@settings(max_examples=25, deadline=None)
@given(
    words=st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1, max_size=30),
)
def test_an_encoder_survives_json(words: list[str | None]) -> None:
    rows = pl.DataFrame({"kind": pl.Series(words, dtype=pl.String)})
    encoder = fit_encoder(rows, [], ["kind"])

    again = FeatureEncoder.model_validate_json(encoder.model_dump_json())

    assert again == encoder
    np.testing.assert_array_equal(again.encode(rows), encoder.encode(rows))


def test_a_million_rows_of_twenty_features_take_under_a_second() -> None:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {f"f{i}": rng.random(1_000_000, dtype=np.float32) for i in range(19)}
    ).with_columns(pl.Series("kind", rng.choice(["a", "b", "c"], 1_000_000)))
    encoder = fit_encoder(rows.head(1_000), [f"f{i}" for i in range(19)], ["kind"])
    times = []
    for _ in range(3):
        started = time.process_time()
        encoder.encode(rows)
        times.append(time.process_time() - started)

    assert min(times) < 1.0
