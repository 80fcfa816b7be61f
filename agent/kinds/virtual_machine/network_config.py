"""What a guest's medium says of its network, for cloud-init: netplan's version 2, and vendor data
that has it applied at each boot. The guest's instance-id stays, and cloud-init would else look at
the network of a new instance only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from agent.core.model import Json

NETWORK_CONFIG = "network-config"
VENDOR_DATA = "vendor-data"
SLIRP_GATEWAY = "10.0.2.2"
SLIRP_NAMESERVER = "10.0.2.3"
SLIRP_GUEST = "10.0.2.15"
"""Where QEMU's user-mode networking answers, whatever address its guest has, and a guest's on that
network.
"""
INTERFACE = "main"
"""The name of the guest's interface. It is said, for by its MAC address alone only some of
cloud-init's renderers find it: others look for one of the name that it has here. No kernel gives
this name to another one.
"""
_EVERY_BOOT = (
    b"#cloud-config\n# The address that is reserved for this machine may change while it is off.\n"
    b"updates: {network: {when: [boot-new-instance, boot]}}\n"
)
USER_DATA = b"""#cloud-config
# Made for the network alone: nothing else of the guest is configured.
preserve_hostname: true
ssh_deletekeys: false
users: []
"""
"""For a machine without any of its own."""


def user_mode(mac: str, address: str) -> Mapping[str, bytes]:
    """Files for a guest behind QEMU's user-mode networking, which takes any address for its
    guest's. One of QEMU's own network stands before it, by which the gateway is reached: a route
    without a gateway makes cloud-init's renderers for older Debian and for Red Hat's fail.
    """
    more = [f"{address}/32"] if address != SLIRP_GUEST else []
    routes: list[Json] = [{"to": "0.0.0.0/0", "via": SLIRP_GATEWAY}]
    return _files(mac, [f"{SLIRP_GUEST}/24", *more], routes, [SLIRP_NAMESERVER])


def bridged(
    mac: str, address: str, prefix: int, gateways: Sequence[str], nameservers: Sequence[str]
) -> Mapping[str, bytes]:
    """Files for a guest on a bridge. `gateways` may have one in each range of addresses: the one in
    its own is the guest's.
    """
    gateway = gateway_of(address, prefix, gateways)
    routes: list[Json] = [{"to": "0.0.0.0/0", "via": gateway}] if gateway else []
    return _files(mac, [f"{address}/{prefix}"], routes, nameservers)


def gateway_of(address: str, prefix: int, gateways: Sequence[str]) -> str:
    """Empty where none of them is in the range of an address."""
    network = IPv4Network((address, prefix), strict=False)
    return next((each for each in gateways if IPv4Address(each) in network), "")


def digest(files: Mapping[str, bytes]) -> str:
    """A name for just these files."""
    text = b"".join(name.encode() + b"\0" + files[name] + b"\0" for name in sorted(files))
    return hashlib.sha256(text).hexdigest()[:8]


def _files(
    mac: str, addresses: Sequence[str], routes: list[Json], nameservers: Sequence[str]
) -> Mapping[str, bytes]:
    device: dict[str, Json] = {
        "match": {"macaddress": mac.lower()},
        "set-name": INTERFACE,
        "addresses": list(addresses),
        "routes": routes,
        "nameservers": {"addresses": list(nameservers)} if nameservers else {},
    }
    config = {"version": 2, "ethernets": {INTERFACE: {k: v for k, v in device.items() if v}}}
    text = json.dumps(config, indent=1)  # which is YAML, too
    return {NETWORK_CONFIG: f"{text}\n".encode(), VENDOR_DATA: _EVERY_BOOT}
