"""All that a decision about one VM looks at, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from agent.core.changes import sealed
from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.identity import domain_name
from agent.core.jobs import IDLE, Job
from agent.core.ledger import is_redacted
from agent.core.metadata import DomainMetadata
from agent.core.model import Json, Object
from agent.core.schema import Kind
from agent.kinds.local import Place
from agent.kinds.virtual_machine.definition import DomainFacts, parse, read
from agent.kinds.virtual_machine.dependencies import Dependencies, all_there, dependencies
from agent.kinds.virtual_machine.elements.channels import agent_connected
from agent.kinds.virtual_machine.power import Running

REPORT_ONLY = "gitvirt.io/drift"


@dataclass(frozen=True)
class _Reading:
    facts: DomainFacts
    agent: bool
    block_job: bool


@lru_cache(maxsize=256)  # the few that are decided again and again; all would take much memory
def _read(xml: str, rules: Kind) -> _Reading:
    root = parse(xml)
    job = root.find("devices/disk/mirror") is not None
    return _Reading(_as_meant(read(root), rules), agent_connected(root), job)


def _as_meant(facts: DomainFacts, rules: Kind) -> DomainFacts:
    """An earlier version's spec with the defaults of fields that came later: it means what it
    meant, so that an upgrade changes nothing.
    """
    memory = facts.metadata
    if memory is None or not memory.spec:
        return facts
    spec = rules.defaulted({"spec": memory.spec})["spec"]
    return replace(facts, metadata=replace(memory, spec=spec))


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
    block_job: bool = False
    """True while a backup or copy of a disk is under way."""

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
    return Seen(raw, defined, active.facts, active.agent, active.block_job)


def foreign(vm: Object, shown: Seen, taken: str | None, uuid: str, view: View) -> str:
    """Why the domain of that name is not this VM's; empty if it is, or if there is none."""
    fleet = view.setting("fleet")
    name = domain_name(vm.key)
    if taken is not None and taken != uuid:
        return (
            f"The host has a domain {name} that gitvirt did not make: rename or remove it, or "
            "give the VirtualMachine another name."
        )
    if shown.raw is None:
        return ""
    memory = shown.memory or shown.running
    if memory is not None and memory.fleet != fleet:
        return f"Its domain belongs to fleet {memory.fleet}."
    # instances are listed once this fleet has defined the domain
    if memory is None and not view.previous(vm.key).get("virtualMachinePods"):
        return "The host has a domain with its UUID that carries no metadata of gitvirt's."
    if shown.raw.name != name:
        return (
            f"Its domain was renamed to {shown.raw.name}: "
            f"`virsh domrename` gives it back its name {name}."
        )
    return ""


@dataclass(frozen=True)
class Situation:
    """One VM that has a node, and everything around it."""

    rules: Kind
    vm: Object
    at: Place
    uuid: str
    fleet: str
    now: float
    seen: Seen
    running: Running | None
    """None while there is no domain."""
    needs: Dependencies
    as_defined: bool
    """True if the domain could start as it is defined, should more be missing for what is wanted.
    """
    sealed: Mapping[str, Json]
    """The wanted spec as metadata holds it."""
    job: Job
    previous: Mapping[str, Json]

    @property
    def policy(self) -> str:
        policy: str = self.vm.spec["runPolicy"]
        return policy

    @property
    def deleted(self) -> bool:
        return bool(self.vm.deleted)

    @property
    def saved(self) -> bool:
        """True while the state of an instance lies on the host: a start goes on with it."""
        return self.seen.raw is not None and self.seen.raw.managed_save

    @property
    def report_only(self) -> bool:
        """True if what people changed by hand is to be shown and left."""
        return self.vm.manifest.annotations.get(REPORT_ONLY) == "report"


def _as_defined(vm: Object, shown: Seen, needs: Dependencies, view: View) -> bool:
    if needs.ready or shown.memory is None or not shown.memory.spec:
        return needs.ready and shown.defined is not None
    return all_there(vm, shown.memory.spec, view)


def situation(rules: Kind, vm: Object, view: View, at: Place, uuid: str, shown: Seen) -> Situation:
    instance = shown.running.instance if shown.running else ""
    needs = dependencies(vm, view)
    return Situation(
        rules=rules,
        vm=vm,
        at=at,
        uuid=uuid,
        fleet=view.setting("fleet"),
        now=view.now,
        seen=shown,
        running=Running(instance, shown.raw) if shown.raw is not None else None,
        needs=needs,
        as_defined=_as_defined(vm, shown, needs, view),
        sealed=_sealed(rules, vm, shown.memory),
        job=view.read("job", vm.key) or IDLE,
        previous=view.previous(vm.key),
    )


def _sealed(rules: Kind, vm: Object, memory: DomainMetadata | None) -> dict[str, Any]:
    """The spec as metadata holds it. Where only a marker of a secret is left, what the domain
    remembers is meant.
    """
    spec = sealed(rules, vm.spec, vm.uid)
    if is_redacted(vm.spec) and memory is not None and "provisioning" in memory.spec:
        spec["provisioning"] = memory.spec["provisioning"]
    return spec
