"""The kinds in the order in which a pass decides about them: later ones see what earlier ones
decided.
"""

from __future__ import annotations

from agent.core.facts import Decide, Decision, View
from agent.core.model import Object
from agent.core.schema import Catalogue
from agent.kinds.notes import noted
from agent.kinds.suspension import suspendable
from agent.kinds.virtual_disk import plan as _disk
from agent.kinds.virtual_image import plan as _image
from agent.kinds.virtual_machine import plan as _machine
from agent.kinds.virtual_machine_class import plan as _class
from agent.kinds.virtual_machine_operation import plan as _operation

DISK = "VirtualDisk"
VM = "VirtualMachine"
OPERATION = "VirtualMachineOperation"

PASSIVE = ("Node", "StorageClass", "ModuleConfig", "Secret")
"""Kinds that are read by others and do nothing themselves."""

ORDER = {
    name: position
    for position, name in enumerate(
        (
            *PASSIVE,
            "VirtualMachineClass",
            "ClusterVirtualImage",
            "VirtualImage",
            DISK,
            VM,
            OPERATION,
        )
    )
}

KEEPS_DATA = (DISK,)
"""Kinds whose objects go to the trash when their manifest is deleted."""


def decisions(catalogue: Catalogue) -> dict[str, Decide]:
    """How each kind decides."""
    machine = _machine.Planner(catalogue.kinds[VM])
    found: dict[str, Decide] = {
        **dict.fromkeys(PASSIVE, _passive),
        "VirtualMachineClass": _class.decide,
        "ClusterVirtualImage": _image.decide,
        "VirtualImage": _image.decide,
        DISK: _disk.decide,
        VM: machine.decide,
        OPERATION: _operation.decide,
    }
    return {name: suspendable(noted(decide)) for name, decide in found.items()}


def _passive(obj: Object, _: View) -> Decision:
    return Decision(status={}, gone=bool(obj.deleted))
