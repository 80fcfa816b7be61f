"""Decide about one node: what it has for machines, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from agent.core.annotations import EVACUATE, FENCED
from agent.core.facts import Decision, View
from agent.core.host import RawNode
from agent.core.known import COMMITTED, FOREIGN, NODE, OVERCOMMIT, UNREACHABLE
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.core.nodes import own_labels
from agent.core.placement.tenants import Offer
from agent.core.quantity import format_bytes
from agent.core.status import seconds
from agent.kinds.local import away, labels, nodes, several
from agent.kinds.node.doubled import doubled
from agent.kinds.node.locks import LOCKS, tried
from agent.kinds.node.tainted import TAINTS, tainted
from agent.kinds.node.taking import marks

KIND = "Node"
READY, NOT_READY, CORDONED = "Ready", "NotReady", "SchedulingDisabled"
ROLE = "node-role.kubernetes.io/"
RESERVE, MOST_RESERVED = 16, 2 << 30
"""The host keeps a sixteenth of its memory to itself, but no more bytes than that."""


@dataclass(frozen=True)
class NodeData:
    """What others ask of a node."""

    ready: bool
    evacuate: str
    """Since when its machines are to leave it; empty while they may stay."""
    fenced: bool
    """True of one that is away, and of which somebody says that it is off: since before the outage
    was told, and until now.
    """


@cache
def of_node(name: str) -> Manifest:
    """The object of a node that has no manifest."""
    return Manifest(Key(KIND, "", name), own_labels(name), {}, {"spec": {"unschedulable": False}})


def decide(node: Object, view: View) -> Decision:
    if node.deleted:
        return Decision(status={}, gone=True)
    name = node.key.name
    why = away(view, name)
    raw: RawNode | None = view.read(NODE, name)
    previous = view.previous(node.key)
    leave = node.manifest.annotations.get(EVACUATE, "")
    said = _said(node)
    fenced = _is_told(view, name) and _fenced(said, view.now, previous)
    data = NodeData(not why, leave, fenced=fenced)
    ahead = said is not None and said > view.now
    allocatable = _allocatable(raw)
    committed = view.read(COMMITTED, name) or 0
    pressed = allocatable and committed > allocatable * _factor(view)
    taints, cordoned = marks(view, name)
    locks = tried(node, view)
    words = [READY if data.ready else NOT_READY, *([CORDONED] if cordoned else [])]
    conditions = [
        Condition("Ready", "False" if why else "True", words[0] if why else "NodeReady", why),
        *_about(raw, name),
        *([_pressure(name, committed, allocatable)] if pressed else ()),
        *([_FENCED] if data.fenced else [_AHEAD] if ahead else ()),
        *locks.told,
        *doubled(name, view),
    ]
    status: dict[str, Any] = {
        "phase": ",".join(words),
        "roles": ",".join(sorted(_roles(labels(view, name)))),
        "conditions": conditions,
        **(_sizes(raw, allocatable, committed) if raw is not None else _known(previous)),
        LOCKS: locks.known,
        TAINTS: tainted(node, taints, view),
    }
    offer = Offer(
        name,
        labels(view, name),
        taints,
        unschedulable=cordoned,
        ready=data.ready,
        memory=int(allocatable * _factor(view)) if _counted(view) else 0,
        taken=view.read(FOREIGN, name) or 0,
    )
    return Decision(
        status=status,
        actions=locks.actions,
        offer=offer,
        export=data,
        wake=min(filter(None, (locks.wake, said if ahead else None)), default=None),
        waiting=bool(locks.actions),
        ok=data.ready,
    )


def _counted(view: View) -> bool:
    """The only node gives as much memory as is asked for, unless a setting says otherwise."""
    return several(view) or view.read(OVERCOMMIT, None) is not None


def _factor(view: View) -> float:
    return view.read(OVERCOMMIT, None) or 1.0


def _allocatable(raw: RawNode | None) -> int:
    """Bytes for machines; 0 where nobody knows."""
    return raw.memory - min(raw.memory // RESERVE, MOST_RESERVED) if raw is not None else 0


def _sizes(raw: RawNode, allocatable: int, committed: int) -> dict[str, Json]:
    return {
        "capacity": {"cpu": str(raw.cpus), "memory": format_bytes(raw.memory)},
        "allocatable": {"cpu": str(raw.cpus), "memory": format_bytes(allocatable)},
        "committed": {"memory": format_bytes(committed)},
        "nodeInfo": {
            "architecture": "amd64",
            "libvirtVersion": raw.libvirt_version,
            "machineType": raw.machine,
            "operatingSystem": "linux",
            "qemuVersion": raw.qemu_version,
            **({"systemUUID": raw.host} if raw.host else {}),
        },
    }


def _known(previous: Mapping[str, Json]) -> dict[str, Json]:
    """What was said of a node that has not been read since."""
    names = ("capacity", "allocatable", "committed", "nodeInfo")
    return {name: previous[name] for name in names if name in previous}


def _about(raw: RawNode | None, name: str) -> Iterator[Condition]:
    if raw is None:
        return
    if raw.virt_type == "kvm":
        yield Condition("HardwareVirtualization", "True", "HardwareVirtualization")
        return
    message = f"Node {name} has no hardware virtualization: guests run under software emulation."
    yield Condition("HardwareVirtualization", "False", "SoftwareEmulation", message)


def _pressure(name: str, committed: int, allocatable: int) -> Condition:
    message = (
        f"The machines on node {name} may take {format_bytes(committed)} of memory, and it has "
        f"{format_bytes(allocatable)} for them: move some of them, or stop them."
    )
    return Condition("MemoryPressure", "True", "MemoryOvercommitted", message)


def _roles(known: Mapping[str, str]) -> Iterator[str]:
    return (name.removeprefix(ROLE) for name in known if name.startswith(ROLE))


def _is_told(view: View, name: str) -> bool:
    """True once it was waited for in vain. An agent that has just begun may know of older commits
    alone until then.
    """
    return name in nodes(view) and view.read(UNREACHABLE, name) is not None


def _fenced(said: float | None, now: float, previous: Mapping[str, Json]) -> bool:
    """True if somebody has said, after the outage was told, that the node is off: what was said
    before that is of another outage, and what is said of a time to come would be of many.
    """
    return (
        said is not None
        and said <= now
        and any(
            each["type"] == "Ready"
            and each["status"] == "False"
            and said >= seconds(each["lastTransitionTime"])
            for each in previous.get("conditions", ())
        )
    )


def _said(node: Object) -> float | None:
    """When somebody says that it was off, in seconds since the epoch."""
    said = node.manifest.annotations.get(FENCED)
    return seconds(said) if said else None


_FENCED = Condition(
    "Fenced", "True", "SaidByManifest", f"It is off, as its annotation {FENCED} says."
)
_AHEAD = Condition(
    "Fenced",
    "False",
    "TimeToCome",
    f"Its annotation {FENCED} says a time that is yet to come, and counts from then on: say when "
    "it was seen to be off.",
)
