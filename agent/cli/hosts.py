"""From the settings to the hosts that a command works on."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.host import Host
from agent.places import Pools
from agent.settings import Settings, data_home


def addresses(settings: Settings) -> Mapping[str, str]:
    """The URI that libvirt connects to, by node. The one host of --connect has an empty name, for
    it bears that which libvirt knows it by; an empty URI leaves the choice to libvirt.
    """
    if settings.nodes:
        return {name: node.connect for name, node in settings.nodes.items()}
    return {"": settings.connect}


def pools(settings: Settings) -> Pools:
    """The storage pools that a node may have."""
    return Pools.of(settings.pools)


def bridges(settings: Settings) -> frozenset[str]:
    """The bridges that machines' interfaces are connected to."""
    return frozenset(link.bridge for link in settings.networks.values() if link.bridge)


def opened_one(settings: Settings, name: str) -> Host:
    """One of them, by its name in `addresses`. HostError if it cannot be reached."""
    from agent.hypervisor.host import LibvirtHost  # loads libvirt, which other commands need not

    return LibvirtHost(
        name or None,
        addresses(settings)[name] or None,
        data_home=data_home(),
        bridges=bridges(settings),
    )


def opened(settings: Settings, *, later: bool = False) -> dict[str, Host]:
    """All hosts by name, in their order; whoever asked closes them. Those that the settings name
    need not be there: with `later` they are not even waited for. HostError of one that has no name.
    """
    from agent.hypervisor.host import LibvirtHost  # loads libvirt, which other commands need not

    opened_hosts: dict[str, Host] = {}
    for name, uri in addresses(settings).items():
        host = LibvirtHost(
            name or None,
            uri or None,
            data_home=data_home(),
            later=later and bool(name),
            bridges=bridges(settings),
        )
        opened_hosts[host.name] = host
    return opened_hosts
