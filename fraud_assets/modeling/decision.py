"""Which scores become alerts: a threshold chosen by money under the analysts' capacity.

The threshold is chosen on the validation days, then frozen and versioned with the model. It is
never .5 and never tuned on the gate days. What things cost is said in the profile's `decision`;
how a policy did on other days is measured with `metrics.cost` and `metrics.savings`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fraud_assets.transactions.profile import DecisionChoices

ALERT: Final = "alert"
PASS: Final = "pass"  # noqa: S105  a decision, not a password

NEVER: Final = 1.0
"""The threshold that alerts nothing: calibrated scores stay below 1."""


class DecisionError(ValueError):
    """No threshold can be chosen from these rows."""


class DecisionPolicy(BaseModel):
    """Alert when the score reaches `threshold`; the rest says where the threshold comes from.

    Money is in the amounts' currency over the validation days, `alerts_per_day` their average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: Annotated[float, Field(gt=0, le=1)]
    alert_budget_per_day: int
    review_cost: float
    loss_share: float
    validation_days: int
    validation_alerts: int
    validation_frauds_caught: int
    validation_frauds: int
    validation_cost: float
    validation_cost_without_alerts: float

    @property
    def version(self) -> str:
        """A name made from the content: the same choices on the same rows give the same one."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"policy-{digest[:12]}"

    @property
    def alerts_per_day(self) -> float:
        """Average number of alerts on the validation days."""
        return self.validation_alerts / self.validation_days

    def alerts(self, score: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which of the scores are alerts; shape kept."""
        flags: npt.NDArray[np.bool_] = np.asarray(score) >= self.threshold
        return flags


def choose_policy(
    score: npt.NDArray[Any],
    label: npt.NDArray[Any],
    amount: npt.NDArray[Any],
    days: int,
    choices: DecisionChoices,
) -> DecisionPolicy:
    """The threshold with the least realised cost whose alerts fit the budget on average.

    An alert costs `review_cost`; a fraud that passes costs its amount times `loss_share` (Bahnsen
    et al. 2013). Rows of one score are alerted together or not at all. Of equally cheap
    thresholds the one with the fewest alerts is taken. It is put halfway to the next lower score,
    as a later score will hardly hit the observed one exactly.

    Degenerate cases: where no alert pays for its review (or a single tie exceeds the budget) the
    threshold is `NEVER`; where every row is alerted it is half the lowest score.

    Args:
        score: calibrated probabilities of labelled validation rows, shape (n,), inside (0, 1).
        label: 0 or 1, shape (n,).
        amount: in the currency's main unit, shape (n,), zero or more.
        days: number of validation days, at least 1, those without rows included.
        choices: costs and budget.

    Raises:
        DecisionError: there is no fraud (any threshold would then look free), or the arrays do
            not fit together.
    """
    value = np.asarray(score, dtype=np.float64)
    fraud = np.asarray(label, dtype=np.float64)
    money = np.asarray(amount, dtype=np.float64)
    if not value.shape == fraud.shape == money.shape or value.ndim != 1:
        raise DecisionError(
            f"scores {value.shape}, labels {fraud.shape} and amounts {money.shape} must be of one "
            "length"
        )
    if days < 1:
        raise DecisionError(f"{days} validation days: at least one is needed")
    if not fraud.any():
        raise DecisionError(
            f"no fraud among {value.size} validation rows: every threshold would look free; "
            "lengthen training.validation_days or train on a later day"
        )
    if not (np.isfinite(money).all() and (value > 0).all() and (value < 1).all()):
        raise DecisionError("scores must be probabilities inside (0, 1), and amounts finite")

    order = np.argsort(-value, kind="stable")
    ranked = value[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), value.size - 1)
    loss = fraud * money * choices.loss_share
    prevented = np.cumsum(loss[order])[ends]
    alerts = ends + 1
    total_loss = float(loss.sum())
    cost = total_loss - prevented + choices.review_cost * alerts
    allowed = np.flatnonzero(alerts <= choices.alert_budget_per_day * days)
    best = allowed[np.argmin(cost[allowed])] if allowed.size else -1
    if best < 0 or cost[best] >= total_loss:
        threshold, count, spent = NEVER, 0, total_loss
    else:
        count, spent = int(alerts[best]), float(cost[best])
        threshold = _between(ranked[ends[best]], ranked[count] if count < value.size else 0.0)
    return DecisionPolicy(
        threshold=threshold,
        alert_budget_per_day=choices.alert_budget_per_day,
        review_cost=choices.review_cost,
        loss_share=choices.loss_share,
        validation_days=days,
        validation_alerts=count,
        validation_frauds_caught=int(fraud[order][:count].sum()),
        validation_frauds=int(fraud.sum()),
        validation_cost=spent,
        validation_cost_without_alerts=total_loss,
    )


def _between(last_alerted: float, first_passed: float) -> float:
    middle = (float(last_alerted) + float(first_passed)) / 2
    # Of two neighbouring floats the mean may round down to the lower one.
    return middle if middle > first_passed else float(last_alerted)
