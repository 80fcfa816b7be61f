"""What settings mean for others."""

from __future__ import annotations

from ipaddress import IPv4Network

from agent.core.facts import Decision, View
from agent.core.model import Manifest, Object
from agent.kinds.content import items
from agent.kinds.exports import AddressRanges


def decide(config: Object, _: View) -> Decision:
    if config.deleted:
        return Decision(status={}, gone=True)
    return Decision(status={}, export=AddressRanges(networks(config)))


def networks(config: Object | Manifest) -> tuple[IPv4Network, ...]:
    """The ranges that machines' addresses are taken from."""
    written = items(config.spec, "settings", "virtualMachineCIDRs")
    return tuple(IPv4Network(text) for text in written)
