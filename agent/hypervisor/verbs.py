"""What can be done to a domain. Functions here may raise libvirtError; HostError where they know
better.
"""

from __future__ import annotations

import libvirt
from lxml import etree

from agent.core.host import HostError
from agent.core.metadata import NAMESPACE, PREFIX
from agent.core.model import Json
from agent.hypervisor.xml import parse

_WITH_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)

_RUNS_ALREADY = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INTERNAL_ERROR)
"""What a start of an active domain is answered; the second one by the test driver."""


def find(connection: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def define(connection: libvirt.virConnect, xml: str) -> None:
    domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    if domain.autostart():
        domain.setAutostart(0)


def start(connection: libvirt.virConnect, uuid: str, reset_nvram: bool) -> None:
    domain = connection.lookupByUUIDString(uuid)
    try:
        # An active one may still be starting up, for somebody else: libvirt waits for the end.
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_RESET_NVRAM if reset_nvram else 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _RUNS_ALREADY or not domain.isActive():
            raise


def shutdown(connection: libvirt.virConnect, uuid: str) -> None:
    domain = find(connection, uuid)
    if domain is None or not domain.isActive():
        return
    # By default libvirt asks the guest agent first and waits for it.
    flags = 0 if _is_test(connection) else libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
    try:
        domain.shutdownFlags(flags)
    except libvirt.libvirtError as error:
        if not _ended(domain, error):
            raise


def destroy(connection: libvirt.virConnect, uuid: str) -> None:
    domain = find(connection, uuid)
    if domain is None or not domain.isActive():
        return
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if not _ended(domain, error):
            raise


def resume(connection: libvirt.virConnect, uuid: str) -> None:
    domain = find(connection, uuid)
    if domain is None:
        return
    if not _starved(domain):
        return
    try:
        domain.resume()
    except libvirt.libvirtError as error:
        if not _ended(domain, error) and _starved(domain):
            raise


def _starved(domain: libvirt.virDomain) -> bool:
    state: Json = domain.state()
    return tuple(state) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def undefine(connection: libvirt.virConnect, uuid: str) -> None:
    domain = find(connection, uuid)
    if domain is None:
        return
    if domain.isActive():  # libvirt would make it transient
        raise HostError(
            "DomainRunning", f"cannot undefine {domain.name()}: it is running; stop it first"
        )
    try:
        domain.undefineFlags(0 if _is_test(connection) else _WITH_EVERYTHING)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def set_live_metadata(connection: libvirt.virConnect, uuid: str, xml: str) -> None:
    domain = connection.lookupByUUIDString(uuid)
    element = without_namespace(xml)
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        element,
        PREFIX,
        NAMESPACE,
        libvirt.VIR_DOMAIN_AFFECT_LIVE,
    )


def without_namespace(xml: str) -> str:
    """The element with gitvirt's namespace taken off: libvirt puts it on by itself and refuses to
    find it there.
    """
    root = parse(xml)
    for element in root.iter():
        name = etree.QName(element)
        if name.namespace == NAMESPACE:
            element.tag = name.localname
    etree.cleanup_namespaces(root)
    return etree.tostring(root, encoding="unicode")


def _ended(domain: libvirt.virDomain, error: libvirt.libvirtError) -> bool:
    """True if the call failed because the instance ended by itself meanwhile."""
    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
        return True
    return error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and not domain.isActive()


def _is_test(connection: libvirt.virConnect) -> bool:
    """The test driver of libvirt refuses most flags."""
    return bool(connection.getType() == "TEST")
