"""The keys with which clients ask the scoring API: made once, shown once, revoked once.

Which request needs which scope is the business of `serving`. When a key was last used is not
kept: it would be a write for every request.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row, func, insert, select, update

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import api_keys

SCOPES: Final = ("score", "read", "label", "train")

_MAX_NAME: Final = 100
_KEY_LOCK: Final = 0x6672_6B79
"""Key of PostgreSQL's advisory lock: keys are made one at a time, for their names are looked up."""


class KeyRefusedError(ValueError):
    """A key that cannot be made: its name or its scopes will not do."""


class UnknownKeyError(LookupError):
    """There is no key of this id."""


@dataclass(frozen=True)
class ApiKey:
    """A client's key, without its secret, which nobody keeps.

    Attributes:
        id: its public part, by which it is spoken of.
        name: whose it is; no two active keys share a name.
        scopes: what it allows; some of `SCOPES`.
        created_at: when it was made.
        revoked_at: since when it is refused; None while it is active.
        hash: `hash_of` its secret.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None
    hash: str = field(repr=False)


def hash_of(secret: str) -> str:
    """What is kept of a secret: its SHA-256, in hexadecimal.

    A slow hash protects what people choose. Of 256 random bits nothing can be guessed, however
    quickly the guesses are tried, and the hash may be computed for every request. Looking it up as
    it is tells nothing through its time either: nobody can choose what their guess is hashed to.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def create(store: PredictionStore, name: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
    """Make a key; returns it with its secret, which cannot be had again.

    Raises:
        KeyRefusedError: the name is empty, too long or taken by an active key, or the scopes are
            none or unknown.
    """
    given = frozenset(scopes)
    unknown = sorted(given.difference(SCOPES))
    if unknown or not given:
        said = f"unknown scopes {', '.join(unknown)}" if unknown else "a key needs a scope"
        raise KeyRefusedError(f"{said}; there are {', '.join(SCOPES)}")
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        # Printable leaves out the NUL and half surrogates, which PostgreSQL does not take.
        raise KeyRefusedError(f"a key's name has 1 to {_MAX_NAME} printable characters")
    public = secrets.token_hex(6)
    secret = f"fa_{public}_{secrets.token_urlsafe(32)}"
    values = {
        "id": public,
        "hash": hash_of(secret),
        "name": name,
        "scopes": [scope for scope in SCOPES if scope in given],
        "created_at": datetime.now(UTC),
        "revoked_at": None,
    }
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_KEY_LOCK)))
        active = select(api_keys.c.id).where(
            api_keys.c.name == name, api_keys.c.revoked_at.is_(None)
        )
        taken = connection.execute(active).scalar_one_or_none()
        if taken is not None:
            raise KeyRefusedError(
                f"the active key {taken} has the name '{name}': revoke it first, or choose another"
            )
        row = connection.execute(insert(api_keys).values(**values).returning(api_keys)).one()
    return _key(row), secret


def active_keys(store: PredictionStore) -> list[ApiKey]:
    """The keys that are not revoked, by name."""
    query = select(api_keys).where(api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.name)
    with store.reading() as connection:
        return [_key(row) for row in connection.execute(query)]


def revoke(store: PredictionStore, key_id: str) -> ApiKey:
    """Refuse a key from now on, for good; one that is revoked already stays as it is.

    Raises:
        UnknownKeyError: there is no such key.
    """
    this = api_keys.c.id == key_id
    change = update(api_keys).where(this, api_keys.c.revoked_at.is_(None))
    with store.writing() as connection:
        connection.execute(change.values(revoked_at=datetime.now(UTC)))
        row = connection.execute(select(api_keys).where(this)).one_or_none()
    if row is None:
        raise UnknownKeyError(f"there is no API key with the id {key_id!r}")
    return _key(row)


def _key(row: Row[Any]) -> ApiKey:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return ApiKey(**values | {"scopes": tuple(row.scopes)})
