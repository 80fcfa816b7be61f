"""kubectl's label selectors: `app=web,tier!=db,zone in (a,b),env notin (test),gpu,!spot`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Selector = Callable[[Mapping[str, str]], bool]

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s+\(([^()]*)\)")
_EQUAL = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_THERE = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^()]*\))")


def selector(text: str) -> Selector:
    """Whether labels fit all requirements. ValueError if the text is no selector."""
    if not text.strip():
        return lambda _: True
    wanted = [_requirement(part.strip()) for part in _COMMA.split(text)]
    return lambda labels: all(fits(labels) for fits in wanted)


def _requirement(text: str) -> Selector:
    among = _SET.fullmatch(text)
    if among:
        key, word, inside = among.groups()
        values = {value.strip() for value in inside.split(",")}
        if all(re.fullmatch(_VALUE, value) for value in values):
            return _among(key, values, negated=word == "notin")
    equal = _EQUAL.fullmatch(text)
    if equal:
        key, sign, value = equal.groups()
        return _among(key, {value}, negated=sign == "!=")
    there = _THERE.fullmatch(text)
    if there:
        absent, key = there.groups()
        return lambda labels: (key in labels) != bool(absent)
    raise ValueError(
        f"{text!r} is no label selector: write key=value, key!=value, key, !key, key in (a,b) or "
        "key notin (a,b), with commas between"
    )


def _among(key: str, values: set[str], *, negated: bool) -> Selector:
    """As in Kubernetes, what lacks the label fits what is negated."""
    return lambda labels: (labels.get(key) in values) != negated
