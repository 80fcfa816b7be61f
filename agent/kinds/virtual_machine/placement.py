"""What a VM asks of its node, for whoever places it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from agent.core.facts import View
from agent.core.known import BOUNDED, OVERCOMMIT, PLACED
from agent.core.model import Json, Key, Object
from agent.core.nodes import UNKNOWN
from agent.core.placement.labels import exactly, holds
from agent.core.placement.rules import ANYWHERE, FIELDS, Rules, rules
from agent.core.placement.tenants import Ask, Tenant
from agent.core.quantity import to_bytes
from agent.kinds.local import labels, nodes, places, several
from agent.kinds.node import takes_all
from agent.kinds.virtual_disk import DiskData, barring, image_of
from agent.kinds.virtual_image import ImageData
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.defaults import CLASS
from agent.kinds.virtual_machine.dependencies import disks, images
from agent.kinds.virtual_machine.networks import cabling
from agent.kinds.virtual_machine.operations import open_operations
from agent.kinds.virtual_machine.resources import requested_milli
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_class import ClassData
from agent.kinds.virtual_machine_operation import operation_spec

PRIORITIES: Mapping[str, int] = {
    "system-node-critical": 2_000_001_000,
    "system-cluster-critical": 2_000_000_000,
    "cluster-critical": 1_000_000_000,
    "production-high": 9000,
    "cluster-medium": 7000,
    "production-medium": 6000,
    "deployment-machinery": 5000,
    "production-low": 4000,
    "staging": 3000,
    "cluster-low": 2000,
    "develop": 1000,
    "standby": -1,
}
"""Those of Kubernetes and of Deckhouse. Every other one is 0."""
COMMON = "develop"
"""The class, in Deckhouse, of what names none."""
NO_CPU = "node(s) couldn't give the CPU of VirtualMachineClass {}"
NO_NETWORK = "node(s) did not have its networks"
NOWHERE = "Could not schedule the virtual machine: {}"
GOES = "Node {0} does not take it now ({2}): it is taken to node {1}, and starts there."
LEFT = "node(s) were to be left"
UNLIKE = "node(s) didn't match the nodeSelector of the operation"
MOVES = ("Evict", "Migrate")
"""Types of operations that ask for another node."""
TO_NODES = "gitvirt.io/to-nodes"
"""Annotation of an operation: the nodes that it may have a VM go to, with commas between."""
STARTS = ("Start", "Restart")


def class_of(vm: Object) -> Key:
    """The class that it names."""
    return Key("VirtualMachineClass", "", machine_spec(vm.spec).get(CLASS, ""))


def its_rules(vm: Object, view: View) -> Rules:
    """What its spec and its class ask for."""
    its_class = view.object(class_of(vm))
    of_class: Mapping[str, Json] = its_class.spec if its_class is not None else {}
    selector, borne = of_class.get("nodeSelector") or {}, of_class.get("tolerations") or ()
    if not selector and not borne and not any(vm.spec.get(name) for name in FIELDS):
        return ANYWHERE
    return rules(vm.spec, vm.manifest.labels, vm.key.namespace, selector, borne)


def governed(vm: Object, view: View) -> bool:
    """True if a node has to be asked for: where just one is that takes all, it is that one."""
    return nodes(view) != (UNKNOWN,) and (
        several(view)
        or view.read(OVERCOMMIT, None) is not None
        or view.read(BOUNDED, vm.key.namespace) is not None
        or its_rules(vm, view) is not ANYWHERE
        or not all(takes_all(view, name) for name in nodes(view))
    )


def tenant(
    vm: Object, view: View, at: str, *, on: bool, ask: Ask | None = None, gives: Ask | None = None
) -> Tenant:
    """The VM as placement sees it."""
    spec = machine_spec(vm.spec)
    return Tenant(
        key=vm.key,
        labels=vm.manifest.labels,
        memory=to_bytes(spec["memory"]["size"]),
        requested=requested_milli(spec["cpu"]["cores"], spec["cpu"]["coreFraction"]),
        cores=spec["cpu"]["cores"],
        rules=its_rules(vm, view),
        priority=PRIORITIES.get(str(vm.spec.get("priorityClassName", COMMON)), 0),
        created=vm.created,
        at=at,
        on=on,
        ask=None if vm.deleted else ask,
        gives=gives,
    )


def starting(vm: Object, view: View) -> Ask:
    """The wish of a VM that has no domain: for a node that has all that it needs."""
    due = machine_spec(vm.spec)["runPolicy"] not in (power.ALWAYS_OFF, power.MANUAL)
    return Ask(dict(_barred(vm, view)), handy(vm, view), rests=not due)


def returning(vm: Object, view: View, at: str, *, due: bool) -> Ask | None:
    """The wish of a VM that is off to start where its domain is. `due`: it is to be on."""
    asked = any(
        operation_spec(each.spec)["type"] in STARTS for each in open_operations(vm.key, view)
    )
    return Ask(dict(_barred(vm, view)), only=at) if due or asked else None


def asked_to_leave(vm: Object, view: View) -> Mapping[str, str] | None:
    """Labels of the node that an operation has a VM go to; None where none has it go anywhere."""
    for each in open_operations(vm.key, view):
        spec = operation_spec(each.spec)
        if spec["type"] in MOVES and not each.deleted:
            return (spec.get("migrate") or {}).get("nodeSelector") or {}
    return None


def asked_to_go_to(vm: Object, view: View) -> Container[str]:
    """The nodes that an operation has it go to; all where it does not name any."""
    for each in open_operations(vm.key, view):
        named = each.manifest.annotations.get(TO_NODES, "")
        if named and operation_spec(each.spec)["type"] in MOVES:
            return named.split(",")
    return nodes(view)


def elsewhere(
    vm: Object,
    view: View,
    at: str,
    barred: Mapping[str, str],
    selector: Mapping[str, str],
    among: Container[str],
) -> Ask:
    """A wish for another node among these, with these labels; `barred` are those that it cannot go
    to.
    """
    wanted = tuple(exactly(selector))
    unlike = (
        name for name in nodes(view) if name not in among or not holds(wanted, labels(view, name))
    )
    return Ask({**barred, **dict.fromkeys(unlike, UNLIKE), at: LEFT}, handy(vm, view))


def refused(vm: Object, view: View, at: str) -> str:
    """Why a VM that is off may not start on its node, in a sentence; empty if it may."""
    verdict = view.read(PLACED, vm.key) if governed(vm, view) else None
    if verdict is None or verdict.node == at or view.job(vm.key).busy:
        return ""  # what is under way has its disks already
    if verdict.node:
        return GOES.format(at, verdict.node, verdict.left)
    message = NOWHERE.format(verdict.message)
    if verdict.elsewhere:
        message += f" It belongs to node {at}. Node {verdict.elsewhere} would take it."
    return message


def parted(vm: Object, view: View) -> str:
    """Which of its disks lie on nodes of their own, in a sentence; empty if none do."""
    found = [(disk, view.export(DiskData, disk)) for disk in disks(vm, vm.spec)]
    lie = [(disk, sorted(data.paths)) for disk, data in found if data is not None]
    if not lie or set.intersection(*({*paths} for _, paths in lie)):
        return ""
    told = ", ".join(f"{disk.name} on {' and '.join(paths)}" for disk, paths in lie)
    return f"Its disks lie on different nodes ({told}): use disks of one node."


def unfit(vm: Object, view: View, home: str) -> bool:
    """True if a VM that has no domain yet could not have it on its node."""
    return any(node == home for node, _ in _barred(vm, view))


def _barred(vm: Object, view: View) -> Iterator[tuple[str, str]]:
    """Nodes that cannot have the VM, whoever else is there, and why."""
    for disk in disks(vm, vm.spec):
        yield from barring(disk, vm.key, view).items()
    yield from barred_by_node(vm, view)


def barred_by_node(vm: Object, view: View) -> Iterator[tuple[str, str]]:
    """Nodes that cannot have it, wherever its disks lie, and why."""
    data = view.export(ClassData, class_of(vm))
    if data is not None:
        why = NO_CPU.format(class_of(vm).name)
        yield from ((node, why) for node in nodes(view) if node not in data.cpus)
    every = places(view)
    lacking = [at for at in every if cabling(vm, view, at, vm.spec).lacking(vm.spec)]
    if len(lacking) < len(every):  # what no node has is told by a condition
        yield from ((at.name, NO_NETWORK) for at in lacking)


def handy(vm: Object, view: View) -> frozenset[str]:
    """Nodes that have all images that it needs; empty where it needs none."""
    needed = [*images(vm, vm.spec), *_sources(vm, view)]
    found = [view.export(ImageData, image) for image in needed]
    there = [frozenset(data.paths if data is not None else ()) for data in found]
    return frozenset.intersection(*there) if there else frozenset()


def _sources(vm: Object, view: View) -> Iterator[Key]:
    """Images that its disks are made from."""
    for disk in disks(vm, vm.spec):
        obj = view.object(disk)
        image = image_of(obj, view) if obj is not None else None
        if image is not None:
            yield image
