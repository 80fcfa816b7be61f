"""What a guest's agent says. A guest is hostile: everything is bounded, and nothing of it is
interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address

import libvirt

from agent.core.host import GuestInfo
from agent.core.model import Json

MAX_TEXT = 1024
MAX_INTERFACES = 64
MAX_ADDRESSES = 64
AGENT_SECONDS = 5

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_NO_MAC = "00:00:00:00:00:00"
_BY_AGENT = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
_OS_KEYS = {
    "os.id": "id",
    "os.name": "name",
    "os.pretty-name": "prettyName",
    "os.version": "version",
    "os.version-id": "versionId",
    "os.kernel-release": "kernelRelease",
    "os.kernel-version": "kernelVersion",
    "os.machine": "machine",
}
SILENT = frozenset(
    {
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_OPERATION_INVALID,  # the domain is off
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,  # it has no channel for an agent
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_SUPPORT,
    }
)
_LACKING = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_FAILED,
        libvirt.VIR_ERR_INTERNAL_ERROR,
    }
)


def ask(domain: libvirt.virDomain) -> GuestInfo | None:
    """None if no agent answers. May raise libvirtError for anything else."""
    try:
        # libvirt's own default is to wait for ever.
        domain.agentSetResponseTimeout(AGENT_SECONDS, 0)
        info = _system(domain)
        interfaces = _interfaces(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() in SILENT:
            return None
        raise
    return GuestInfo(read_os(info), read_addresses(interfaces))


def _system(domain: libvirt.virDomain) -> Mapping[str, Json]:
    try:
        info: Json = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS, 0)
    except libvirt.libvirtError as error:
        if (
            error.get_error_code() in _LACKING
        ):  # an agent without these commands still knows addresses
            return {}
        raise
    return dict(info)


def _interfaces(domain: libvirt.virDomain) -> Mapping[str, Json]:
    try:
        interfaces: Json = domain.interfaceAddresses(_BY_AGENT, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _LACKING:
            return {}
        raise
    return dict(interfaces)


def read_os(info: Mapping[str, Json]) -> dict[str, str]:
    """`status.guestOSInfo` of libvirt's typed parameters; what the guest leaves out is absent."""
    values = {key: text(info.get(name)) for name, key in _OS_KEYS.items()}
    return {key: value for key, value in values.items() if value}


def read_addresses(interfaces: Mapping[str, Json]) -> dict[str, tuple[str, ...]]:
    """IP addresses by MAC in lower case, in the guest's order; loopback is left out."""
    addresses_of: dict[str, tuple[str, ...]] = {}
    for name, interface in list(interfaces.items())[:MAX_INTERFACES]:
        mac = text(interface.get("hwaddr")).lower()
        if name == "lo" or mac == _NO_MAC or not _MAC.fullmatch(mac):
            continue
        listed = tuple(text(address.get("addr")) for address in (interface.get("addrs") or ()))
        addresses = (*addresses_of.get(mac, ()), *filter(_is_address, listed))
        addresses_of[mac] = addresses[:MAX_ADDRESSES]
    return addresses_of


def _is_address(value: str) -> bool:
    try:
        return not ip_address(value).is_loopback and "%" not in value
    except ValueError:
        return False


def text(value: Json) -> str:
    """A guest's string: at most 1 KiB in UTF-8, without control characters."""
    if not isinstance(value, str):
        return ""
    printable = "".join(char for char in value[:MAX_TEXT] if char.isprintable())
    return printable.encode("utf-8", "ignore")[:MAX_TEXT].decode("utf-8", "ignore").strip()
