"""Logs as lines of JSON, about requests and never about people.

A line holds the route and not the path, no query, no body, no key, and of an exception its type
and place and not its message, which may quote what a client sent. Numbers belong in `metrics`.
"""

from __future__ import annotations

import logging
import re
import sys
import uuid
from typing import Any, Final, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import ExcInfo, Processor

REQUEST_ID: Final = "X-Request-ID"

_SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_FRAMES: Final = 12


def configure(stream: TextIO = sys.stderr) -> None:
    """Let everything that this process logs, also through `logging`, be one line of JSON each."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(places_of),
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # One line per request and question is theirs, with the URL in it.
    for name in ("httpx", "gql", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def places_of(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """An exception and its causes as the log has them: types and places, no messages or values."""
    return [
        {
            "type": one["exc_type"],
            "at": [
                f"{frame['filename']}:{frame['lineno']} {frame['name']}" for frame in one["frames"]
            ],
        }
        for one in _transform(exc_info)
    ]


_transform: Final = ExceptionDictTransformer(show_locals=False, max_frames=_FRAMES)


def request_id_of(headers: list[tuple[bytes, bytes]]) -> str:
    """The id that the client gave its request, if it is a plain one, else a new one.

    >>> request_id_of([(b"x-request-id", b"order-17")])
    'order-17'
    """
    for name, value in headers:
        if name == b"x-request-id" and _SAFE_ID.fullmatch(value):
            return value.decode()
    return uuid.uuid4().hex
