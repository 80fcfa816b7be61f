"""Rules about the ModuleConfig that its schema cannot say."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json
from agent.kinds.content import items

MAX_RANGES = 256
"""More are not looked at, because each is compared with all before it; the schema refuses them."""

_NOBODYS = tuple(
    map(ipaddress.IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"))
)
"""What hosts keep for themselves, their links and groups, or nobody knows."""
SMALLEST = 30
"""The longest prefix of a range with addresses for machines."""


def address_ranges(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    known: list[ipaddress.IPv4Network] = []
    written = items(content, "spec", "settings", "virtualMachineCIDRs")
    for index, text in enumerate(written[:MAX_RANGES]):
        path = ("spec", "settings", "virtualMachineCIDRs", index)
        if not isinstance(text, str):
            continue
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError:
            yield path, "must be a range of IPv4 addresses such as 10.66.10.0/24, without host bits"
            continue
        if network.prefixlen > SMALLEST:
            yield path, f"must be /{SMALLEST} or larger: a range without its ends has no address"
            continue
        if reserved := next(filter(network.overlaps, _NOBODYS), None):
            yield path, f"must not overlap {reserved}, whose addresses no machine can have"
            continue
        if any(network.overlaps(other) for other in known):
            yield path, "must not overlap a range before it"
        known.append(network)


CHECKS: tuple[Check, ...] = (address_ranges,)
