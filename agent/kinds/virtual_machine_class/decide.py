"""Decide about one class: whether the node can give guests the CPU that it describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.core.facts import Decision, View
from agent.core.host import RawNode
from agent.core.known import ANY_NODE, USERS
from agent.core.ledger import Record
from agent.core.model import Condition, Json, Key, Object
from agent.kinds.local import NOT_READY, Place, labels, nodes, place
from agent.kinds.node import selects
from agent.kinds.protection import kept
from agent.kinds.virtual_machine_class.cpu import GuestCpu
from agent.kinds.virtual_machine_class.spec import ClassCpu, SizingPolicy, class_spec

DISCOVERY: Final = "Discovery"
BASE = "qemu64"
"""The model that features are added to."""


@dataclass(frozen=True)
class ClassData:
    """What a VM takes from its class."""

    cpus: Mapping[str, GuestCpu]
    """By node; a node that is not among them cannot run its guests."""
    sizing_policies: tuple[SizingPolicy, ...]


@dataclass(frozen=True)
class _Offer:
    """What the node gives guests of a class, or why it gives them nothing."""

    cpu: GuestCpu | None
    message: str = ""
    reason: str = "NoSuitableNodesFound"
    conditions: tuple[Condition, ...] = ()


def lacking(record: Record) -> str:
    """The CPU model of a class that no node can give."""
    pending = record.status.get("phase") == "Pending"
    return class_spec(record.obj.spec)["cpu"].get("model", "") if pending else ""


def decide(obj: Object, view: View) -> Decision:
    users: tuple[Any, ...] = view.read(USERS, obj.key) or ()
    if obj.deleted:
        return _delete(users, view.previous(obj.key))
    seen = [at for at in (place(view, name) for name in nodes(view)) if at is not None]
    previous = view.previous(obj.key)
    if not seen and previous.get("phase"):
        return Decision()  # what was known stays
    if not seen:
        return Decision(status=_status("Pending", "NoSuitableNodesFound", NOT_READY), ok=False)
    features = _features(obj, seen, view)
    offers = {at.name: _offer(class_spec(obj.spec)["cpu"], at, features, view) for at in seen}
    cpus = {name: offer.cpu for name, offer in offers.items() if offer.cpu is not None}
    known = {*previous.get("availableNodes", ())}
    unread = [name for name in nodes(view) if name not in offers and name in known]
    if not cpus and unread:
        return Decision()  # the nodes that have offered it have not been read yet
    if cpus:
        status = _status("Ready", "SuitableNodesFound", "")
        status["availableNodes"] = [name for name in nodes(view) if name in {*cpus, *unread}]
    else:
        first = next(iter(offers.values()))
        messages = dict.fromkeys(offer.message for offer in offers.values())
        status = _status("Pending", first.reason, " ".join(messages))
    chosen = (offer for offer in offers.values() if offer.cpu is not None)
    status["conditions"].extend(next(chosen, next(iter(offers.values()))).conditions)
    if users:
        status["conditions"].append(Condition("InUse", "True", "VirtualMachineClassInUse"))
    if features:
        status["cpuFeatures"] = {"enabled": list(features)}
        every = frozenset.intersection(*(at.node.cpu_features for at in seen))
        left = sorted(
            (_common(seen, class_spec(obj.spec)["cpu"], view) or every).difference(features)
        )
        if left:
            status["cpuFeatures"]["notEnabledCommon"] = left
    if not cpus:
        return Decision(status=status, ok=False)
    policies = tuple(class_spec(obj.spec).get("sizingPolicies", ()))
    return Decision(status=status, export=ClassData(cpus, policies))


def _features(obj: Object, seen: Sequence[Place], view: View) -> tuple[str, ...]:
    """CPU features that guests must have, sorted. What was discovered once stays, whatever the
    nodes can do later: a class is one processor for good. So all of them are waited for.
    """
    cpu = class_spec(obj.spec)["cpu"]
    if cpu["type"] == "Features":
        return tuple(sorted(set(cpu["features"])))
    if cpu["type"] != DISCOVERY:
        return ()
    known = view.previous(obj.key).get("cpuFeatures", {}).get("enabled", ())
    if known or len(seen) < len(nodes(view)):
        return tuple(known)
    return tuple(sorted(_common(seen, cpu, view)))


def _common(seen: Sequence[Place], cpu: ClassCpu, view: View) -> frozenset[str]:
    """What all nodes that the class selects can do."""
    features = [at.node.cpu_features for at in seen if _selected(cpu, at, view)]
    return frozenset.intersection(*features) if features else frozenset()


def _selected(cpu: ClassCpu, at: Place, view: View) -> bool:
    selector = cpu.get("discovery", {}).get("nodeSelector", {})
    return view.read(ANY_NODE, None) is not None or selects(selector, labels(view, at.name))


def _offer(cpu: ClassCpu, at: Place, features: tuple[str, ...], view: View) -> _Offer:
    if cpu["type"] != DISCOVERY:
        return _Offer(*_guest_cpu(cpu, at.node))
    if features:
        about = Condition("Discovered", "True", "DiscoverySucceeded")
    else:
        message = "There is no node yet whose CPU features the class could take."
        about = Condition("Discovered", "False", "DiscoveryFailed", message)
    if not _selected(cpu, at, view):
        message = (
            f"Node {at.name} does not match spec.cpu.discovery.nodeSelector: give its Node "
            "manifest the labels, or make another class (the CPU of a class cannot be changed)."
        )
        return _Offer(None, message, conditions=(about,))
    if not features:
        message = f"Node {at.name} does not say which CPU features its guests can have."
        if len(nodes(view)) > 1:
            message = (
                "The nodes have no CPU feature in common that guests can have, or one of them has "
                "not been read yet."
            )
        return _Offer(None, message, "NoCpuFeaturesEnabled", (about,))
    lacking = sorted({*features} - at.node.cpu_features)
    if lacking and len(nodes(view)) > 1:
        message = f"Node {at.name} lacks the CPU features {', '.join(lacking)}."
        return _Offer(None, message, conditions=(about,))
    return _Offer(GuestCpu("custom", BASE, features), conditions=(about,))


def _guest_cpu(cpu: ClassCpu, node: RawNode) -> tuple[GuestCpu | None, str]:
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
            return GuestCpu("custom", BASE, tuple(sorted(set(cpu["features"])))), ""
    return None, f"Node {node.name} cannot run guests with CPU model {cpu['model']}."


def _status(phase: str, reason: str, message: str) -> dict[str, Any]:
    ready = "True" if phase == "Ready" else "False"
    return {"phase": phase, "conditions": [Condition("Ready", ready, reason, message)]}


def _delete(users: tuple[Key, ...], previous: Mapping[str, Json]) -> Decision:
    if not users:
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = kept("class", users)
    condition = Condition("InUse", "True", "VirtualMachineClassInUse", message)
    status: dict[str, Any] = {"phase": "Terminating", "conditions": [condition]}
    if "cpuFeatures" in previous:  # should its manifest come back, it is the same class
        status["cpuFeatures"] = previous["cpuFeatures"]
    return Decision(status=status)
