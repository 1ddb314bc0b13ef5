"""Templates and their filters: what model cards and all pages are rendered with.

How a number is written belongs in `wording`; which numbers there are, in `card`, `page`, and the
packages that have templates of their own. What all pages share stands in `page.html.j2` (the look)
and `macros.html.j2`; a template names another one by its package: `fraud_assets.….reporting/name`.

HTML templates escape everything by themselves. Markdown has no such thing: its templates pass
every word of unknown origin through `text` or `code`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from fraud_assets.modeling.manifest import DayWindow
from fraud_assets.modeling.reporting import wording

if TYPE_CHECKING:
    from jinja2 import Environment

PACKAGE: Final = "fraud_assets.modeling.reporting"

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~])")


def render_template(name: str, facts: Mapping[str, Any], *, package: str = PACKAGE) -> str:
    """The template `name` in the folder `templates` of a package, with its facts.

    Raises:
        jinja2.TemplateNotFound: the package has no such template.
        jinja2.UndefinedError: the template uses a fact that is not there; a hole in a report is
            an error, not an empty cell.
    """
    return _environment().get_template(f"{package}/{name}").render(facts)


def text(words: object) -> str:
    r"""Words for Markdown in which nothing is markup and nothing ends a table's cell.

    >>> text("CASH_OUT | <b>")
    'CASH\\_OUT \\| \\<b\\>'
    """
    return _MARKUP.sub(r"\\\1", " ".join(str(words).split()))


def code(name: object) -> str:
    """A name as a code span for Markdown, inside a table too.

    >>> code("payer_count_1d")
    '`payer_count_1d`'
    """
    return "`" + " ".join(str(name).replace("`", "'").replace("|", r"\|").split()) + "`"


def window(days: DayWindow) -> str:
    """The first and the last day of a slice.

    >>> from datetime import date
    >>> window(DayWindow(first=date(2025, 3, 1), last=date(2025, 3, 7)))
    '2025-03-01 to 2025-03-07'
    """
    return f"{days.first} to {days.last}"


def spaced(name: str) -> str:
    """A name of ours in words.

    >>> spaced("random_forest")
    'random forest'
    """
    return name.replace("_", " ")


def around(value: str, ends: str) -> str:
    """A value with the ends of its interval, if it has one.

    >>> around("80%", "70% to 88%"), around("80%", "")
    ('80% (70% to 88%)', '80%')
    """
    return f"{value} ({ends})" if ends else value


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        wording.metric, wording.signed, wording.share, wording.money, wording.count,
        wording.estimate, wording.gain, wording.plain, wording.dimension,
        text, code, window, spaced, around,
    )  # fmt: skip
    environment.filters.update({one.__name__: one for one in filters})
    environment.globals.update(limits=wording.limits, share_limits=wording.share_limits)
    return environment


def _source(name: str) -> tuple[str, str, Callable[[], bool]] | None:
    """Text and place of the template `package/name`, for good; None if there is none."""
    package, _, file = name.partition("/")
    if not file or "/" in file:
        return None
    template = files(package) / "templates" / file
    if not template.is_file():
        return None
    return template.read_text(encoding="utf-8"), str(template), lambda: True
