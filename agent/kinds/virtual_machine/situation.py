"""All that a decision about one VM looks at, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.annotations import DRIFT, REPORT
from agent.core.changes import sealed
from agent.core.facts import View
from agent.core.identity import POOL, QCOW2, domain_name, serial
from agent.core.jobs import Job
from agent.core.ledger import is_redacted
from agent.core.metadata import DomainMetadata
from agent.core.model import Json, Object
from agent.core.schema import Kind
from agent.kinds.local import Place
from agent.kinds.virtual_disk import DiskData, begun
from agent.kinds.virtual_machine.addresses import still_its_own
from agent.kinds.virtual_machine.attachments import NONE, Attachments, attachments
from agent.kinds.virtual_machine.delivery import delivered
from agent.kinds.virtual_machine.dependencies import (
    Dependencies,
    all_there,
    dependencies,
    disks,
    short,
)
from agent.kinds.virtual_machine.evacuation import about_leaving, about_resting
from agent.kinds.virtual_machine.files import hindrance, keeps_back
from agent.kinds.virtual_machine.location import Location
from agent.kinds.virtual_machine.migration.crossing import Crossing
from agent.kinds.virtual_machine.networks import Cabling, cabling
from agent.kinds.virtual_machine.placement import refused
from agent.kinds.virtual_machine.power import Running
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.spec import RunPolicy, machine_spec


def foreign(vm: Object, shown: Seen, taken: str | None, uuid: str, view: View) -> str:
    """Why the domain of that name is not this VM's; empty if it is, or if there is none."""
    fleet = view.fleet
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
    """The node that has its domain, or that is to have it."""
    where: Location
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
    sealed: Mapping[str, object]
    """The wanted spec as metadata holds it."""
    cabling: Cabling
    """Where its interfaces lead."""
    pools: tuple[str, ...]
    """Storage pools that its disks lie in and take space from."""
    job: Job
    previous: Mapping[str, Json]
    kept: str
    """Why the deletion of the VM has to wait, in a sentence; empty where it does not."""
    leaves: str = ""
    """Why it is to leave its node, and what is in the way, in sentences; empty where it may stay.
    """
    attachments: Attachments = NONE
    """Devices beside those that it needs. It goes without those that are not ready."""

    @property
    def way(self) -> Crossing | None:
        """Of a machine that is between two nodes, and does not go on without one of them."""
        way = self.where.way
        return None if way is None or way.settled else way

    @property
    def policy(self) -> RunPolicy:
        return machine_spec(self.vm.spec)["runPolicy"]

    @property
    def deleted(self) -> bool:
        return bool(self.vm.deleted)

    @property
    def leaving(self) -> bool:
        """True if the VM is to go now."""
        return self.deleted and not self.kept

    @property
    def saved(self) -> bool:
        """True while the state of an instance lies on the host: a start goes on with it."""
        return self.seen.raw is not None and self.seen.raw.managed_save

    @property
    def report_only(self) -> bool:
        """True if what people changed by hand is to be shown and left."""
        return self.vm.manifest.annotations.get(DRIFT) == REPORT


def _as_defined(vm: Object, shown: Seen, view: View, at: Place) -> bool:
    memory, defined = shown.memory, shown.defined
    if memory is None or defined is None or not memory.spec:
        return False
    there = {disk.serial for disk in defined.disks.disks}
    restored = [disk for disk in disks(vm, memory.spec) if begun(view.previous(disk))]
    objects = (view.object(disk) for disk in restored)
    if any(obj is not None and serial(obj.uid) not in there for obj in objects):
        return False  # what it is defined with lies in the trash
    return all_there(vm, memory.spec, view, at) and still_its_own(vm, memory, view)


def situation(
    rules: Kind, vm: Object, view: View, where: Location, uuid: str, shown: Seen
) -> Situation:
    at = where.at
    assert at is not None  # noqa: S101  # asked only then
    instance = shown.running.instance if shown.running else ""
    fleet = view.fleet
    attached = attachments(vm, view, at, shown)
    memory = shown.memory.spec if shown.memory else {}
    memories = tuple(each for each in (shown.memory, shown.running) if each is not None)
    specs = (each.spec for each in memories)
    cables = cabling(vm, view, at, vm.spec, *specs, memories=memories)
    needs = hindrance(dependencies(vm, view, at, cables), shown, at, view, attached.serials)
    needs = delivered(needs, vm, cables)
    if shown.raw is None or not shown.raw.active:
        needs = short(needs, refused(vm, view, at.name))
    return Situation(
        rules=rules,
        vm=vm,
        at=at,
        where=where,
        uuid=uuid,
        fleet=fleet,
        now=view.now,
        seen=shown,
        running=Running(instance, shown.raw) if shown.raw is not None else None,
        needs=needs,
        attachments=attached,
        leaves=_leaves(vm, view, at, shown),
        as_defined=needs.ready or (_as_defined(vm, shown, view, at) and not cables.lacking(memory)),
        sealed=_sealed(rules, vm, shown.memory),
        cabling=cables,
        pools=_pools(vm, view),
        job=view.job(vm.key),
        previous=view.previous(vm.key),
        kept=keeps_back(vm, shown, fleet, at) if vm.deleted else "",
    )


def _leaves(vm: Object, view: View, at: Place, shown: Seen) -> str:
    if shown.raw is None:
        return ""
    return (about_leaving if shown.raw.active else about_resting)(vm, view, at.name)


def _pools(vm: Object, view: View) -> tuple[str, ...]:
    """Where nobody knows, it is the one of most."""
    known = (view.export(DiskData, disk) for disk in disks(vm, vm.spec))
    growing = {data.pool for data in known if data is not None and data.format == QCOW2}
    return tuple(sorted(growing)) or (POOL,)


def _sealed(rules: Kind, vm: Object, memory: DomainMetadata | None) -> dict[str, Any]:
    """The spec as metadata holds it. Where only a marker of a secret is left, what the domain
    remembers is meant.
    """
    spec = sealed(rules, vm.spec, vm.uid)
    if is_redacted(vm.spec) and memory is not None and "provisioning" in memory.spec:
        spec["provisioning"] = memory.spec["provisioning"]
    return spec
