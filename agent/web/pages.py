"""Templates to HTML. What they print is escaped, and signs that nobody sees are written out: there
is one way from a value to a page. The only importer of the template engine for pages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agent.core import human, status
from agent.core.ledger import dump
from agent.core.tables import printable


def visible(value: Any) -> Any:
    """A value as it may stand in a page: on one line, with all that would steer a terminal, turn
    the direction of writing or hide something written out. Markup is of templates' own making.
    """
    if isinstance(value, Markup):
        return value
    return printable(value) if isinstance(value, str) else value


def lines(value: Any) -> list[str]:
    """A text line by line; of anything else its YAML."""
    return (value if isinstance(value, str) else dump(value).decode()).splitlines()


def age(since: Any, now: float) -> str:
    """How long ago a time (RFC 3339, or seconds since the epoch) was; empty if it is none."""
    moment = seconds(since)
    return "" if moment is None else human.age(max(0.0, now - moment))


def seconds(moment: Any) -> float | None:
    if isinstance(moment, int | float):
        return float(moment)
    try:
        return status.seconds(str(moment))
    except ValueError:
        return None


def stamp(moment: Any) -> str:
    """A time as pages have it for programs (RFC 3339); empty if it is none."""
    known = seconds(moment)
    return "" if known is None else status.timestamp(known)


def place(*parts: str, **query: str) -> str:
    """An address of this server: its parts may be any text."""
    path = "/" + "/".join(quote(part, safe="~") for part in parts)
    kept = {name: text for name, text in query.items() if text}
    return f"{path}?{urlencode(kept)}" if kept else path


class Pages:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._environment = Environment(
            loader=PackageLoader("agent.web"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "age": lambda since: age(since, self._clock()),
            "stamp": stamp,
            "lines": lines,
            "json": lambda value: json.dumps(value, ensure_ascii=False),
        }
        self._environment.globals |= {"place": place, "count": human.count, "size": human.size}

    def html(self, template: str, values: Mapping[str, Any]) -> str:
        return self._environment.get_template(template).render(**values)
