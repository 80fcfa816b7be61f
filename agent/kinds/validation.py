"""Every rule about single objects that the schemas cannot say, by kind."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.manifests import Check
from agent.kinds.module_config import validation as module_config
from agent.kinds.node import validation as node
from agent.kinds.secret import validation as secret
from agent.kinds.virtual_disk import validation as virtual_disk
from agent.kinds.virtual_image import validation as virtual_image
from agent.kinds.virtual_machine import validation as virtual_machine
from agent.kinds.virtual_machine_class import validation as virtual_machine_class
from agent.kinds.virtual_machine_operation import validation as virtual_machine_operation

CHECKS: Mapping[str, tuple[Check, ...]] = {
    "VirtualMachine": virtual_machine.CHECKS,
    "VirtualMachineClass": virtual_machine_class.CHECKS,
    "VirtualImage": virtual_image.CHECKS,
    "ClusterVirtualImage": virtual_image.CHECKS,
    "VirtualDisk": (*virtual_disk.CHECKS, *virtual_image.CHECKS),
    "VirtualMachineOperation": virtual_machine_operation.CHECKS,
    "Secret": secret.CHECKS,
    "Node": node.CHECKS,
    "ModuleConfig": module_config.CHECKS,
}
"""Kinds that are missing have no such rules."""
