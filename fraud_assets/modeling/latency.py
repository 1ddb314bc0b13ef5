"""How long one transaction takes to score, as the gate asks for it.

Only the model is timed: features that are looked up, and the network, are the service's to
measure.
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from fraud_assets.modeling.scoring import Scorer

WARM_UP = 10


def single_score_latency_ms(
    model: Scorer, features: pl.DataFrame, *, rows: int = 200
) -> float | None:
    """The median of the milliseconds that one-row frames take; None without rows.

    The median and not the tail: a training runs beside other work, whose bursts are in the tail,
    and a model must not be refused because the machine was busy.

    Args:
        model: a loaded model.
        features: rows to score one by one; the first `rows` are used, after a warm-up on them.
        rows: most rows to time.
    """
    if features.is_empty():
        return None
    singles = [features[i : i + 1] for i in range(min(rows, features.height))]
    for row in singles[:WARM_UP]:
        model.score(row)
    taken = []
    for row in singles:
        started = time.perf_counter()
        model.score(row)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken) * 1000)
