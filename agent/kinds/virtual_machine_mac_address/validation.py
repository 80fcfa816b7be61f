"""Rules about one VirtualMachineMACAddress that its schema cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json
from agent.kinds.content import text

GROUP = 1
"""The bit of the first byte that is set in addresses of groups of stations."""


def of_one_station(content: Mapping[str, Json]) -> Iterator[tuple[Path, str]]:
    address = text(content, "spec", "address")
    try:
        first = int(address[:2], 16)
    except ValueError:
        return
    if first & GROUP:
        yield ("spec", "address"), "must be of one station: its second digit is even, as in 52:54:…"


CHECKS: tuple[Check, ...] = (of_one_station,)
