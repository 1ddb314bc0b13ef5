"""What a single text says: an id or a category as the daily reading would have it.

The twin, for one value, of `transactions.reading.identifiers`, which takes columns and tens of
microseconds for each; a test holds the two against each other. An id that were read in another way
here than there would be another customer, without any history.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from fraud_assets.transactions.profile import CsvFormat

Identifier = str | int
"""Ids are texts. A whole number is taken as its digits, as the daily reading takes it."""

# Unicode's White_Space, which is what Polars trims; `str.strip()` would take U+001C to U+001F too.
_BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_WHOLE: Final = re.compile(r"-?\d+\.0")


def text_reader(csv: CsvFormat) -> Callable[[Identifier | None], str | None]:
    """How ids and categories are read: trimmed, "596.0" as "596", and missing as None.

    Args:
        csv: `null_values` are the texts that mean that there is none, whatever the source.
    """
    missing = frozenset(csv.null_values)

    def read(value: Identifier | None) -> str | None:
        if value is None or isinstance(value, int):
            return None if value is None else str(value)
        text = value.strip(_BLANKS)
        if text in missing:
            return None
        return text[:-2] if text.endswith(".0") and _WHOLE.fullmatch(text) else text

    return read
