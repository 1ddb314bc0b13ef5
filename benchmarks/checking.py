"""Whether the plain script did the graph's work: the same rows, features and scores.

`bare.py` calls it once its clock has stopped. A difference is an error of one of the two, and the
times mean nothing until it is found.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from bare import Script

ROUNDING = 1e-5
"""The script adds floats where the graph adds integers, and both end in 32 bits."""

SPLIT_SHARE = 1e-3
"""A mean that differs in its last bit may fall on the other side of a tree's split."""


def compare(script: Script) -> dict[str, Any]:
    """Hold the first, the middle and the last day against what the graph wrote.

    Raises:
        AssertionError: they differ; the message names the column or the day.
    """
    from numpy.testing import assert_allclose

    last = len(script.days) - 1
    chosen = sorted({0, last // 2, last})
    rows = 0
    for i in chosen:
        day, ours = script.days[i], script.features[i]
        graph = script.read("transaction_features", day)
        scored = script.read("fraud_predictions", day)
        if graph is None or scored is None:
            raise AssertionError(f"{day} is not in the lake")
        if not ours["transaction_id"].equals(graph["transaction_id"]):
            raise AssertionError(f"{day} has other rows")
        for name in script.encoder["numeric"]:
            values, expected = (f[name].cast(pl.Float64).to_numpy() for f in (ours, graph))
            assert_allclose(values, expected, rtol=ROUNDING, atol=1e-9, err_msg=f"{name} of {day}")
        off = int(((script.predictions[i]["score"] - scored["score"]).abs() > 1e-6).sum())
        if off > SPLIT_SHARE * ours.height:
            raise AssertionError(f"{off} of {ours.height} scores of {day} differ")
        rows += ours.height
    return {
        "checked_rows": rows,
        "checked_days": [str(script.days[i]) for i in chosen],
        "performance": json.loads((script.out / "performance.json").read_text("utf-8")),
    }
