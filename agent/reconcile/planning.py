"""What a set of manifests would do: the real planner over the ledger's world, or over the hosts'
as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

from agent.core.changes import SENSITIVE
from agent.core.facts import Engine
from agent.core.host import RawNode, RawVolume, Reading
from agent.core.identity import POOL, disk_volume, image_volume
from agent.core.ledger import Record, same_content
from agent.core.model import Desired, Json, Key, Manifest
from agent.core.quantity import to_bytes
from agent.core.schema import Catalogue
from agent.kinds.registry import ORDER, decisions
from agent.kinds.virtual_machine import defaults
from agent.kinds.virtual_machine_class.builtin import BUILT_IN
from agent.reconcile.book import OPERATION, VM, Book
from agent.reconcile.plan_items import PlanReport, listed
from agent.reconcile.simulate import Simulation
from agent.reconcile.status_branch import Ledger
from agent.reconcile.trash import restorable
from agent.reconcile.world import FullRead, VolumeRead, World

NODE = "(planned)"
LOST = ("PVCLost", "Failed", "Pending", "Provisioning")
"""Phases of disks and images without a volume."""
FROM_SECRET = ("userDataRef", "sysprepRef")
REFERENCES = 4
"""How many references follow each other at most: machine, disk, image, and what that is made of."""


class _Everything(frozenset[str]):
    """A node that may be able to do anything: plans against the ledger do not ask one."""

    def __contains__(self, _: object) -> bool:
        return True


def plan(
    catalogue: Catalogue,
    ledger: Ledger,
    desired: Desired,
    fleet: str,
    now: float,
    live: Reading | None = None,
) -> PlanReport:
    """What would be done if `desired` were pushed. With `live` against what a host shows, else
    against the ledger.
    """
    desired = _settled(catalogue, ledger, desired)
    engine = Engine(ORDER, decisions(catalogue))
    world = World(engine, fleet)
    engine.put("setting", "fleet", fleet)
    book = Book(engine, catalogue, world, fleet, "")
    simulation = Simulation(engine, world, fleet)
    if live is not None:
        pools = {POOL: "/", **live.pools}  # the agent makes it before anything else
        world.take(FullRead(0, replace(live, pools=pools)))
        book.load(ledger)
    else:
        _remembered_node(world)
        before = Ledger(
            ledger.tip,
            {key: _as_running(catalogue, each) for key, each in ledger.records.items()},
            ledger.trash,
            fresh=ledger.fresh,
        )
        book.load(before)
        affected = _affected(ledger, desired)
        engine.only(affected)
        for key in affected:
            known = ledger.records.get(key) or restorable(ledger.trash, key)
            if known is not None:
                _remembered_volumes(world, fleet, known)
        simulation.run(now)
        book.load(ledger)  # what waits for a restart is pending again
        engine.only(affected)
        simulation.run(now)
    book.take(desired, now)
    done = simulation.run(now)
    items = listed(catalogue, ledger, book, engine, done, simulation.seen, live=live is not None)
    return PlanReport(desired.revision, items, book.problems)


def _remembered_node(world: World) -> None:
    anything = _Everything()
    node = RawNode(NODE, "", False, "kvm", "q35", anything, anything, "", 1 << 62, 1 << 20, "", "")
    world.take(FullRead(0, Reading(node, {}, {}, {POOL: "/"})))


def _remembered_volumes(world: World, fleet: str, each: Record) -> None:
    """The volumes that the ledger says are there."""
    status, key = each.status, each.obj.key
    if status.get("phase") in LOST:
        return
    if key.kind == "VirtualDisk" and "capacity" in status:
        _volume(world, disk_volume(fleet, key, each.obj.uid), to_bytes(status["capacity"]), 1)
    size = status.get("size", {})
    if status.get("digest") and size:
        name = image_volume(fleet, status["digest"], status["format"])
        _volume(world, name, int(size["unpackedBytes"]), int(size["storedBytes"]))


def _volume(world: World, name: str, capacity: int, physical: int) -> None:
    world.take(VolumeRead(NODE, POOL, name, RawVolume(POOL, name, f"/{name}", capacity, physical)))


def _as_running(catalogue: Catalogue, each: Record) -> Record:
    """The object with the spec that runs: what waits for a restart taken back."""
    waiting = each.status.get("restartAwaitingChanges", ())
    if each.obj.key.kind != VM or not waiting:
        return each
    spec = json.loads(json.dumps(each.obj.spec))
    for change in waiting:
        if change.get("currentValue") != SENSITIVE:
            _put_back(spec, change["path"].split("."), change.get("currentValue"))
    manifest = replace(each.obj.manifest, content={**each.obj.manifest.content, "spec": spec})
    return replace(each, obj=replace(each.obj, manifest=manifest))


def _put_back(spec: Any, path: list[str], value: Json) -> None:
    *parents, last = path
    for step in parents:
        spec = spec[int(step)] if isinstance(spec, list) else spec.setdefault(step, {})
    if isinstance(spec, list):
        at = int(last)
        if value is None:
            del spec[at : at + 1]
        else:
            spec[at : at + 1] = [value]
    elif value is None:
        spec.pop(last, None)
    else:
        spec[last] = value


def _settled(catalogue: Catalogue, ledger: Ledger, desired: Desired) -> Desired:
    """The same wishes; what is accepted already stands as it was accepted, so that nobody looks at
    it again.
    """
    manifests = dict(desired.manifests)
    for key, each in desired.manifests.items():
        known = ledger.records.get(key)
        if known is not None and _same(catalogue, each, known.obj.manifest):
            manifests[key] = known.obj.manifest
    return replace(desired, manifests=manifests)


def _affected(ledger: Ledger, desired: Desired) -> set[Key]:
    """Objects with another manifest, and all that they have to do with."""
    manifests = {each.key: each for each in BUILT_IN} | dict(desired.manifests)
    keys = {
        key
        for key in manifests.keys() | ledger.records.keys()
        if key not in ledger.records
        or key not in manifests
        or not _equal(manifests[key], ledger.records[key].obj.manifest)
    }
    new = (manifests[key] for key in keys if key in manifests)
    mentioned = {target for each in new for target in named(each)}
    return keys | related(ledger.records, keys, mentioned)


def _equal(one: Manifest, other: Manifest) -> bool:
    return one is other or (one.content, one.labels, one.annotations) == (
        other.content,
        other.labels,
        other.annotations,
    )


def _same(catalogue: Catalogue, new: Manifest, known: Manifest) -> bool:
    if new.labels != known.labels or new.annotations != known.annotations:
        return False
    if new.key.kind == VM:
        new = defaults.complete(new, known.spec, {})
    return same_content(catalogue.kinds[new.key.kind], new, known)


def related(records: Mapping[Key, Record], keys: Set[Key], mentioned: Set[Key]) -> set[Key]:
    """All that a plan for `keys` may depend on or change: who refers to them, and all that these
    refer to; `mentioned` is what their new manifests refer to.
    """
    users = _users(records)
    found = {*keys, *mentioned}
    found |= {user for key in keys for user in users.get(key, ())}
    for _ in range(REFERENCES):
        found |= {target for key in found for target in _targets(records, key)}
    # who else has a disk open decides whether one more may
    disks = [key for key in found if key.kind == "VirtualDisk"]
    return found | {user for key in disks for user in users.get(key, ())}


def _users(records: Mapping[Key, Record]) -> Mapping[Key, set[Key]]:
    users: dict[Key, set[Key]] = {}
    for key, each in records.items():
        for target in named(each.obj.manifest):
            users.setdefault(target, set()).add(key)
    return users


def _targets(records: Mapping[Key, Record], key: Key) -> Iterator[Key]:
    each = records.get(key)
    if each is not None:
        yield from named(each.obj.manifest)


def named(manifest: Manifest) -> Iterator[Key]:
    """All that a manifest refers to."""
    key, spec = manifest.key, manifest.spec
    if key.kind == VM:
        yield Key("VirtualMachineClass", "", spec.get("virtualMachineClassName", ""))
        for ref in spec["blockDeviceRefs"]:
            yield _target(key, ref)
        for field in FROM_SECRET:
            if ref := spec.get("provisioning", {}).get(field):
                yield Key("Secret", key.namespace, ref["name"])
    elif key.kind == OPERATION:
        yield Key(VM, key.namespace, spec["virtualMachineName"])
    elif ref := spec.get("dataSource", {}).get("objectRef"):
        yield _target(key, ref)


def _target(key: Key, ref: Mapping[str, Json]) -> Key:
    cluster = ref["kind"] == "ClusterVirtualImage"
    return Key(ref["kind"], "" if cluster else ref.get("namespace", key.namespace), ref["name"])
