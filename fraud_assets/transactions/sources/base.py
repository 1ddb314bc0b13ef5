"""What every source of transactions promises, and how it fails.

The protocol, its error and the view that hides the future belong here. Where the rows come from
is each source's own module; what the columns mean is the profile's and `canonical`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

import polars as pl

from fraud_assets.transactions.columns import SOURCE_ROW


class SourceError(ValueError):
    """A source cannot be read; the message names the file, the row or day, and the remedy."""


@runtime_checkable
class TransactionSource(Protocol):
    """Raw transactions, by UTC day of their event time."""

    def days(self) -> list[date]:
        """The days that have data, oldest first.

        Raises:
            SourceError: the source cannot be read or cannot tell.
        """
        ...

    def read_day(self, day: date) -> pl.DataFrame:
        """The rows of a day in order of arrival.

        Returns:
            The columns exactly as the source gave them, and `source_row` (`Int64`). A day that
            the source knows and that is empty has no rows and the same columns.

        Raises:
            SourceError: the source does not have the day, or cannot be read.
        """
        ...

    def note(self, day: date) -> dict[str, int | str]:
        """Small facts on where the day came from, for metadata and logs."""
        ...


@dataclass(frozen=True)
class AsOf:
    """A source as it looked at the close of `today`: later days are not there yet.

    History is replayed through this view as if it were live; a reader that would look ahead
    fails loudly instead.
    """

    source: TransactionSource
    today: date

    def days(self) -> list[date]:
        """The days of the source up to `today`."""
        return [day for day in self.source.days() if day <= self.today]

    def read_day(self, day: date) -> pl.DataFrame:
        """The rows of a day that is over.

        Raises:
            SourceError: the day is after `today`.
        """
        self._require_past(day)
        return self.source.read_day(day)

    def note(self, day: date) -> dict[str, int | str]:
        """What the source notes of a day that is over; raises as `read_day` does."""
        self._require_past(day)
        return self.source.note(day)

    def _require_past(self, day: date) -> None:
        if day > self.today:
            raise SourceError(
                f"{day} has not happened: the clock stands at the close of {self.today}; "
                "advance the clock first"
            )


def with_source_row(frame: pl.DataFrame, what: str, first_row: int = 0) -> pl.DataFrame:
    """`frame` with the position of each row in its source, counted from `first_row`.

    Args:
        frame: rows in order of arrival.
        what: the file, table or folder, for the message.
        first_row: position of the frame's first row.

    Raises:
        SourceError: the source has a column of that name.
    """
    if SOURCE_ROW in frame.columns:
        raise SourceError(
            f"{what}: it has a column '{SOURCE_ROW}', which is the name of the row's position "
            "here; rename the column"
        )
    rows = pl.int_range(first_row, first_row + frame.height, dtype=pl.Int64, eager=True)
    return frame.with_columns(rows.alias(SOURCE_ROW))
