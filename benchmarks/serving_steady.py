"""Whether a series of samples grows, by its slope with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BUCKETS = 20
"""Neighbouring samples depend on each other; medians of longer stretches hardly do."""

LEVEL = 0.95

TOLERANCES = {
    "memory, MB": 0.03,
    "open files": 0.1,
    "threads": 0.1,
    "not stored yet": 1.0,
    # It lets go of what has expired once that is half of what an entity holds.
    "state, transactions": 1.0,
    "p50, ms": 0.25,
    "p99, ms": 0.5,
}
"""Growth from the first third to the last that does not count, as a share of the first."""


@dataclass(frozen=True)
class Sample:
    """One look at the service, `minutes` after the start; counts are those since the start."""

    minutes: float
    answered: int
    failed: int
    values: Mapping[str, float]
    journal_mb: float
    database_mb: float


@dataclass(frozen=True)
class Steadiness:
    """What became of one value: medians of the thirds, and the slope an hour with its interval."""

    name: str
    first: float
    last: float
    slope: float
    low: float
    high: float
    tolerance: float

    @property
    def grows(self) -> bool:
        """Beyond doubt, and by more than is tolerated."""
        return self.low > 0 and self.last > self.first * (1 + self.tolerance)


def judge(samples: Sequence[Sample], *, warm_minutes: float) -> list[Steadiness]:
    """Every value after the warm-up.

    Raises:
        ValueError: fewer than six samples are left.
    """
    kept = [one for one in samples if one.minutes > warm_minutes]
    if len(kept) < 6:
        raise ValueError(f"{len(kept)} samples after the warm-up are too few: soak for longer")
    return [_judged(name, kept) for name in kept[0].values]


def _judged(name: str, samples: Sequence[Sample]) -> Steadiness:
    from scipy.stats import theilslopes

    hours = np.array([one.minutes for one in samples]) / 60
    values = np.array([one.values[name] for one in samples])
    third = len(values) // 3
    parts = np.array_split(np.arange(len(values)), min(BUCKETS, len(values)))
    found = theilslopes(
        [np.nanmedian(values[part]) for part in parts],
        [np.median(hours[part]) for part in parts],
        alpha=LEVEL,
    )
    return Steadiness(
        name=name,
        first=float(np.nanmedian(values[:third])),
        last=float(np.nanmedian(values[-third:])),
        slope=float(found.slope),
        low=float(found.low_slope),
        high=float(found.high_slope),
        tolerance=TOLERANCES[name],
    )
