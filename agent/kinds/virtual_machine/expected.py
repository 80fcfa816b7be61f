"""What the definition of a VM's domain should be, and how what is there differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from agent.core.changes import Change, Disposition
from agent.core.drift import DEFINITION, INSTANCE, Drift, Edit
from agent.core.identity import console_log, domain_name
from agent.core.metadata import DomainMetadata
from agent.kinds.virtual_machine import files, wiring
from agent.kinds.virtual_machine.addresses import address_of
from agent.kinds.virtual_machine.defaults import CLASS
from agent.kinds.virtual_machine.definition import (
    NAMES,
    DomainFacts,
    differing,
    expect,
    slots,
)
from agent.kinds.virtual_machine.edits import MEDIUM, device, edits
from agent.kinds.virtual_machine.elements import interfaces
from agent.kinds.virtual_machine.elements.disks import Disks, plugged, without
from agent.kinds.virtual_machine.elements.firmware import machine
from agent.kinds.virtual_machine.elements.interfaces import Interfaces
from agent.kinds.virtual_machine.networks import called
from agent.kinds.virtual_machine.provisioning import MEDIA
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import MAIN, MachineSpec, machine_spec, networks
from agent.kinds.virtual_machine.wanted import (
    LEGACY,
    Device,
    Wanted,
    can_be_plugged,
    can_be_read_only,
)

DISK_FIELDS = ("blockDeviceRefs", "provisioning", "enableParavirtualization")
"""Fields without which one cannot say what disks an instance with another spec should have."""
DEVICE_WORDS = {
    "VirtualDisk": "disk",
    "VirtualImage": "image",
    "ClusterVirtualImage": "cluster image",
}
"""What people call a device of each kind."""
METADATA = "readable metadata"


def expected(case: Situation, memory: DomainMetadata) -> DomainFacts:
    """The definition that the next start should use. Everything that it needs is there."""
    facts = _facts(case, memory, machine_spec(case.vm.spec), _there(case))
    return replace(facts, disks=attached(case, facts, memory))


def attached(case: Situation, facts: DomainFacts, memory: DomainMetadata) -> Disks:
    """The disks of a definition, each on the file that it lies on, with those that are attached
    beside and without those that are not any more.
    """
    there = files.lying(case.seen)
    wanted = {entry.serial for entry in memory.attachments}
    recorded = case.seen.memory.attachments if case.seen.memory else ()
    gone = {entry.serial for entry in recorded} - wanted
    gone -= {device.serial for device in case.needs.devices}
    disks = plugged(without(facts.disks, gone), case.attachments.devices, slots(_there(case)).disks)
    kept = [
        there[serial]
        for serial in case.attachments.kept
        if serial in there and not any(disk.serial == serial for disk in disks.disks)
    ]
    return files.keep(Disks((*disks.disks, *kept)), there, _left(case))


def connected(case: Situation, there: DomainFacts, memory: DomainMetadata) -> Interfaces:
    """The interfaces of a definition, as far as networks have come and gone since it was made."""
    before = case.seen.memory.spec if case.seen.memory else {}
    if networks(before) == networks(memory.spec) or not before:
        return there.interfaces
    return interfaces.connected(
        case.cabling.wires(memory.spec, address_of(memory)),
        machine_spec(memory.spec),
        there.firmware.machine,
        slots(_there(case)).interfaces,
    )


def _left(case: Situation) -> Mapping[str, str]:
    """The file that each disk has been moved from, by serial number."""
    devices = (*case.needs.devices, *case.attachments.devices)
    return {each.serial: each.instead_of for each in devices if each.instead_of}


def _rewired(case: Situation, defined: DomainFacts, wanted: DomainFacts) -> bool:
    """True if all that is to become of the interfaces is that they lead where their settings say by
    now.
    """
    if case.report_only or defined.interfaces == wanted.interfaces or wanted.metadata is None:
        return False
    macs = case.cabling.by_setting(wanted.metadata.spec)
    return interfaces.led(defined.interfaces, wanted.interfaces, macs) == wanted.interfaces


def _moves(case: Situation, defined: DomainFacts) -> bool:
    """True if the definition has a disk on the file that it has been moved from."""
    left = _left(case)
    return any(left.get(disk.serial) == disk.path for disk in defined.disks.disks)


def with_edits(case: Situation, wanted: DomainFacts) -> DomainFacts:
    """The wanted definition with all that it does not change left as it is, also where people
    changed that by hand.
    """
    defined, present = case.seen.defined, files.present(case.seen)
    if defined is None:
        return wanted
    changed = _changed(case, defined, wanted)
    left = {name: getattr(present, name) for name in NAMES if name not in changed}
    return replace(wanted, **left)


def _changed(case: Situation, defined: DomainFacts, wanted: DomainFacts) -> frozenset[str]:
    """Elements that the manifest, or what it refers to, changes since the domain was defined."""
    memory = defined.metadata
    if memory is None:
        return frozenset()
    before, after = memory.spec, case.sealed
    older = _older(case, defined) or _moves(case, defined)
    others = wanted.metadata is not None and wanted.metadata.attachments != memory.attachments
    moved = address_of(wanted.metadata) != address_of(memory)
    rewired = _rewired(case, defined, wanted)
    if before == after and not older and not others and not moved and not rewired:
        return frozenset()
    facts = _facts(case, memory, machine_spec({**case.vm.spec, **before}), _there(case))
    facts = replace(facts, disks=attached(case, facts, wanted.metadata or memory))
    changed = set(differing(facts, wanted))
    if rewired:
        changed.add("interfaces")
    if older or others or any(before.get(name) != after.get(name) for name in DISK_FIELDS):
        changed.add("disks")
    if before.get(CLASS) != after.get(CLASS):  # which says what CPU it should have
        changed.add("cpu")
    return frozenset(changed)


def _facts(
    case: Situation,
    memory: DomainMetadata,
    spec: MachineSpec,
    there: tuple[DomainFacts, ...],
) -> DomainFacts:
    """What a spec asks for, on the machine and with devices in the places that are there."""
    assert case.needs.cpu is not None  # noqa: S101  # asked only when all is ready
    medium = medium_device(case, spec)
    return expect(
        Wanted(
            name=domain_name(case.vm.key),
            uuid=case.uuid,
            metadata=memory,
            spec=spec,
            node=case.at.node,
            cpu=case.needs.cpu,
            devices=(*case.needs.devices, medium) if medium else case.needs.devices,
            wires=case.cabling.wires(spec, address_of(memory)),
            console_log=case.at.path(console_log(case.fleet, case.vm.uid)),
            machine=machine(
                spec["osType"] == LEGACY,
                case.at.node,
                (facts.firmware.machine for facts in there),
            ),
            slots=slots(there),
        )
    )


def _there(case: Situation) -> tuple[DomainFacts, ...]:
    """What the VM is now: the next start's definition, and the running instance's."""
    definitions = (case.seen.defined, case.seen.active)
    return tuple(facts for facts in definitions if facts is not None)


def medium_device(case: Situation, spec: MachineSpec) -> Device | None:
    """The device of the medium that the guest configures itself from."""
    medium = case.needs.medium
    if medium is None:
        return None
    path = case.at.path(medium.volume(case.fleet, case.vm.uid)) if medium.known else ""
    if not path and case.seen.defined:  # it cannot be made again: the present one stays
        disks = case.seen.defined.disks.disks
        path = next((disk.path for disk in disks if disk.serial == medium.serial), "")
    if not path:
        return None
    read_only = medium.sysprep or can_be_read_only(spec)
    return Device(path, "raw", medium.serial, readonly=read_only, cdrom=medium.sysprep, medium=True)


def drift(case: Situation, facts: DomainFacts, pending: tuple[Change, ...] = ()) -> Drift:
    """What differs from what was applied, as far as nobody asked for a change of it. `pending` are
    the changes that wait for a restart.
    """
    if case.seen.block_job:
        return Drift()
    devices = _devices(case)
    defined = tuple(_defined(case, facts, devices))
    left = [(edit.path, edit.found) for edit in defined if edit.disposition is Disposition.NONE]
    active = tuple(
        replace(edit, disposition=Disposition.NONE) if (edit.path, edit.found) in left else edit
        for edit in _active(case, devices, pending)
    )
    moved = files.told(case.seen, case.fleet, case.at)
    if case.seen.raw is not None and case.seen.raw.managed_save:
        moved += (
            "It has a saved state (`virsh managedsave-remove` drops it, a start goes on from it).",
        )
    return Drift((*defined, *active), moved)


def _devices(case: Situation) -> dict[str, str]:
    """What people call each device, by what tells it apart."""
    named = {
        device.serial: f"{DEVICE_WORDS[ref['kind']]} {ref['name']}"
        for ref, device, _ in case.needs.listed
    }
    beside = {
        each.device.serial: f"{DEVICE_WORDS[each.key.kind]} {each.key.name}"
        for each in case.attachments.ready
        if each.device is not None
    }
    additional = (network for network in networks(case.vm.spec) if network["type"] != MAIN)
    interfaces = {case.cabling.mac(network): called(network) for network in additional}
    return {**named, **beside, **interfaces, **dict.fromkeys(MEDIA, MEDIUM)}


def _defined(case: Situation, facts: DomainFacts, devices: Mapping[str, str]) -> Iterator[Edit]:
    present, memory = case.seen.defined, case.seen.memory
    how = Disposition.NONE if case.report_only else Disposition.IMMEDIATE
    if present is None:
        if case.seen.raw is not None:
            yield Edit(DEFINITION, "definition", True, None, Disposition.IMMEDIATE)
        return
    if memory is None:
        yield Edit(DEFINITION, METADATA, True, None, Disposition.IMMEDIATE)
    changed = _changed(case, present, facts)
    names = [name for name in NAMES if name not in changed]
    yield from edits(DEFINITION, facts, present, names, devices, how)


def _older(case: Situation, defined: DomainFacts) -> bool:
    """True if the definition still has an older medium: its Secret was changed, not the domain."""
    medium = case.needs.medium
    if medium is None:
        return _for_the_network_alone(defined)
    if not medium.known:
        return False
    paths = [disk.path for disk in defined.disks.disks if disk.serial == medium.serial]
    return paths != [case.at.path(medium.volume(case.fleet, case.vm.uid))]


def _for_the_network_alone(facts: DomainFacts) -> bool:
    """True for a definition with a medium that its manifest did not ask for."""
    memory = facts.metadata
    asked = memory is None or memory.spec.get("provisioning")
    return not asked and any(disk.serial in MEDIA for disk in facts.disks.disks)


def _active(
    case: Situation, devices: Mapping[str, str], pending: tuple[Change, ...]
) -> Iterator[Edit]:
    """Edits of the running instance."""
    active, memory = case.seen.active, case.seen.running
    if active is None or case.running is None or case.running.starting:
        return
    if memory is None:
        yield Edit(INSTANCE, METADATA, True, None, Disposition.IMMEDIATE)
        return
    if not memory.spec:
        return
    spec = {**case.vm.spec, **wiring.said(case, memory, pending)}
    wanted = _facts(case, memory, machine_spec(spec), (active,))
    # what is attached comes and goes without a restart
    beside = {entry.serial for entry in memory.attachments} | case.attachments.serials
    if not memory.spec.get("provisioning"):  # a medium is there for the network alone, or is not
        beside |= {*MEDIA}
    wanted = replace(wanted, disks=without(wanted.disks, beside))
    active = replace(active, disks=without(active.disks, beside))
    comparable = _comparable(case, memory, active, wanted)
    same_disks = all(memory.spec.get(name) == case.sealed.get(name) for name in DISK_FIELDS)
    names = [name for name in NAMES if name != "disks" or same_disks]
    plugged = _plugged(case, memory, wanted, active, devices)
    for edit in edits(INSTANCE, wanted, comparable, names, devices, Disposition.RESTART):
        at_once = edit.path in plugged
        yield replace(edit, disposition=Disposition.IMMEDIATE) if at_once else edit


def _plugged(
    case: Situation,
    memory: DomainMetadata,
    wanted: DomainFacts,
    active: DomainFacts,
    devices: Mapping[str, str],
) -> frozenset[str]:
    """Paths of the interfaces that somebody has plugged in or unplugged, and that is undone
    without a restart.
    """
    if case.report_only or not can_be_plugged(memory.spec):
        return frozenset()
    before, after = (
        {interface.mac for interface in facts.interfaces.interfaces} for facts in (wanted, active)
    )
    return frozenset(device(mac, "interfaces", devices) for mac in before ^ after)


def _comparable(
    case: Situation, memory: DomainMetadata, active: DomainFacts, wanted: DomainFacts
) -> DomainFacts:
    """The running definition without what libvirt expands at a start, and without disk sources."""
    cpu = replace(
        active.cpu,
        mode=wanted.cpu.mode,
        model=wanted.cpu.model,
        features=wanted.cpu.features,
    )
    sources = {disk.serial: disk for disk in wanted.disks.disks}
    disks = tuple(
        files.on(disk, sources[disk.serial]) if disk.serial in sources else disk
        for disk in active.disks.disks
    )
    there = interfaces.as_asked(active.interfaces, wanted.interfaces)
    if not case.report_only:  # where its setting leads by now is no edit of anybody's
        there = interfaces.led(there, wanted.interfaces, case.cabling.by_setting(memory.spec))
    return replace(active, cpu=cpu, firmware=wanted.firmware, disks=Disks(disks), interfaces=there)
