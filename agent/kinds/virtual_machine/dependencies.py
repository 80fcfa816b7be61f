"""What a VM needs before it can start: found, or a condition that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.core.facts import View
from agent.core.model import Condition, Key, Object
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.local import Place
from agent.kinds.virtual_image import device_key
from agent.kinds.virtual_machine.addresses import NONE, Address, address
from agent.kinds.virtual_machine.defaults import CLASS
from agent.kinds.virtual_machine.devices import Missing, device
from agent.kinds.virtual_machine.networks import Cabling
from agent.kinds.virtual_machine.provisioning import Medium, provisioning
from agent.kinds.virtual_machine.spec import BlockDeviceRef, MachineSpec, machine_spec
from agent.kinds.virtual_machine.validation import LEGACY_DEVICES
from agent.kinds.virtual_machine.wanted import LEGACY, Device
from agent.kinds.virtual_machine_class import IS_DEFAULT, ClassData, GuestCpu, violations

READY = "BlockDevicesReady"
NOT_READY = "BlockDevicesNotReady"
CLASS_READY = "VirtualMachineClassReady"
CLASS_NOT_READY = "VirtualMachineClassNotReady"
NO_CLASS = (
    "No class is named in spec.virtualMachineClassName, and none is marked as the default one: "
    "name one (`host` and `generic` always exist), or give a VirtualMachineClass the annotation "
    f'{IS_DEFAULT}: "true".'
)
Found = tuple[BlockDeviceRef, Device, int]
"""The reference, the device, its size in bytes."""

ON_THEIR_WAY = "WaitingForTheProvisioningToPersistentVolumeClaim"
"""DVP's reason where all that is missing is being made."""


@dataclass(frozen=True)
class Dependencies:
    """`cpu` is None, or a device is missing from `devices`, where `ready` is False."""

    conditions: tuple[Condition, ...]
    ready: bool
    cpu: GuestCpu | None
    devices: tuple[Device, ...]
    claims: tuple[Key, ...]
    """Disks that an instance has open."""
    waiting: bool
    """True if what is missing is under way."""
    listed: tuple[Found, ...] = ()
    """What was found."""
    medium: Medium | None = None
    """What the guest configures itself from."""
    address: Address = NONE
    """The address of its Main network."""
    shortage: str = ""
    """What the node has too little of, in a sentence; empty if it has enough."""


def dependencies(vm: Object, view: View, at: Place, cabling: Cabling) -> Dependencies:
    """What it needs on the node that it is on, or is to be on."""
    cpu, about_class, sizing = _class(vm, view, at)
    listed, about_devices, waiting = _devices(vm, machine_spec(vm.spec), view, at)
    medium, about_medium = provisioning(vm, view)
    its_address = address(vm, view)
    about_networks = cabling.conditions(vm.spec)
    conditions = (
        its_address.condition,
        about_class,
        about_devices,
        about_medium,
        *about_networks,
        *sizing,
    )
    needed = (
        its_address.condition,
        about_class,
        about_devices,
        about_medium,
        *about_networks,
        *sizing,
    )
    shortage = _shortage(vm, at)
    return Dependencies(
        conditions=conditions,
        ready=not shortage and all(condition.status == "True" for condition in needed),
        cpu=cpu,
        devices=tuple(device for _, device, _ in listed),
        listed=listed,
        medium=medium,
        claims=disks(vm, vm.spec),
        waiting=waiting or its_address.waiting,
        address=its_address,
        shortage=shortage,
    )


def blocked(needs: Dependencies, message: str) -> Dependencies:
    """The same needs with block devices that are there and cannot be used."""
    conditions = tuple(
        Condition(READY, "False", NOT_READY, message) if condition.type == READY else condition
        for condition in needs.conditions
    )
    return replace(needs, conditions=conditions, ready=False, waiting=False)


def short(needs: Dependencies, shortage: str) -> Dependencies:
    """The same needs, of a VM that its node has no room for: nothing if it has."""
    return replace(needs, shortage=shortage, ready=False) if shortage else needs


def _shortage(vm: Object, at: Place) -> str:
    """Memory that the node does not have, whoever else is on it. Cores can be shared."""
    size = to_bytes(machine_spec(vm.spec)["memory"]["size"])
    if size <= at.node.memory:
        return ""
    return (
        f"Node {at.name} has {format_bytes(at.node.memory)} of memory in all, too little for a "
        f"machine of {format_bytes(size)}: make spec.memory.size smaller."
    )


