"""`dg.asset` as far as the type checker can follow arguments given as a dictionary."""

from collections.abc import Callable
from typing import Any

import dagster as dg


def asset(**arguments: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:  # noqa: ANN401
    """The decorator `dg.asset` with these arguments, some of them shared by a group."""
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(**arguments)
    return decorator
