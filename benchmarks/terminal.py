"""Where the benchmarks print: a terminal, or a log."""

from __future__ import annotations

from rich.console import Console

LOG_WIDTH = 150
"""Characters of a line in a log, which rich would fold at 80."""


def terminal() -> Console:
    """A console as wide as the terminal, or `LOG_WIDTH` wide where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)