def _class(
    vm: Object, view: View, at: Place
) -> tuple[GuestCpu | None, Condition, tuple[Condition, ...]]:
    spec = machine_spec(vm.spec)
    name = spec.get(CLASS, "")
    if not name:
        return None, Condition(CLASS_READY, "False", CLASS_NOT_READY, NO_CLASS), ()
    key = Key("VirtualMachineClass", "", name)
    data = view.export(ClassData, key)
    if data is None:
        there = view.object(key)
        message = f"VirtualMachineClass {name} is not ready: see its conditions."
        if there is None:
            message = (
                f"VirtualMachineClass {name} is not there: create it, or name another "
                "one in spec.virtualMachineClassName."
            )
        elif there.deleted:
            message = (
                f"VirtualMachineClass {name} is being deleted: its manifest is gone. Put it "
                "back, or name another one in spec.virtualMachineClassName."
            )
        return None, Condition(CLASS_READY, "False", CLASS_NOT_READY, message), ()
    guest_cpu = data.cpus.get(at.name)
    if guest_cpu is None:
        message = (
            f"Node {at.name} cannot give guests the CPU of VirtualMachineClass {name}: name "
            "another one in spec.virtualMachineClassName."
        )
        return None, Condition(CLASS_READY, "False", CLASS_NOT_READY, message), ()
    cpu = spec["cpu"]
    wrong = violations(
        data.sizing_policies, cpu["cores"], cpu["coreFraction"], to_bytes(spec["memory"]["size"])
    )
    ready = Condition(CLASS_READY, "True", CLASS_READY)
    if not wrong:
        return guest_cpu, ready, ()
    message = (
        f"The size does not fit the sizing policy of VirtualMachineClass {name}: "
        f"{'; '.join(wrong)}."
    )
    return (
        guest_cpu,
        ready,
        (Condition("SizingPolicyMatched", "False", "SizingPolicyNotMatched", message),),
    )


def all_there(vm: Object, spec: Mapping[str, object], view: View, at: Place) -> bool:
    """True if the VM could open all block devices of a spec now."""
    return _devices(vm, machine_spec(spec), view, at)[1].status == "True"


def disks(vm: Object, spec: Mapping[str, object]) -> tuple[Key, ...]:
    """The disks in a spec of the VM."""
    refs = machine_spec(spec).get("blockDeviceRefs", ())
    return tuple(_key(vm, ref) for ref in refs if ref["kind"] == "VirtualDisk")


def _key(vm: Object, ref: BlockDeviceRef) -> Key:
    return device_key(vm.key.namespace, ref["kind"], ref["name"])


def images(vm: Object, spec: Mapping[str, object]) -> tuple[Key, ...]:
    """The images in a spec of the VM."""
    refs = machine_spec(spec).get("blockDeviceRefs", ())
    return tuple(_key(vm, ref) for ref in refs if ref["kind"] != "VirtualDisk")


def _devices(
    vm: Object, spec: MachineSpec, view: View, at: Place
) -> tuple[tuple[Found, ...], Condition, bool]:
    refs = spec["blockDeviceRefs"]
    explicit = any("bootOrder" in ref for ref in refs)
    listed: list[Found] = []
    missing: list[Missing] = []
    for position, ref in enumerate(refs, 1):
        boot = ref.get("bootOrder", 0) if explicit else position
        found = device(vm, spec, _key(vm, ref), boot, view, at)
        if isinstance(found, Missing):
            missing.append(found)
        else:
            listed.append((ref, *found))
    cdroms = sum(drive.cdrom for _, drive, _ in listed)
    if spec["osType"] == LEGACY and cdroms > LEGACY_DEVICES:
        problem = (
            f"A machine of osType Legacy has room for {LEGACY_DEVICES} CD-ROMs, not {cdroms}: "
            "take some out of spec.blockDeviceRefs."
        )
        missing.append(Missing(problem))
    if not missing:
        return tuple(listed), Condition(READY, "True", READY), False
    waiting = all(lack.under_way for lack in missing)
    count = f" ({len(listed)} of {len(refs)} block devices are ready.)" if len(refs) > 1 else ""
    reason = ON_THEIR_WAY if waiting else NOT_READY
    message = missing[0].problem + count
    return tuple(listed), Condition(READY, "False", reason, message), waiting
