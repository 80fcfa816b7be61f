"""What somebody changed by hand, found by comparing what a definition says with what it should say,
and told in words that people know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from agent.core import difference
from agent.core.changes import SENSITIVE, Disposition
from agent.core.drift import Edit
from agent.core.model import Json
from agent.kinds.virtual_machine.definition import DomainFacts, Part, plain
from agent.kinds.virtual_machine.elements.disks import SOURCE
from agent.kinds.virtual_machine.provisioning import MEDIA

DEVICES = {"disks": "disk", "interfaces": "interface"}
"""Elements that are devices by name, and what one of them is called."""
MEDIUM = "provisioning medium"
_ORDER = ("in order", "in another order")

_Difference = tuple[difference.Path, Json, Json]


def edits(
    where: str,
    expected: DomainFacts,
    actual: DomainFacts,
    names: Iterable[str],
    devices: Mapping[str, str],
    disposition: Disposition,
) -> Iterator[Edit]:
    """Differences of the named elements, sorted. `devices` are names for people, by serial
    number.
    """
    both = ((name, getattr(expected, name), getattr(actual, name)) for name in names)
    parts = tuple((name, one, other) for name, one, other in both if one != other)
    for path, before, after in _differences(parts) if parts else ():
        yield Edit(where, _told(path, devices), before, after, disposition)


@lru_cache(maxsize=256)  # an edit that is left is there at each decision
def _differences(parts: tuple[tuple[str, Part, Part], ...]) -> tuple[_Difference, ...]:
    """Each difference: its path, the element's name first, and both values."""
    before = {name: plain(name, one) for name, one, _ in parts}
    after = {name: plain(name, other) for name, _, other in parts}
    differences = [
        (path, _seen(path, before), _seen(path, after))
        for path in sorted(difference.paths(before, after))
    ]
    # facts are told whole: what is left to differ is how devices of one list follow one another
    same = [name for name, *_ in parts if before[name] == after[name]]
    return (*differences, *((((name,), *_ORDER)) for name in same))


def _seen(path: difference.Path, value: Json) -> Json:
    """The value at a path, as people may see it."""
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return _open(path, value)


def _open(path: difference.Path, value: Json) -> Json:
    """A medium's file is named by a digest of the secrets on it."""
    if isinstance(value, Mapping):
        return {name: _open((*path, name), item) for name, item in value.items()}
    secret = path[0] == "disks" and path[1] in MEDIA and path[-1] == SOURCE
    return SENSITIVE if secret and value is not None else value


def _told(path: difference.Path, devices: Mapping[str, str]) -> str:
    element, *steps = path
    if element not in DEVICES or not steps:
        return ".".join(steps) or element
    name, *field = steps
    called = device(name, element, devices)
    return f"{called}: {'.'.join(field)}" if field else called


def device(name: str, element: str, devices: Mapping[str, str]) -> str:
    """What a device of an element is called."""
    return devices.get(name) or f"{DEVICES[element]} {name}"
