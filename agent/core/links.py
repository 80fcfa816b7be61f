"""What the interface of a machine is connected to on a host."""

from __future__ import annotations

from dataclasses import dataclass, field

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
