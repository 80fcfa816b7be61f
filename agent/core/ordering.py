"""The order in which people expect values: quantities by what they are worth, numbers in a text by
their value.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from agent.core import jsonpath, quantity

_PARTS = re.compile(r"(\d+)")
NOTHING, _NUMBER, _TEXT = range(3)


def rank(value: Any) -> tuple[int, Any]:
    """To sort by; None comes first."""
    if value is None:
        return NOTHING, 0
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _TEXT, natural(jsonpath.shown(value))
    if isinstance(value, float):
        return _NUMBER, Decimal(str(value))
    try:
        return _NUMBER, quantity.parse(value)
    except ValueError:
        return _TEXT, natural(str(value))


def natural(text: str) -> list[tuple[int, int, str]]:
    """Texts with numbers in them so that vm-9 comes before vm-10."""
    parts = _PARTS.split(text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
