"""libvirt's errors in the terms of `HostError`."""

from __future__ import annotations

import errno
import os
import re

import libvirt

from agent.core.bridge_helper import advice
from agent.core.host import HostError

_TEMPORARY = {
    libvirt.VIR_ERR_OPERATION_INVALID: "InvalidState",
    libvirt.VIR_ERR_OPERATION_TIMEOUT: "Timeout",
    libvirt.VIR_ERR_RESOURCE_BUSY: "Busy",
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: "GuestAgentNotResponding",
    libvirt.VIR_ERR_AGENT_UNSYNCED: "GuestAgentNotResponding",
    libvirt.VIR_ERR_NO_MEMORY: "OutOfMemory",
    libvirt.VIR_ERR_HOOK_SCRIPT_FAILED: "HookFailed",
}
_PERMANENT = {
    libvirt.VIR_ERR_NO_DOMAIN: "DomainNotFound",
    libvirt.VIR_ERR_NO_STORAGE_POOL: "PoolNotFound",
    libvirt.VIR_ERR_NO_STORAGE_VOL: "VolumeNotFound",
    libvirt.VIR_ERR_NO_NETWORK: "NetworkNotFound",
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: "VolumeExists",
    libvirt.VIR_ERR_DOM_EXIST: "DomainExists",
    libvirt.VIR_ERR_XML_ERROR: "InvalidDefinition",
    libvirt.VIR_ERR_XML_DETAIL: "InvalidDefinition",
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: "InvalidDefinition",
    libvirt.VIR_ERR_INVALID_ARG: "InvalidArgument",
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "Unsupported",
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: "Unsupported",
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: "Unsupported",
    libvirt.VIR_ERR_NO_SUPPORT: "Unsupported",
    libvirt.VIR_ERR_OPERATION_DENIED: "AccessDenied",
    libvirt.VIR_ERR_ACCESS_DENIED: "AccessDenied",
}
_LINK = frozenset(
    {
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
        libvirt.VIR_ERR_NO_SERVER,
        libvirt.VIR_ERR_NO_CLIENT,
    }
)
_UNRESOLVED = ("Could not resolve hostname", "Unable to resolve address")
"""What ssh and libvirt say of a host name that leads nowhere."""
_LINK_DOMAINS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})


_STAMP = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z ")
"""How QEMU begins its messages. The same failure reads the same when it happens again."""


def unsupported(error: libvirt.libvirtError) -> bool:
    """True if the driver lacks the function altogether."""
    return bool(error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT)


def translate(error: libvirt.libvirtError, doing: str) -> HostError:
    """The same failure as a HostError; `doing` continues the sentence "cannot …"."""
    code = error.get_error_code()
    said = _STAMP.sub("", error.get_error_message() or str(error)).strip()
    message = f"cannot {doing}: {said}"
    if code in _PERMANENT:
        return HostError(_PERMANENT[code], message, retry=False)
    if any(words in said for words in _UNRESOLVED):
        hint = "no host of that name is known: is it spelt right?"
        return HostError("HostNotFound", f"{message}; {hint}")
    if code in _LINK or error.get_error_domain() in _LINK_DOMAINS:
        hint = "is libvirtd running there, and may this user connect to it?"
        return HostError("HostUnreachable", f"{message}; {hint}")
    if code in _TEMPORARY:
        return HostError(_TEMPORARY[code], message)
    if os.strerror(errno.ENOSPC) in said:
        return HostError("NoSpace", f"{message}; free space in the storage pool or enlarge it")
    if 'write" lock' in said:
        return HostError("DiskInUse", f"{message}; another virtual machine has this disk open")
    helper = advice(said)
    if helper:
        return HostError("BridgeNotAllowed", f"{message}; {helper}")
    return HostError("HypervisorError", message)
