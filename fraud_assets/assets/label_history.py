"""The labels that a day's performance is judged by, read once per run.

Not an asset: `performance_report` looks back over weeks of labels, of which a few in a thousand
matter to it. What a label means, and which of several counts, is said in `transactions.labels`.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import polars as pl

from fraud_assets.assets import LABELS
from fraud_assets.lake import Lake
from fraud_assets.partitions import SimulationDays
from fraud_assets.transactions.columns import (
    LABEL,
    LABEL_KNOWN_AT,
    LABEL_SOURCE,
    PAYER,
    SCENARIO,
    TRANSACTION_ID,
)

COLUMNS: Final = (TRANSACTION_ID, PAYER, LABEL, LABEL_KNOWN_AT, LABEL_SOURCE, SCENARIO)


class LabelHistory:
    """Labels of the trailing days, cut down to what judging one day of predictions needs.

    Everything that was told of the judged day's transactions became known on that day or later.
    Of the days before, only payers with a fraud are asked for: there it is enough to keep the
    labels of transactions that were ever called a fraud, withdrawals of the word included.
    """

    def __init__(self, lake: Lake, days: SimulationDays, lookback: int) -> None:
        self._lake, self._days, self._lookback = lake, days, lookback
        self._whole: dict[date, pl.DataFrame] = {}
        self._suspect: dict[date, pl.DataFrame] = {}

    def judging(self, judged: date, as_of: date) -> pl.DataFrame:
        """The labels to judge the predictions of `judged` with at the end of `as_of`.

        Ask for days in ascending order: each is then read once.

        Raises:
            MissingDayError: a trailing day of `as_of` has no labels yet.
        """
        window = self._days.trailing(as_of, self._lookback)
        self._suspect = {d: kept for d, kept in self._suspect.items() if d >= window[0]}
        self._whole = {d: all_ for d, all_ in self._whole.items() if d >= judged}
        for day in window:
            if day not in self._suspect or (day >= judged and day not in self._whole):
                labels = self._lake.read_days(LABELS, [day], COLUMNS)
                self._suspect[day] = self._of_suspects(labels)
                if day >= judged:
                    self._whole[day] = labels
        return pl.concat([self._whole.get(d, self._suspect[d]) for d in window])

    def _of_suspects(self, labels: pl.DataFrame) -> pl.DataFrame:
        called_fraud = [frame.filter(pl.col(LABEL) == 1) for frame in self._suspect.values()]
        called_fraud.append(labels.filter(pl.col(LABEL) == 1))
        ids = pl.concat([frame.select(TRANSACTION_ID) for frame in called_fraud])
        return labels.join(ids, on=TRANSACTION_ID, how="semi", maintain_order="left")
