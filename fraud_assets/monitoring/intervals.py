"""How sure the realised average precision of a day, or of a few days, is.

Only intervals over payers belong here: the frauds of one payer belong together. Intervals over
days, which the gate needs, are in `modeling.bootstrap`; one day alone has none of those.

Payers are resampled with Poisson(1) weights, the same over all days, which is their multinomial
bootstrap without the fixed total. That gives the standard error. The interval is Student's t with
the payers with frauds less one as degrees of freedom, on the logit scale, which keeps it within 0
and 1 (Boyd, Eng and Page 2013, "Area Under the Precision-Recall Curve: Point Estimates and
Confidence Intervals").

So many times out of 100 the 95 % interval held the mean over all worlds, in 300 to 1,000 simulated
worlds of 4,000 legitimate rows a day, with 200 resamplings (t without the logit, percentiles):

- one day, 15 / 60 / 150 frauds, each of its own payer: 98 / 96 / 95 (94 / 95 / 95, 94 / 94 / 95);
- one day, three frauds a payer with much in common: 99 / 96 / 97 (93 / 96 / 95, 88 / 94 / 95);
- the same with an average precision above .9: 99 / 97 / 96 (87 / 88 / 91, 86 / 89 / 91);
- seven days, five frauds a payer: 96 / 96 / 96 (96 / 95 / 95, 94 / 95 / 96).

What payers share stays invisible: with five payers' frauds at one terminal, which have as much in
common, it was 80 of 100, and 82 where the days differ by more than their payers do. The interval
says how sure these days are, and not what next week will bring.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling.bootstrap import Interval
from fraud_assets.modeling.metrics import Floats, average_precision, check_share, checked
from fraud_assets.transactions.columns import DAY, LABEL, PAYER, SCORE

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WEIGHTS_AT_ONCE: Final = 2_000_000
"""Most weights of clusters in memory (16 MB); the samples are drawn in parts of this size."""

Places = npt.NDArray[np.intp]


def daily_average_precision(
    frame: pl.DataFrame, *, fraud_share: float | None = None
) -> dict[date, float]:
    """Average precision of each day that has one, by day; see `metrics.average_precision`.

    Args:
        frame: `day`, `label` (0/1) and `score` of one model's rows.
        fraud_share: of the frauds, to which each day is brought; None leaves it as it is.
    """
    found = {}
    for (day,), rows in frame.sort(DAY, maintain_order=True).group_by(DAY, maintain_order=True):
        label, score = rows.get_column(LABEL).to_numpy(), rows.get_column(SCORE).to_numpy()
        value = average_precision(label, score, fraud_share=fraud_share)
        if value is not None:
            found[day] = value
    return found


def day_average_precision(
    frame: pl.DataFrame,
    *,
    samples: int,
    seed: int,
    confidence: float,
    fraud_share: float | None = None,
) -> Interval:
    """`mean_daily_average_precision` of one day.

    Raises:
        ValueError: the frame has rows of several days, or as there.
    """
    days = frame.get_column(DAY).n_unique()
    if days > 1:
        raise ValueError(f"one day was expected, and the frame has {days}")
    return mean_daily_average_precision(
        frame, samples=samples, seed=seed, confidence=confidence, fraud_share=fraud_share
    )


def mean_daily_average_precision(
    frame: pl.DataFrame,
    *,
    samples: int,
    seed: int,
    confidence: float,
    fraud_share: float | None = None,
) -> Interval:
    """Mean average precision of the days that have one, with its interval over payers.

    Args:
        frame: one row per transaction of one model: `day`, `payer_id`, `label` (0/1), `score`.
        samples: number of resamplings of the payers.
        seed: same seed and rows, same result, whatever their order.
        confidence: of the two-sided interval, such as .95.
        fraud_share: of the frauds, to which each day and each resampling is brought.

    Returns:
        Everything None without a fraud. The interval is None with frauds of fewer than two payers,
        and where every fraud outranks every legitimate row: then no resampling tells how far from
        1 it might be.

    Raises:
        ValueError: a label is not 0 or 1, a score is not finite, or `fraud_share` does not lie
            between 0 and 1.
    """
    check_share(fraud_share)
    values = daily_average_precision(frame, fraud_share=fraud_share)
    if not values:
        return Interval(None, None, None)
    estimate = fmean(values.values())
    curves = _Curves.of(frame.filter(pl.col(DAY).is_in(list(values))))
    drawn = curves.draw(samples, seed, fraud_share)
    low, high = _logit_interval(estimate, drawn, curves.payers_with_frauds, confidence)
    return Interval(estimate, low, high)


@dataclass(frozen=True)
class _Curves:
    """What each cluster adds to every day's precision-recall curve.

    A curve changes only at the distinct scores of its frauds. So a day is cut into steps: the
    rows from one such score up to the one above, and at the end the rows below all of them.
    Weighting the clusters is then one sparse product of steps x clusters, whatever the days' rows.
    """

    days: tuple[slice, ...]
    legitimate: csr_array
    frauds: csr_array
    alone: Floats
    payers_with_frauds: int

    @classmethod
    def of(cls, frame: pl.DataFrame) -> _Curves:
        from scipy.sparse import csr_array

        rows = frame.select(DAY, PAYER, LABEL, SCORE).sort(
            DAY, SCORE, PAYER, descending=[False, True, False], nulls_last=True
        )
        truth, value = checked(rows.get_column(LABEL).to_numpy(), rows.get_column(SCORE).to_numpy())
        fraud = truth == 1
        days, step = _steps(rows.get_column(DAY).rle_id().to_numpy(), fraud, value)
        cluster = _clusters(rows.get_column(PAYER))
        size = np.bincount(cluster)
        # The weights of n clusters of one legitimate row each add up to Poisson(n): no need to
        # draw each, which matters where most payers are seen once.
        alone = ~fraud & (size[cluster] == 1)
        kept, column = np.unique(cluster[~alone], return_inverse=True)
        shape = (days[-1].stop, kept.size)

        def counts(of: npt.NDArray[np.bool_]) -> csr_array:
            where = step[~alone][of], column[of]
            return csr_array((np.ones(where[0].size), where), shape=shape)

        return cls(
            days=days,
            legitimate=counts(~fraud[~alone]),
            frauds=counts(fraud[~alone]),
            alone=np.bincount(step[alone], minlength=shape[0]).astype(np.float64),
            payers_with_frauds=np.unique(cluster[fraud]).size,
        )

    def draw(self, samples: int, seed: int, fraud_share: float | None) -> Floats:
        """The mean over the days in each resampling; NaN where no fraud was drawn."""
        generator = np.random.default_rng(seed)
        clusters = self.frauds.shape[1]
        part = max(1, WEIGHTS_AT_ONCE // clusters)
        found = []
        for start in range(0, samples, part):
            size = min(part, samples - start)
            weights = generator.poisson(1.0, (clusters, size)).astype(np.float64)
            singles = generator.poisson(self.alone[:, None], (self.alone.size, size))
            found.append(
                self._mean(self.frauds @ weights, self.legitimate @ weights + singles, fraud_share)
            )
        return np.concatenate(found)

    def _mean(self, frauds: Floats, legitimate: Floats, fraud_share: float | None) -> Floats:
        """Mean over the days, from the weights in each step (steps x samples)."""
        total, having = np.zeros(frauds.shape[1]), np.zeros(frauds.shape[1])
        for day in self.days:
            gained, caught = frauds[day], np.cumsum(frauds[day], axis=0)
            wrong, positives = np.cumsum(legitimate[day], axis=0), caught[-1]
            usable = positives > 0
            if fraud_share is not None:
                usable &= wrong[-1] > 0
                odds = (1.0 - fraud_share) / fraud_share
                wrong *= odds * positives / np.maximum(wrong[-1], 1.0)
            above = caught + wrong
            precision = np.divide(caught, above, out=np.zeros_like(above), where=caught > 0)
            value = (gained * precision).sum(axis=0) / np.maximum(positives, 1.0)
            total += np.where(usable, value, 0.0)
            having += usable
        mean: Floats = np.divide(total, having, out=np.full(total.size, np.nan), where=having > 0)
        return mean


def _steps(
    number: Places, fraud: npt.NDArray[np.bool_], score: Floats
) -> tuple[tuple[slice, ...], Places]:
    """The steps of each day, and each row's step, for rows by day."""
    step = np.empty(score.size, dtype=np.intp)
    days, start = [], 0
    edges = np.append(np.flatnonzero(np.diff(number, prepend=-1)), score.size)
    for first, last in pairwise(edges):
        own = slice(first, last)
        levels = np.unique(-score[own][fraud[own]])
        step[own] = start + np.searchsorted(levels, -score[own])
        days.append(slice(start, start + levels.size + 1))
        start += levels.size + 1
    return tuple(days), step


def _logit_interval(
    estimate: float, drawn: Floats, payers: int, confidence: float
) -> tuple[float | None, float | None]:
    """Logit of the estimate -/+ t times its standard error by the delta method; see the module."""
    from scipy.special import expit, logit, stdtrit

    usable = drawn[np.isfinite(drawn)]
    if payers < 2 or usable.size < 2 or not 0.0 < estimate < 1.0:
        return None, None
    error = float(np.std(usable, ddof=1)) * np.sqrt(payers / (payers - 1))
    margin = stdtrit(payers - 1, 0.5 + confidence / 2) * error / (estimate * (1.0 - estimate))
    centre = logit(estimate)
    return float(expit(centre - margin)), float(expit(centre + margin))


def _clusters(payer: pl.Series) -> Places:
    """A number per payer; each row without one has its own."""
    known: Places = payer.rank("dense").fill_null(0).to_numpy().astype(np.intp)
    nobody = known == 0
    known[nobody] = known.max() + 1 + np.arange(int(nobody.sum()))
    return known
