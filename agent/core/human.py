"""Values as people read them: numbers the way kubectl writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from agent.core.model import Json


def shown(value: Json) -> str:
    """A value as messages show it: one short line of JSON."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def count(number: int, noun: str) -> str:
    """`1 manifest`, `2 manifests`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number: int) -> str:
    """Bytes with a binary suffix and at most one decimal: `16.4Mi`."""
    value, unit = float(number), ""
    for unit in ("", "Ki", "Mi", "Gi", "Ti", "Pi"):  # noqa: B007  # the last one is what counts
        if value < 1024:
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + unit


_STEPS = (
    (2 * 60, ("s",)),
    (10 * 60, ("m", "s")),
    (3 * 3600, ("m",)),
    (8 * 3600, ("h", "m")),
    (48 * 3600, ("h",)),
    (8 * 86400, ("d", "h")),
    (2 * 365 * 86400, ("d",)),
    (8 * 365 * 86400, ("y", "d")),
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}


def age(elapsed: float) -> str:
    """A span of seconds as kubectl shows ages: `11m`, `3m7s`, `5d21h`."""
    rest = int(elapsed)
    if rest < 0:
        return "<invalid>"
    units = next((units for limit, units in _STEPS if rest < limit), ("y",))
    text = ""
    for unit in units:
        whole, rest = divmod(rest, _SECONDS[unit])
        text += f"{whole}{unit}" if whole or not text else ""
    return text


_DURATION = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,7})h)?(?:([0-9]{1,8})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,3})?)s)?"
)
_PARTS = (86400.0, 3600.0, 60.0, 1.0)
_PLAIN = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")


def duration(text: str) -> float:
    """Seconds of `30s`, `5m`, `1h30m`, `2d` or a bare number of seconds."""
    if _PLAIN.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"must be a duration such as 30s, 5m or 1h30m, not {shown(text)}")
    parts = zip(match.groups(), _PARTS, strict=True)
    return sum(float(count) * seconds for count, seconds in parts if count)
