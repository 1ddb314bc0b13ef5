"""Would another model have done better: on the same matured days, the same transactions.

Only the comparison belongs here, and the scores that it needs of models that were not in force.
Whether the model in force is replaced is decided in `policy`; challengers are judged by the gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from statistics import fmean

import polars as pl

from fraud_assets.modeling.bootstrap import paired_day_bootstrap
from fraud_assets.modeling.decision import ALERT
from fraud_assets.modeling.scoring import Scorer
from fraud_assets.monitoring.intervals import daily_average_precision
from fraud_assets.monitoring.performance import ALERTED, IN_FORCE, JUDGED_SCHEMA, MODEL_VERSION
from fraud_assets.monitoring.records import Alternative, AlternativeKind
from fraud_assets.transactions.columns import (
    DAY,
    DECISION,
    LABEL,
    SCORE,
    TRANSACTION_ID,
)
from fraud_assets.transactions.profile import DecisionChoices, GateChoices


def compare_models(
    judged: pl.DataFrame,
    champion: str,
    others: Mapping[str, AlternativeKind],
    *,
    decision: DecisionChoices,
    gate: GateChoices,
    seed: int,
) -> list[Alternative]:
    """Each of `others` against the champion, on the days on which both have scores.

    Gains are those of the gate's comparison: the paired day-block bootstrap, in average precision
    over all common days together and in money per day. `average_precision` is the mean over the
    days that have one.

    Args:
        judged: several matured days in the columns of `performance.JUDGED_SCHEMA`.
        champion: the version that the others are compared with.
        others: the versions to compare, and what they are.
        decision: what an alert and a missed fraud cost.
        gate: `confidence` and `bootstrap_samples` are used.
        seed: of the resampling of the days.

    Returns:
        One per entry of `others`, in its order; without a common day `days` is 0 and the values
        are None.

    Raises:
        ValueError: the champion is among the others, a model has two scores of one transaction,
            or the two differ on a common day in their transactions or in the labels of these, so
            that a gain could come from the rows.
    """
    if champion in others:
        raise ValueError(f"version {champion} would be compared with itself")
    base = _of(judged, champion)
    return [
        _alternative(
            _paired(_of(judged, version), base, version, champion),
            version, kind, decision=decision, gate=gate, seed=seed,
        )
        for version, kind in others.items()
    ]  # fmt: skip


def shadow_rows(
    features: pl.DataFrame, judged_in_force: pl.DataFrame, models: Sequence[Scorer]
) -> pl.DataFrame:
    """The judged rows as other models would have scored and decided them.

    A model scores only what it did not score in force, so that below `judged_in_force` these rows
    give each model every transaction once, also where a day's predictions came from two versions.

    Args:
        features: with `transaction_id` and what the models need; other rows are ignored.
        judged_in_force: from `performance.judged_day`.
        models: each trained as of an earlier day than the judged; that is the caller's business.

    Returns:
        The columns of `performance.JUDGED_SCHEMA`, model by model, in the order of the judged
        rows; `in_force` nowhere.

    Raises:
        ValueError: a judged transaction has no features, or several rows of them.
        MissingFeaturesError: the features lack a column that a model needs.
    """
    known = features.join(judged_in_force, on=TRANSACTION_ID, how="semi")
    twice = known.filter(pl.col(TRANSACTION_ID).is_duplicated()).get_column(TRANSACTION_ID)
    if twice.len():
        raise ValueError(f"{twice.n_unique()} judged transactions have several rows of features")
    absent = judged_in_force.join(known, on=TRANSACTION_ID, how="anti")
    if absent.height:
        days = ", ".join(str(day) for day in absent.get_column(DAY).unique().sort())
        raise ValueError(
            f"{absent.height} of {judged_in_force.height} judged transactions have no features: "
            f"materialise the features of {days} again"
        )
    found = [pl.DataFrame(schema=JUDGED_SCHEMA)]
    for model in models:
        rows = judged_in_force.filter(pl.col(MODEL_VERSION).ne_missing(model.version))
        order = rows.select(TRANSACTION_ID)
        scored = model.score(
            order.join(known, on=TRANSACTION_ID, how="left", maintain_order="left")
        )
        found.append(
            rows.with_columns(
                scored.get_column(SCORE),
                (scored.get_column(DECISION) == ALERT).alias(ALERTED),
                pl.lit(model.version).alias(MODEL_VERSION),
                pl.lit(value=False).alias(IN_FORCE),
            ).select(pl.col(name).cast(kind) for name, kind in JUDGED_SCHEMA.items())
        )
    return pl.concat(found)


def _of(judged: pl.DataFrame, version: str) -> pl.DataFrame:
    """The rows of one model, each transaction once."""
    rows = judged.filter(pl.col(MODEL_VERSION) == version)
    twice = rows.filter(pl.struct(DAY, TRANSACTION_ID).is_duplicated())
    if twice.height:
        again = twice.get_column(TRANSACTION_ID).n_unique()
        day: date = twice.item(0, DAY)
        raise ValueError(f"{day}: version {version} has several scores of {again} transactions")
    return rows


def _paired(other: pl.DataFrame, base: pl.DataFrame, version: str, champion: str) -> pl.DataFrame:
    """Both models' scores side by side on their common days, in the columns of the bootstrap."""
    common = set(other.get_column(DAY)) & set(base.get_column(DAY))
    mine, theirs = (
        rows.filter(pl.col(DAY).is_in(list(common))).rename(
            {SCORE: f"score_{side}", ALERTED: f"decision_{side}"}
        )
        for side, rows in (("a", other), ("b", base))
    )
    key = [DAY, TRANSACTION_ID, LABEL]
    paired = mine.join(
        theirs.select(*key, "score_b", "decision_b"), on=key, how="inner", maintain_order="left"
    )
    for day in sorted(common):
        a, b, both = (int((rows.get_column(DAY) == day).sum()) for rows in (mine, theirs, paired))
        if not a == b == both:
            raise ValueError(
                f"{day}: version {version} ({a} rows) and version {champion} ({b} rows) share "
                f"{both} transactions with one label: judge that day again by materialising its "
                "performance report"
            )
    return paired


def _alternative(
    paired: pl.DataFrame,
    version: str,
    kind: AlternativeKind,
    *,
    decision: DecisionChoices,
    gate: GateChoices,
    seed: int,
) -> Alternative:
    gains = paired_day_bootstrap(
        paired,
        samples=gate.bootstrap_samples,
        seed=seed,
        confidence=gate.confidence,
        review_cost=decision.review_cost,
        loss_share=decision.loss_share,
    )
    own = daily_average_precision(paired.rename({"score_a": SCORE})).values()
    gain, cost = gains.average_precision, gains.cost_per_day
    return Alternative(
        version=version,
        kind=kind,
        days=paired.get_column(DAY).n_unique(),
        frauds=int(paired.get_column(LABEL).sum()),
        average_precision=fmean(own) if own else None,
        gain=gain.estimate,
        gain_low=gain.low,
        gain_high=gain.high,
        cost_gain=cost.estimate,
        cost_gain_low=cost.low,
        cost_gain_high=cost.high,
    )
