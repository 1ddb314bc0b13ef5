"""How a day seems to go, before its labels are known: confidence-based estimation (CBPE).

Only estimates from calibrated scores belong here; what really happened is in `performance`. An
estimate follows from the scores alone. It sees a change of the mix of transactions, and it cannot
see that the same transactions have become more fraudulent (concept drift): a model that misses a
new fraud is as confident as before. It is shown, and compared with the truth when labels mature;
it never decides on a promotion or on a retraining.

Source of the method: NannyML's CBPE for confusion-based metrics. The expectations of average
precision and ROC AUC count each pair of rows exactly, instead of putting expected counts into the
curve, which biases average precision downwards when frauds are rare. NannyML itself does not
resolve beside the pinned packages (0.13.1 needs LightGBM below 4.6, and an fsspec of its own), so
the estimate is computed here from the published method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.metrics import tie_groups

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PerformanceEstimate:
    """Expectations under the scores, if these are calibrated. None where nothing is expected.

    `expected_frauds_deviation` is the standard deviation of the number of frauds (independent
    draws): the truth of a single day is rarely more than three away.
    """

    rows: int
    alerts: int
    expected_frauds: float | None
    expected_frauds_deviation: float | None
    precision: float | None
    recall: float | None
    average_precision: float | None
    roc_auc: float | None
    reason: str | None = None


def estimate_performance(score: Array, alert: Array) -> PerformanceEstimate:
    """What to expect of a day whose labels are unknown.

    Args:
        score: calibrated probabilities of fraud, one per row.
        alert: whether each row was alerted (boolean), as it was decided then.

    Returns:
        Precision is exact in expectation; recall, average precision and AUC are ratios of
        expectations, close to the expected ratio when more than a few frauds are expected.

    Raises:
        ValueError: the lengths differ, or a score is not a probability.
    """
    p, flag = np.asarray(score, dtype=np.float64), np.asarray(alert).astype(bool)
    if p.shape != flag.shape or p.ndim != 1:
        raise ValueError(f"scores {p.shape} and alerts {flag.shape} must be of one length")
    wrong = int(np.sum(~((p >= 0.0) & (p <= 1.0))))
    if wrong:
        raise ValueError(f"{wrong} of {p.size} scores are not probabilities from 0 to 1")
    if p.size == 0:
        return PerformanceEstimate(0, 0, None, None, None, None, None, None, "no predictions")
    expected, alerts = float(p.sum()), int(flag.sum())
    caught = float(p[flag].sum())
    return PerformanceEstimate(
        rows=p.size,
        alerts=alerts,
        expected_frauds=expected,
        expected_frauds_deviation=math.sqrt(float(np.sum(p * (1.0 - p)))),
        precision=caught / alerts if alerts else None,
        recall=caught / expected if expected > 0.0 else None,
        average_precision=_expected_average_precision(p) if expected > 0.0 else None,
        roc_auc=_expected_roc_auc(p),
        reason=None if expected > 0.0 else "every score is 0",
    )


def _expected_average_precision(p: npt.NDArray[np.float64]) -> float:
    """E[sum of gained positives times precision] / E[positives], over groups of equal scores.

    A group gains G frauds on top of C above it; with independent draws E[G (C + G)] is
    E[G] E[C] + E[G]^2 + Var[G].
    """
    ends, order = tie_groups(p)
    ranked = p[order]
    through = np.cumsum(ranked)[ends]
    gained = np.diff(through, prepend=0.0)
    variance = np.diff(np.cumsum(ranked * (1.0 - ranked))[ends], prepend=0.0)
    return float(np.sum((gained * through + variance) / (ends + 1)) / through[-1])


def _expected_roc_auc(p: npt.NDArray[np.float64]) -> float | None:
    """E[rightly ordered pairs] / E[pairs of a fraud and a legitimate row], ties one half."""
    ends, order = tie_groups(p)
    ranked = p[order]
    own = np.diff(np.cumsum(ranked * (1.0 - ranked))[ends], prepend=0.0)
    frauds = np.diff(np.cumsum(ranked)[ends], prepend=0.0)
    legitimate = np.diff(ends + 1, prepend=0) - frauds
    below = legitimate.sum() - np.cumsum(legitimate)
    pairs = frauds.sum() * legitimate.sum() - own.sum()
    if pairs <= 0.0:
        return None
    ordered = np.sum(frauds * below) + 0.5 * np.sum(frauds * legitimate - own)
    return float(ordered / pairs)
