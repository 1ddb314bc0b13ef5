"""Who may do what: the check that every request passes, on the raw headers of ASGI.

Which keys there are belongs in `keys`, and how many requests one may send in `limits`.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from starlette.types import Scope

from fraud_assets.serving.keys import Caller, KeyRing
from fraud_assets.serving.limits import RateLimits
from fraud_assets.serving.problems import ProblemError
from fraud_assets.settings import ApiSettings
from fraud_assets.store.api_keys import SCOPES

KEY_HEADER: Final = "X-API-Key"
MAKE_A_KEY: Final = "fraud-assets api-keys create NAME --scope score --scope read"

_KEY: Final = KEY_HEADER.lower().encode()
_CHALLENGE: Final = {"WWW-Authenticate": f'ApiKey realm="fraud-assets", header="{KEY_HEADER}"'}

_LOCAL: Final = Caller("local", None, frozenset(SCOPES))
_SCORE: Final = "score"


class Gate:
    """Lets requests in, or refuses them.

    Without any key, on loopback, everything is allowed to everyone on this machine. As soon as
    there is a key, or the address can be reached from elsewhere, or the settings say so, one is
    needed.
    """

    def __init__(self, keys: KeyRing, settings: ApiSettings) -> None:
        self._keys = keys
        self._limits = RateLimits(settings.score_rate, settings.other_rate)
        self._always = settings.require_keys or not settings.is_loopback
        self._on_loopback = settings.is_loopback

    @property
    def knows_the_keys(self) -> bool:
        """Whether the store has told which keys there are."""
        return self._keys.is_read

    @property
    def needs_keys(self) -> bool:
        """Whether a request without a key is refused now; also until the store has told."""
        return self._always or not self._keys.is_read or self._keys.was_needed

    def authorise(self, scope: Scope, needed_scope: str) -> Caller:
        """The caller of a request, who may do what `needed_scope` names and is within the limit.

        Args:
            scope: ASGI's scope of the request.
            needed_scope: one of `store.api_keys.SCOPES`.

        Raises:
            ProblemError: 401 without a valid key, 403 without the scope, 421 for a name of this
                host that is not its own, 429 over the limit, 503 while the keys are not known.
        """
        caller = self.identify(scope)
        if needed_scope not in caller.scopes:
            raise missing_scope(needed_scope)
        # By the key, else by the address: other callers must not pay for one of them.
        who = caller.key_id or _address(scope)
        self._limits.check(who, scoring=needed_scope == _SCORE)
        return caller

    def authorise_metrics(self, scope: Scope) -> None:
        """Let in who may read the metrics: everyone on loopback, elsewhere a reader.

        Raises:
            ProblemError: as `authorise`.
        """
        if self._on_loopback:
            self.check_host(scope)
        else:
            self.authorise(scope, "read")

    def identify(self, scope: Scope) -> Caller:
        """Whose request it is, whatever it asks for.

        Raises:
            ProblemError: 401 without a valid key, 421, 503; see `authorise`.
        """
        secret = _header(scope, _KEY)
        if not self.needs_keys:
            self.check_host(scope)
            return _LOCAL
        if not self._keys.is_read:
            raise ProblemError(
                503,
                "the store, which holds the API keys, has not answered since the start",
                headers={"Retry-After": "5"},
            )
        if secret is None:
            raise ProblemError(
                401,
                f"give an API key in the header {KEY_HEADER}; `{MAKE_A_KEY}` makes one",
                headers=_CHALLENGE,
            )
        caller = self._keys.caller(secret)
        if caller is None:
            raise ProblemError(
                401, "the API key is unknown or has been revoked", headers=_CHALLENGE
            )
        return caller

    def check_host(self, scope: Scope) -> None:
        """Refuse a foreign host name while this machine needs no key.

        A page in a browser may let its own name point to 127.0.0.1 and then read what is answered
        (DNS rebinding); it cannot change the name that the browser sends.

        Raises:
            ProblemError: 421.
        """
        if self.needs_keys:
            return
        host = _header(scope, b"host")
        if host is not None and not _is_loopback(host):
            raise ProblemError(
                421,
                "without API keys this server answers to localhost, 127.0.0.1 and [::1] only; "
                f"`{MAKE_A_KEY}` makes a key",
            )


def missing_scope(needed: str) -> ProblemError:
    """What a caller is told who has a key, and not for this."""
    return ProblemError(
        403, f"the API key has no scope '{needed}'; make one that has it with `api-keys create`"
    )


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    for name, value in scope["headers"]:
        if name == wanted:
            found: bytes = value
            return found
    return None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


@lru_cache(maxsize=32)
def _is_loopback(host: bytes) -> bool:
    text = host.decode("latin-1")
    name = text if text.endswith("]") else text.rsplit(":", 1)[0]
    name = name.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
