"""Types of values that both databases take, for the models of what is kept on a record.

Only types that several records share belong here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, StringConstraints

_NUL: Final = r"^[^\x00]*$"  # PostgreSQL has no such character

T = TypeVar("T")


def _plain_json(value: T) -> T:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not plain JSON ({error}); write None for not computable") from error
    return value


Text = Annotated[str, StringConstraints(pattern=_NUL)]
Name = Annotated[str, StringConstraints(pattern=_NUL, min_length=1)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_plain_json)]
JsonObjects = Annotated[list[dict[str, Any]], AfterValidator(_plain_json)]
