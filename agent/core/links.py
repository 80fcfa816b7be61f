"""What the interface of a machine is connected to on a host."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.host import RawNode
from agent.core.network import RawNetwork

MAIN = "main"
"""What the settings call the network of every machine that names none."""
OPEN_VSWITCH = "openvswitch"


@dataclass(frozen=True, slots=True)
class Link:
    """A libvirt network or a bridge, as libvirt calls it; neither in user-mode networking."""

    network: str = ""
    portgroup: str = ""
    """Of the libvirt network; empty for its default one."""
    bridge: str = ""
    vlan: int = 0
    """Tag of what goes over the bridge; 0 for none."""
    virtualport: str = ""
    """`openvswitch` where the bridge is one of Open vSwitch; empty for one of Linux."""
    filter: str = ""
    """libvirt's filter for what goes through the interface; empty for none."""
    gateways: tuple[str, ...] = field(default=(), compare=False)
    """Addresses by which guests reach the world that get theirs from their medium; one for each
    range. As the name servers, the interface itself does not show them.
    """
    nameservers: tuple[str, ...] = field(default=(), compare=False)


USER = Link()

_TAGS_SINCE = (11, 0)
"""The version of libvirt from which on it tags what goes over a bridge of Linux."""


def lacking(link: Link, node: RawNode, network: RawNetwork | None) -> str:
    """What a node lacks for an interface there, in a sentence; empty if it has all. `network` is
    the libvirt network that the link names, if the node has it.
    """
    problem = _network(link, node, network) if link.network else _bridge(link, node)
    if problem or not link.filter or node.filters is None or link.filter in node.filters:
        return problem
    if node.session:
        return (
            f"Node {node.name} is a user's session, which filters nothing: take filter out of the "
            "setting, or use the system's libvirt."
        )
    return (
        f"Node {node.name} has no network filter {link.filter}: `virsh nwfilter-list` names those "
        "that it has (on Debian they come with the package libvirt-daemon-config-nwfilter)."
    )


def _network(link: Link, node: RawNode, network: RawNetwork | None) -> str:
    name = link.network
    if network is None:
        return f"Node {node.name} has no libvirt network {name}: define it, or change the setting."
    if not network.active:
        return (
            f"libvirt's network {name} of node {node.name} is not active: `virsh net-start {name}`."
        )
    if link.portgroup and link.portgroup not in network.port_groups:
        return f"libvirt's network {name} of node {node.name} has no port group {link.portgroup}."
    return ""


def _bridge(link: Link, node: RawNode) -> str:
    name = link.bridge
    if not name or node.bridges is None:
        return ""
    if name not in node.bridges:
        return f"Node {node.name} has no bridge {name}: make it, or change the setting."
    if link.virtualport and node.bridges[name]:
        return (
            f"Bridge {name} of node {node.name} is one of Linux, not of Open vSwitch: take "
            "virtualport out of the setting."
        )
    if not link.virtualport and not node.bridges[name]:
        return (
            f"{name} of node {node.name} is no bridge of Linux: if it is one of Open vSwitch, say "
            "`virtualport: openvswitch` in the setting."
        )
    if link.vlan and not link.virtualport and node.libvirt < _TAGS_SINCE:
        return (
            f"libvirt {node.libvirt_version} of node {node.name} tags nothing that goes over a "
            "bridge of Linux (11.0 is the first one that does): name a bridge on an interface of "
            "that VLAN and take vlan out of the setting, or use Open vSwitch."
        )
    return ""
