"""What the host shows of a VM, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from agent.core.domain_text import DomainText
from agent.core.domain_xml import Copy, copies
from agent.core.host import RawDomain
from agent.core.metadata import DomainMetadata
from agent.core.schema import Kind
from agent.core.xml import Element, first
from agent.kinds.virtual_machine.definition import DEVICES, DomainFacts, read
from agent.kinds.virtual_machine.elements.channels import agent_connected
from agent.kinds.virtual_machine.elements.disks import Disks, bases
from agent.kinds.virtual_machine.provisioning import MEDIA
from agent.kinds.virtual_machine.wanted import can_be_read_only


@dataclass(frozen=True)
class _Reading:
    facts: DomainFacts
    agent: bool
    block_job: bool
    copies: Mapping[str, Copy]
    bases: Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=256)  # the few that are decided again and again; all would take much memory
def _read(xml: str, rules: Kind) -> _Reading:
    text = DomainText(xml)
    running = text.read_devices(_running, DEVICES)
    return _Reading(_as_meant(read(text), rules), *running)


def _running(root: Element) -> tuple[bool, bool, Mapping[str, Copy], Mapping[str, tuple[str, ...]]]:
    job = first(root, "devices", "disk", "mirror") is not None
    return agent_connected(root), job, copies(root) if job else {}, bases(root)


def _as_meant(facts: DomainFacts, rules: Kind) -> DomainFacts:
    """An earlier version's definition as today's: its spec with the defaults of fields that came
    later, its medium read-only. It means what it meant, so that an upgrade changes nothing.
    """
    memory = facts.metadata
    if memory is None or not memory.spec:
        return facts
    spec = rules.defaulted({"spec": memory.spec})["spec"]
    if spec != memory.spec:
        facts = replace(facts, metadata=replace(memory, spec=spec))
    writable = {disk for disk in facts.disks.disks if disk.serial in MEDIA and not disk.readonly}
    if not writable or not can_be_read_only(spec):
        return facts
    meant = (
        replace(disk, readonly=True) if disk in writable else disk for disk in facts.disks.disks
    )
    return replace(facts, disks=Disks(tuple(meant)))


@dataclass(frozen=True)
class Seen:
    """What the host shows of a VM. `raw` is None while there is no domain."""

    raw: RawDomain | None
    defined: DomainFacts | None = None
    """The definition that the next start uses."""
    active: DomainFacts | None = None
    """The definition that runs."""
    agent: bool = False
    """True if the running guest's agent has opened its channel."""
    copies: Mapping[str, Copy] = field(default_factory=dict)
    """Disks that are being copied, by serial number."""
    block_job: bool = False
    """True while a backup or copy of a disk is under way."""
    bases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files below the one that each disk of the running instance lies on, by serial number."""

    @property
    def memory(self) -> DomainMetadata | None:
        """What the domain remembers."""
        return self.defined.metadata if self.defined else None

    @property
    def running(self) -> DomainMetadata | None:
        """What the running instance was started with."""
        return self.active.metadata if self.active else None


def seen(raw: RawDomain | None, rules: Kind) -> Seen:
    if raw is None:
        return Seen(None)
    defined = _read(raw.inactive_xml, rules).facts if raw.inactive_xml else None
    if not raw.active_xml:
        return Seen(raw, defined)
    active = _read(raw.active_xml, rules)
    return Seen(
        raw, defined, active.facts, active.agent, active.copies, active.block_job, active.bases
    )
