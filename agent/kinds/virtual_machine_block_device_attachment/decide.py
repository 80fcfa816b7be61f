"""Decide about one attachment: whether it may be, and how far it is. The order in which it is asked
what stands in the way is that of Deckhouse Virtualization Platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.facts import Decision, View
from agent.core.known import MACHINE_OF, PLUGGED, STATUS
from agent.core.model import Condition, Json, Key, Object
from agent.core.progress import Plugged
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_image import ImageData, device_key
from agent.kinds.virtual_machine_block_device_attachment.rank import MOST_DEVICES, has_room, rival
from agent.kinds.virtual_machine_block_device_attachment.spec import attachment_spec

VM = "VirtualMachine"
ON = ("Running", "Migrating")
DEVICE, MACHINE = "BlockDeviceReady", "VirtualMachineReady"
CAPACITY, ATTACHED = "DiskAttachmentCapacityAvailableType", "Attached"
NO_BUS = (
    "{0} takes no devices while it runs: it has osType Legacy or no paravirtualization. List the "
    "device in its spec.blockDeviceRefs instead."
)


@dataclass(frozen=True)
class Wish:
    """A device that a VM is to have."""

    device: Key


@dataclass(frozen=True)
class _Case:
    attachment: Object
    device: Key
    vm: Key
    machine: Object | None
    plugged: Plugged | None

    @property
    def present(self) -> bool:
        return self.plugged is not None and self.plugged.present

    @property
    def hindrance(self) -> str:
        return self.plugged.hindrance if self.plugged else ""


def decide(attachment: Object, view: View) -> Decision:
    spec = attachment_spec(attachment.spec)
    ref, namespace = spec["blockDeviceRef"], attachment.key.namespace
    vm = Key(VM, namespace, spec["virtualMachineName"])
    case = _Case(
        attachment,
        device_key(namespace, ref["kind"], ref["name"]),
        vm,
        view.object(vm),
        view.read(PLUGGED, attachment.key),
    )
    said = MACHINE_OF.states(attachment.key, vm)
    if attachment.deleted:
        return _leaving(case, view.previous(attachment.key), said)
    reason = _refused(case, view)
    if reason:
        told = _conditions(case, view, Condition(ATTACHED, "False", *reason))
        return Decision(status={"phase": "Failed", "conditions": told}, ok=False)
    room = case.machine is None or _has_room(case, view)
    status, waiting = _status(case, view, room=room)
    return Decision(
        status=status,
        export=Wish(case.device) if room else None,
        publish=said,
        waiting=waiting,
        ok=case.present,
    )


def _leaving(case: _Case, previous: Mapping[str, Json], said: Any) -> Decision:
    """It goes once the running instance does not have the device any more."""
    unseen = case.plugged is None and case.machine is not None
    was = previous.get("virtualMachineName", "")
    if not case.present and not (unseen and was):
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = case.hindrance or f"{case.device} is being detached from {case.vm}."
    if unseen:
        message = f"Nobody can tell whether {case.vm} still has {case.device}: see its conditions."
    status = {
        "phase": "Terminating",
        "virtualMachineName": was,
        "conditions": [Condition("Terminating", "True", "DetachPending", message)],
    }
    return Decision(status=status, publish=said, waiting=not case.hindrance, ok=False)


def _refused(case: _Case, view: View) -> tuple[str, str] | None:
    """Reason and message of what somebody has to decide."""
    other = rival(case.attachment, case.device, view)
    if other is not None:
        return "Conflict", f"{other} attaches {case.device} already: delete one of the two."
    if case.machine is None:
        return None
    if case.device in _listed(case.machine):
        message = f"{case.vm} lists {case.device} in its spec.blockDeviceRefs: it has it already."
        return "Conflict", message
    if case.present:
        return None  # the instance goes on as it was started
    spec = case.machine.spec
    if not spec.get("enableParavirtualization", True) or spec.get("osType") == "Legacy":
        return "NotAttached", NO_BUS.format(case.vm)
    return None


def _listed(machine: Object) -> list[Key]:
    refs: Json = machine.spec.get("blockDeviceRefs", ())
    return [device_key(machine.key.namespace, ref["kind"], ref["name"]) for ref in refs]


def _has_room(case: _Case, view: View) -> bool:
    assert case.machine is not None  # noqa: S101  # asked only then
    return has_room(case.attachment, case.machine, len(_listed(case.machine)), view)


def _status(case: _Case, view: View, *, room: bool) -> tuple[dict[str, Any], bool]:
    """The status, and whether it gets somewhere by itself."""
    device, machine = _device(case, view), _machine(case, view)
    if case.present:
        told = Condition(ATTACHED, "True", ATTACHED, case.hindrance)
        status = {
            "phase": "Attached",
            "virtualMachineName": case.vm.name,
            "conditions": _conditions(case, view, told),
        }
        return status, False
    waits = next((each.message for each in (device, machine) if each.status != "True"), "")
    if not waits and not room:
        waits = _full(case)
    if waits:
        told = Condition(ATTACHED, "False", "NotAttached", waits)
        status = {"phase": "Pending", "conditions": _conditions(case, view, told, room=room)}
        return status, view.under_way(case.device) or view.under_way(case.vm)
    message = case.hindrance or f"{case.device} is being attached to {case.vm}."
    told = Condition(ATTACHED, "False", "AttachmentRequestSent", message)
    status = {"phase": "InProgress", "conditions": _conditions(case, view, told)}
    return status, not case.hindrance


def _full(case: _Case) -> str:
    return (
        f"{case.vm} has {MOST_DEVICES} devices already, which is as many as it can have: take one "
        "out of its spec.blockDeviceRefs, or delete another attachment."
    )


def _conditions(
    case: _Case, view: View, attached: Condition, *, room: bool = True
) -> list[Condition]:
    capacity = Condition(CAPACITY, "True", "CapacityAvailable")
    if case.machine is None:
        capacity = Condition(CAPACITY, "Unknown", "CapacityUnknown")
    elif not room:
        capacity = Condition(CAPACITY, "False", "CapacityReached", _full(case))
    return [_device(case, view), _machine(case, view), capacity, attached]


def _device(case: _Case, view: View) -> Condition:
    key = case.device
    if view.export(DiskData, key) is not None or view.export(ImageData, key) is not None:
        return Condition(DEVICE, "True", DEVICE)
    what = "is not there: it is attached as soon as it is."
    if view.object(key) is not None:
        what = "is not ready yet: see its conditions."
    return Condition(DEVICE, "False", "BlockDeviceNotReady", f"{key} {what}")


def _machine(case: _Case, view: View) -> Condition:
    if case.machine is None:
        message = f"{case.vm} is not there: {case.device} is attached once it runs."
        return Condition(MACHINE, "False", "VirtualMachineNotReady", message)
    phase = (view.read(STATUS, case.vm) or {}).get("phase") or "Pending"
    if phase in ON:
        return Condition(MACHINE, "True", MACHINE)
    message = f"{case.vm} is {phase}: {case.device} is attached once it runs."
    return Condition(MACHINE, "False", "VirtualMachineNotReady", message)
