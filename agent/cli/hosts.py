"""From the settings to the hosts that a command works on."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.identity import POOL
from agent.settings import Settings


def addresses(settings: Settings) -> Mapping[str, str]:
    """The URI that libvirt connects to, by node. The one host of --connect has an empty name, for
    it bears that which libvirt knows it by; an empty URI leaves the choice to libvirt.
    """
    if settings.nodes:
        return {name: each.connect for name, each in settings.nodes.items()}
    return {"": settings.connect}


def pools(settings: Settings) -> frozenset[str]:
    """All storage pools that a node may have, as libvirt calls them."""
    return frozenset({POOL, *(each.pool for each in settings.pools.values())})
