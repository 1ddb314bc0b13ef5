"""The API keys that are valid now, in memory: the check of a key asks no database.

How keys are made, stored and revoked is the business of `store.api_keys`, and what a caller may do
that of `gate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fraud_assets.store.api_keys import active_keys, hash_of
from fraud_assets.store.engine import PredictionStore


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        name: the key's name; it signs labels and changes of the traffic.
        key_id: the key's public part; None without a key.
        scopes: what the caller may do.
    """

    name: str
    key_id: str | None
    scopes: frozenset[str]


class KeyRing:
    """The valid keys by the hash under which the store holds them.

    They are read again every few seconds, so that a key that was made is taken, and one that was
    revoked refused, without a restart. While the store does not answer, the keys read last stay
    valid; before the first reading none is known, and `is_read` says so.
    """

    def __init__(self, store: PredictionStore) -> None:
        self._store = store
        self._callers: Mapping[str, Caller] | None = None
        self._was_needed = False

    @property
    def is_read(self) -> bool:
        """Whether the store has been asked with success."""
        return self._callers is not None

    @property
    def was_needed(self) -> bool:
        """Whether there is a valid key, or was one since the start.

        Revoking the last key, perhaps because it was stolen, must not open a running server.
        """
        return self._was_needed

    def refresh(self) -> None:
        """Read the keys from the store. Blocking.

        Raises:
            StoreError: it cannot be read; the keys stay those of the last time.
        """
        callers = {
            key.hash: Caller(key.name, key.id, frozenset(key.scopes))
            for key in active_keys(self._store)
        }
        # In this order: the event loop asks meanwhile, and must not find the keys read and none
        # needed while there are some.
        self._was_needed = self._was_needed or bool(callers)
        self._callers = callers

    def caller(self, secret: bytes) -> Caller | None:
        """Whose key it is; None for one that is unknown or revoked."""
        return (self._callers or {}).get(hash_of(secret.decode("latin-1")))
