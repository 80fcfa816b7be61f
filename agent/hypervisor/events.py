"""libvirt's events: what they tell the next reading, and whom they wake."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import libvirt

from agent.hypervisor.errors import unsupported

log = logging.getLogger("gitvirt")

_PLAIN = (
    (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, "agent"),
    (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, "metadata"),
    (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, "device"),
    (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "device"),
    (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, "device"),
    (libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, "device"),
    (libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, "tray"),
    (libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB, "block-job"),
)
_STOPPED_BY = {
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST: "guest",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST: "host",
}


class Watch:
    """Remembers of each domain what only events tell, and calls `notify(uuid, what)` for every
    event of a domain, `changed(name)` for every one of a network.

    What it remembers is of one connection: with events lost in between it would be a guess.
    """

    def __init__(self, notify: Callable[[str, str], None], changed: Callable[[str], None]) -> None:
        self._notify, self._changed = notify, changed
        self._lock = threading.Lock()
        self._stopped_by: dict[str, str] = {}
        self._rebooted: dict[str, float] = {}

    def register(self, connection: libvirt.virConnect) -> None:
        """Watch a new connection and forget the old one. May raise libvirtError."""
        with self._lock:
            self._stopped_by.clear()
            self._rebooted.clear()
        watch = connection.domainEventRegisterAny
        watch(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._kept(self._lifecycle), None)
        watch(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._kept(self._reboot), None)
        plain = self._kept(self._plain)
        for event, what in _PLAIN:
            try:
                watch(None, event, plain, what)
            except libvirt.libvirtError as error:
                if not unsupported(error):  # an older libvirtd lacks the newer events
                    raise
        try:
            connection.networkEventRegisterAny(
                None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, self._kept(self._network), None
            )
        except libvirt.libvirtError as error:
            if not unsupported(error):  # a host without any networks
                raise

    def stopped_by(self, uuid: str) -> str:
        return self._stopped_by.get(uuid, "")

    def rebooted(self, uuid: str) -> float:
        return self._rebooted.get(uuid, 0.0)

    def _kept(self, callback: Callable[..., None]) -> Callable[..., None]:
        """An event whose callback raises would be lost: all of the host is read in its place."""

        def call(*event: object) -> None:
            try:
                callback(*event)
            except Exception:
                log.exception("a mistake in gitvirt itself, at an event of libvirt")
                self._notify("", "missed")

        return call

    def _lifecycle(
        self,
        _connection: libvirt.virConnect,
        domain: libvirt.virDomain,
        event: int,
        detail: int,
        _context: object,
    ) -> None:
        uuid = domain.UUIDString()
        with self._lock:
            if event in (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED):
                self._stopped_by.pop(uuid, None)
                self._rebooted.pop(uuid, None)
            elif event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
                self._rebooted.pop(uuid, None)
            elif event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN and detail in _STOPPED_BY:
                # The first one tells the cause: QEMU ends by the host's signal after the guest's
                # own shutdown, too.
                self._stopped_by.setdefault(uuid, _STOPPED_BY[detail])
        self._notify(uuid, "lifecycle")

    def _reboot(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, _context: object
    ) -> None:
        uuid = domain.UUIDString()
        with self._lock:
            self._rebooted[uuid] = time.time()
        self._notify(uuid, "reboot")

    def _plain(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, *details: object
    ) -> None:
        self._notify(domain.UUIDString(), str(details[-1]))

    def _network(
        self, _connection: libvirt.virConnect, network: libvirt.virNetwork, *_details: object
    ) -> None:
        self._changed(network.name())
