"""Decide about one class: whether the node can give guests the CPU that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.facts import Decision, View
from agent.core.host import RawNode
from agent.core.model import Condition, Json, Object
from agent.kinds.local import NOT_READY, place
from agent.kinds.virtual_machine.wanted import GuestCpu


@dataclass(frozen=True)
class ClassData:
    """What a VM takes from its class."""

    cpu: GuestCpu
    sizing_policies: tuple[Mapping[str, Json], ...]


def decide(each: Object, view: View) -> Decision:
    users: tuple[Any, ...] = view.read("users", each.key) or ()
    if each.deleted:
        return _delete(users)
    at = place(view)
    if at is None and view.previous(each.key).get("phase"):
        return Decision()  # what was known stays
    if at is None:
        return Decision(status=_status("Pending", "NoSuitableNodesFound", NOT_READY), ok=False)
    cpu, problem = _guest_cpu(each.spec["cpu"], at.node)
    if cpu is None:
        return Decision(status=_status("Pending", "NoSuitableNodesFound", problem), ok=False)
    status = _status("Ready", "SuitableNodesFound", "")
    status["availableNodes"] = [at.name]
    if users:
        status["conditions"].append(Condition("InUse", "True", "VirtualMachineClassInUse"))
    policies = tuple(each.spec.get("sizingPolicies", ()))
    return Decision(status=status, export=ClassData(cpu, policies))


def _guest_cpu(cpu: Mapping[str, Json], node: RawNode) -> tuple[GuestCpu | None, str]:
    """The guest CPU on this node, or why there is none."""
    emulated = GuestCpu("maximum")  # software emulation knows no host CPU: all that it can show
    match cpu["type"]:
        case "Host" if "host-model" in node.cpu_modes:
            return GuestCpu("host-model"), ""
        case "HostPassthrough" if "host-passthrough" in node.cpu_modes:
            return GuestCpu("host-passthrough"), ""
        case "Host" | "HostPassthrough" if "maximum" in node.cpu_modes:
            return emulated, ""
        case "Host" | "HostPassthrough":
            return None, f"Node {node.name} supports no CPU of type {cpu['type']}."
        case "Model" if cpu["model"] in node.cpu_models:
            return GuestCpu("custom", cpu["model"]), ""
        case "Features":
            return GuestCpu("custom", "qemu64", tuple(sorted(set(cpu["features"])))), ""
        case "Model":
            return None, f"Node {node.name} cannot run guests with CPU model {cpu['model']}."
    return (
        None,
        (
            f"CPU type {cpu['type']} is not supported here yet; Host, "
            "HostPassthrough, Model and Features are."
        ),
    )


def _status(phase: str, reason: str, message: str) -> dict[str, Any]:
    ready = "True" if phase == "Ready" else "False"
    return {"phase": phase, "conditions": [Condition("Ready", ready, reason, message)]}


def _delete(users: tuple[Any, ...]) -> Decision:
    if not users:
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = f"The class is kept while {len(users)} VirtualMachine(s) refer to it."
    condition = Condition("InUse", "True", "VirtualMachineClassInUse", message)
    return Decision(status={"phase": "Terminating", "conditions": [condition]})
