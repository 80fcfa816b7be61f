"""How a migration gets on, as libvirt tells of it on both hosts."""

from __future__ import annotations

from typing import Any

import libvirt

from agent.core.domain_xml import parse
from agent.core.identity import domain_name
from agent.core.model import Json
from tests.rig import vm_key
from tests.system.fleet import Fleet

PAGE = 4096
SAME = (
    "vcpu",
    "cpu/model",
    "cpu/topology",
    "devices/disk/serial",
    "devices/disk/target",
    "devices/interface/mac",
)
"""What both copies of a machine have in common, whatever the host adds."""


def waits_beside(fleet: Fleet, source: str, target: str) -> bool:
    """True once a copy of the machine waits on the target while it runs on the source, with the same hardware."""
    here, there = _domain(fleet, source), _domain(fleet, target)
    if here is None or there is None:
        return False
    states = (_state(here), _state(there))
    if states != (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED):
        return False
    assert _hardware(here) == _hardware(there)
    return True


def told(fleet: Fleet, target: str) -> dict[str, Any]:
    """What libvirt has to say of it once it is over. That is told once."""
    domain = _domain(fleet, target)
    assert domain is not None
    stats: Json = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    return dict(stats)


def _domain(fleet: Fleet, node: str) -> libvirt.virDomain | None:
    try:
        return libvirt.open(fleet.machine(node).uri).lookupByName(domain_name(vm_key()))
    except libvirt.libvirtError:
        return None


def _state(domain: libvirt.virDomain) -> int:
    state: Json = domain.state()
    return int(state[0])


def _hardware(domain: libvirt.virDomain) -> list[list[tuple[Any, str | None]]]:
    root = parse(domain.XMLDesc(0))
    return [[(dict(each.attrib), each.text) for each in root.iterfind(path)] for path in SAME]
