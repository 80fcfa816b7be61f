"""Reading domains: in bulk where libvirt offers it, and never by a call that waits for a QEMU
process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import libvirt

from agent.core.host import RawDomain
from agent.core.model import Json
from agent.hypervisor.events import Watch
from agent.hypervisor.states import name_state

_INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_ATTEMPTS = 4
_WAITS = 10_000_000
"""libvirt from here on reads no definition while a command waits for the answer of its QEMU
process, and who asks for one waits, too (11.3 does so, 9.0 does not).
"""
_PATIENCE = 1000
"""Milliseconds after which a command counts as one that may never be answered."""


class DomainReader:
    """Reads domains, and hands out the same instance for as long as nothing about a domain changes.

    Both methods may raise libvirtError. `drain` is called after libvirt's answers are in and before
    what events told is added.
    """

    def __init__(self, watch: Watch, drain: Callable[[], None]) -> None:
        self._watch = watch
        self._drain = drain
        self._known: dict[str, RawDomain] = {}

    def read_all(self, connection: libvirt.virConnect) -> dict[str, RawDomain]:
        """Every domain by UUID. One that vanishes meanwhile is left out."""
        saved = _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        transient = _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
        waits = connection.getLibVersion() >= _WAITS
        raws: dict[str, RawDomain] = {}
        for domain, stats in connection.getAllDomainStats(
            libvirt.VIR_DOMAIN_STATS_STATE, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        ):
            uuid = domain.UUIDString()
            state = (stats.get("state.state", 0), stats.get("state.reason", 0))
            known = self._known.get(uuid)
            if waits and _hangs(domain):
                raws[uuid] = _as_known(domain, uuid, known, state)
                continue
            raw = _read_once(domain, uuid, state, uuid not in transient, uuid in saved)
            if raw is None:  # it changed while it was read
                raw = _read_alone(connection, uuid)
            if raw is not None:
                raws[uuid] = raw
        self._drain()
        self._known = {uuid: self._complete(raw) for uuid, raw in raws.items()}
        return dict(self._known)

    def read_one(self, connection: libvirt.virConnect, uuid: str) -> RawDomain | None:
        raw = _read_alone(connection, uuid, self._known.get(uuid))
        self._drain()
        if raw is None:
            self._known.pop(uuid, None)
            return None
        raw = self._known[uuid] = self._complete(raw)
        return raw

    def _complete(self, raw: RawDomain) -> RawDomain:
        if raw.active:
            if rebooted := self._watch.rebooted(raw.uuid):
                raw = replace(raw, rebooted=rebooted)
        elif stopped_by := self._watch.stopped_by(raw.uuid):
            raw = replace(raw, stopped_by=stopped_by)
        known = self._known.get(raw.uuid)
        return known if known is not None and known == raw else raw


def _uuids(connection: libvirt.virConnect, flags: int) -> frozenset[str]:
    return frozenset(domain.UUIDString() for domain in connection.listAllDomains(flags))


def _hangs(domain: libvirt.virDomain) -> bool:
    """True for an instance whose QEMU process has left a command without an answer."""
    if domain.ID() < 0:
        return False
    try:
        control: Json = domain.controlInfo()
    except libvirt.libvirtError:
        return False  # it ended; or the driver has no such processes
    state, _, since = control
    return bool(state == libvirt.VIR_DOMAIN_CONTROL_OCCUPIED and since >= _PATIENCE)


def _as_known(
    domain: libvirt.virDomain, uuid: str, known: RawDomain | None, state: tuple[int, ...]
) -> RawDomain:
    """Its definitions may well be those that are known: nothing but a change that is made now would
    be missed, and that one shows when the process answers or ends.
    """
    name, reason = name_state(state[0], state[1])
    if known is None or not known.active_xml:
        return RawDomain(uuid, domain.name(), name, reason, "", unread=True)
    return replace(known, state=name, reason=reason)


def _read_alone(
    connection: libvirt.virConnect, uuid: str, known: RawDomain | None = None
) -> RawDomain | None:
    waits = connection.getLibVersion() >= _WAITS
    for _ in range(_ATTEMPTS):
        try:
            domain = connection.lookupByUUIDString(uuid)
            persistent = bool(domain.isPersistent())
            saved = persistent and bool(domain.hasManagedSaveImage(0))
            state: Json = domain.state()
            if waits and _hangs(domain):
                return _as_known(domain, uuid, known, tuple(state))
            raw = _read_once(domain, uuid, tuple(state), persistent, saved)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None
        if raw is not None:
            return raw
    return None


def _read_once(
    domain: libvirt.virDomain, uuid: str, state: tuple[int, ...], persistent: bool, saved: bool
) -> RawDomain | None:
    """None if the domain vanished, stopped or started since `domain` and `state` were read."""
    try:
        inactive = domain.XMLDesc(_INACTIVE) if persistent else ""
        active = domain.XMLDesc(0) if domain.ID() >= 0 else ""
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None
    if active and not _has_id(active):  # off by now: this is the inactive definition
        return None
    name, reason = name_state(state[0], state[1])
    if (name == "shutoff") != (not active):
        return None
    return RawDomain(
        uuid=uuid,
        name=domain.name(),
        state=name,
        reason=reason,
        inactive_xml=inactive,
        active_xml=active,
        managed_save=saved,
    )


def _has_id(xml: str) -> bool:
    """True if this is the XML of an instance: only those have an id, in the first tag."""
    return " id=" in xml[: xml.find(">")]
