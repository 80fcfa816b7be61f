"""Facts as plain nested maps, in words that people know: a manifest's where it has a field for the
fact, else libvirt's. Devices stand under what tells them apart, never in a list. None: it is not
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

from agent.core.model import Json


def by_name(devices: Iterable[tuple[str, Mapping[str, Json]]]) -> dict[str, Json]:
    """Devices by name; a second one of the same name, which only an edit by hand can give, under
    its name and a number.
    """
    named: dict[str, Json] = {}
    for name, device in devices:
        names = (name if at == 1 else f"{name} ({at})" for at in count(1))
        named[next(name for name in names if name not in named)] = device
    return named


def there(value: Json) -> Json:
    """Without what is not there."""
    if not isinstance(value, Mapping):
        return value
    return {name: there(item) for name, item in value.items() if item is not None}
