"""The state on disk: every array as it lies in memory, one behind the other, with a checksum.

A snapshot is only a shortcut. One that cannot be trusted, because it is cut short, changed, of
another version or of other features, is refused with a reason, and the caller starts from the lake.
Nothing in it is code: lengths and ids are MessagePack, all else 64-bit integers of this machine.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sys
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.online.amounts import AmountHistory
from fraud_assets.features.online.entities import Entities
from fraud_assets.features.online.labels import LabelHistory
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.features.semantics import AMOUNT_SCALE, DAY_US, TIE_ALLOWANCE_US

_log = logging.getLogger(__name__)

_MAGIC: Final = b"fraud-features-1\n"
"""Names the layout. Change it with every change of what is written."""

_LENGTH: Final = 8

_encode: Final = msgspec.msgpack.encode
_ITEM: Final = 8
"""Bytes of an integer."""


class _Header(msgspec.Struct, frozen=True):
    """What a snapshot is of, and the sizes of its parts in bytes."""

    features: str
    byte_order: str
    late_us: int
    position: str
    newest_us: int | None
    last_key: int
    sizes: list[int]
    checksum: int


def features_hash(feature_set: FeatureSet) -> str:
    """A hash of the declarations and of the constants that give them their meaning."""
    told = repr((feature_set.definitions, AMOUNT_SCALE, TIE_ALLOWANCE_US))
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Capture:
    """A state as bytes: it no longer changes, and may be written by another thread."""

    features: str
    late_us: int
    position: str
    newest_us: int | None
    last_key: int
    parts: list[bytes]

    @classmethod
    def of(cls, state: OnlineFeatures, position: str) -> Capture:
        """A copy of everything that the state holds, made while it stands still."""
        return cls(
            features=features_hash(state.feature_set),
            late_us=state.late_us,
            position=position,
            newest_us=state.newest_us,
            last_key=state.last_key,
            parts=_parts_of(state),
        )

    def write(self, path: Path) -> None:
        """Replace the file at `path`: a crash leaves the old one or the new one.

        Raises:
            OSError: it cannot be written.
        """
        checksum = 0
        for part in self.parts:
            checksum = zlib.crc32(part, checksum)
        header = _encode(
            _Header(
                features=self.features,
                byte_order=sys.byteorder,
                late_us=self.late_us,
                position=self.position,
                newest_us=self.newest_us,
                last_key=self.last_key,
                sizes=[len(part) for part in self.parts],
                checksum=checksum,
            )
        )
        sealed = header + zlib.crc32(header).to_bytes(_LENGTH, "big")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines([_MAGIC, len(sealed).to_bytes(_LENGTH, "big"), sealed, *self.parts])
                # without it a power cut may leave the new name on a file without its content
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def save(state: OnlineFeatures, path: Path, position: str) -> None:
    """Replace the snapshot at `path`.

    Args:
        state: what to keep.
        path: the file; its folder is made.
        position: any text; `restore` gives it back, so that the caller knows what came after.

    Raises:
        OSError: it cannot be written.
    """
    Capture.of(state, position).write(path)


def restore(
    feature_set: FeatureSet, path: Path, *, late_days: float
) -> tuple[OnlineFeatures, str] | None:
    """The state that was saved at `path`, and its position.

    Args:
        feature_set: must be the one that was saved.
        path: the file.
        late_days: may be less than when it was saved, but not more: older history is gone.

    Returns:
        None where there is none or it cannot be used; the reason is logged.
    """
    try:
        content = memoryview(path.read_bytes())
        return _read(feature_set, content, late_days)
    except FileNotFoundError:
        _log.info("no snapshot of the features at %s", path)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        _log.warning("the snapshot %s is not used: %s", path, error)
    return None


def _read(
    feature_set: FeatureSet, content: memoryview, late_days: float
) -> tuple[OnlineFeatures, str]:
    start = len(_MAGIC) + _LENGTH
    if bytes(content[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("it is no snapshot, or one of another version")
    body = start + int.from_bytes(content[len(_MAGIC) : start], "big")
    sealed = content[start:body]
    if zlib.crc32(sealed[:-_LENGTH]) != int.from_bytes(sealed[-_LENGTH:], "big"):
        raise ValueError("its header is damaged")
    header = msgspec.msgpack.decode(sealed[:-_LENGTH], type=_Header)
    if header.features != features_hash(feature_set):
        raise ValueError("it holds the history of other features")
    if header.byte_order != sys.byteorder:
        raise ValueError("it was written on a machine with another byte order")
    state = OnlineFeatures(feature_set, late_days=late_days)
    if state.late_us > header.late_us:
        raise ValueError(
            f"it keeps transactions {header.late_us / DAY_US:g} days late, and {late_days:g} are "
            "wanted"
        )
    if len(content) - body != sum(header.sizes) or zlib.crc32(content[body:]) != header.checksum:
        raise ValueError("it is cut short or damaged")
    parts = []
    for size in header.sizes:
        parts.append(content[body : body + size])
        body += size
    _fill(state, parts)
    state.newest_us, state.last_key = header.newest_us, header.last_key
    return state, header.position


def _parts_of(state: OnlineFeatures) -> list[bytes]:
    parts = []
    none: array[int] = array("q")
    for entities in (state.payers, state.payees):
        histories = entities.histories.values()
        labels = entities.labels.values()
        parts += [
            *_named(entities.histories, [history.keys for history in histories]),
            b"".join([history.sums for history in histories]),
            *_named(entities.labels, [held.known for held in labels]),
            *_arrays([held.frauds or none for held in labels]),
            b"".join([held.ticks or none for held in labels]),
        ]
    if state.pairs is not None:
        once, often = state.pairs.once, state.pairs.often
        parts += [_encode(list(once)), array("q", once.values()).tobytes()]
        parts += _named(often, list(often.values()))
    return parts


def _named(ids: Mapping[str, object], arrays: list[array[int]]) -> list[bytes]:
    return [_encode(list(ids)), *_arrays(arrays)]


def _arrays(arrays: list[array[int]]) -> list[bytes]:
    return [array("q", map(len, arrays)).tobytes(), b"".join(arrays)]


def _fill(state: OnlineFeatures, parts: list[memoryview]) -> None:
    rest = iter(parts)
    for entities in (state.payers, state.payees):
        ids, bounds = _ids(next(rest)), _bounds(next(rest))
        keys, sums = next(rest), next(rest)
        for i, (name, start, end) in enumerate(zip(ids, bounds, bounds[1:], strict=False)):
            # each history has one sum more than keys
            entities.histories[name] = AmountHistory(
                _cut(keys, start, end), _cut(sums, start + i, end + i + 1)
            )
        _fill_labels(entities, rest)
        entities.start_rounds()
    if state.pairs is not None:
        state.pairs.once.update(zip(_ids(next(rest)), next(rest).cast("q"), strict=True))
        ids, bounds, keys = _ids(next(rest)), _bounds(next(rest)), next(rest)
        for name, start, end in zip(ids, bounds, bounds[1:], strict=False):
            state.pairs.often[name] = _cut(keys, start, end)
        state.pairs.start_rounds()


def _fill_labels(entities: Entities, rest: Iterator[memoryview]) -> None:
    ids, bounds, known = _ids(next(rest)), _bounds(next(rest)), next(rest)
    fraud_bounds, frauds, ticks = _bounds(next(rest)), next(rest), next(rest)
    for i, (name, start, end) in enumerate(zip(ids, bounds, bounds[1:], strict=False)):
        held = entities.labels[name] = LabelHistory(_cut(known, start, end))
        first, last = fraud_bounds[i], fraud_bounds[i + 1]
        if last > first:
            held.frauds, held.ticks = _cut(frauds, first, last), _cut(ticks, first, last)


def _ids(part: memoryview) -> list[str]:
    return msgspec.msgpack.decode(part, type=list[str])


def _bounds(counts: memoryview) -> list[int]:
    """Where each one's numbers begin, and at last where the last one's end."""
    return [0, *accumulate(counts.cast("q"))]


def _cut(part: memoryview, start: int, end: int) -> array[int]:
    found = array("q")
    found.frombytes(part[start * _ITEM : end * _ITEM])
    return found
