"""Cursors of lists: where a page ended, in a form that clients pass on and do not read.

What a page's key is, and that pages stay apart, is the business of `store.listing`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import date
from typing import Literal

import msgspec

from fraud_assets.serving.problems import ProblemError
from fraud_assets.store.listing import ListingFilter, PageKey


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    asked: str
    day: date
    score: float
    transaction_id: str
    origin: Literal["batch", "online"]


def write_cursor(end: PageKey, wanted: ListingFilter) -> str:
    """The cursor for what follows `end` in the list of what was wanted."""
    cursor = _Cursor(_asked(wanted), *end)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def read_cursor(text: str, wanted: ListingFilter) -> PageKey:
    """Where the page before ended.

    Raises:
        ProblemError: 400; it is no cursor of this API, or one of a list with other filters.
    """
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(content, type=_Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise ProblemError(
            400, "the cursor is none: give `next_cursor` as it was answered, or leave it out"
        ) from None
    if "\x00" in cursor.transaction_id or not 0 <= cursor.score <= 1:
        raise ProblemError(400, "the cursor was changed: give it as it was answered")
    if cursor.asked != _asked(wanted):
        raise ProblemError(
            400, "the cursor is of a list with other filters: give the same ones, or no cursor"
        )
    return PageKey(cursor.day, cursor.score, cursor.transaction_id, cursor.origin)


def _asked(wanted: ListingFilter) -> str:
    """A short hash of the filters: going on in another list would leave rows out silently."""
    return hashlib.blake2b(msgspec.json.encode(wanted), digest_size=6).hexdigest()
