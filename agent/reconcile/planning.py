"""What a set of manifests would do: the real planner over the ledger's world, or over the hosts'
as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from agent.core.changes import SENSITIVE
from agent.core.facts import Engine
from agent.core.host import RawNode, RawVolume, Reading
from agent.core.identity import POOL, disk_volume, image_volume
from agent.core.ledger import Record, same_content
from agent.core.model import Desired, Json, Key, Object
from agent.core.quantity import to_bytes
from agent.core.schema import Catalogue
from agent.kinds.registry import ORDER, decisions
from agent.kinds.virtual_machine_class.builtin import BUILT_IN
from agent.reconcile.book import VM, Book, references
from agent.reconcile.plan_items import PlanReport, listed
from agent.reconcile.simulate import Simulation
from agent.reconcile.status_branch import Ledger
from agent.reconcile.world import FullRead, VolumeRead, World

NODE = "(planned)"


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
    engine = Engine(ORDER, decisions(catalogue))
    world = World(engine, fleet)
    engine.put("setting", "fleet", fleet)
    book = Book(engine, catalogue, world, fleet, "")
    simulation = Simulation(engine, world, fleet)
    if live is not None:
        world.take(FullRead(0, live))
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
        affected = _affected(catalogue, ledger, desired)
        engine.only(affected)
        for key in affected:
            if key in ledger.records:
                _remembered_volumes(world, fleet, ledger.records[key])
        simulation.run(now)
        book.load(ledger)  # what waits for a restart is pending again
        engine.only(affected)
        simulation.run(now)
    book.take(desired, now)
    done = simulation.run(now)
    items = listed(catalogue, ledger, book, engine, done)
    return PlanReport(desired.revision, items, book.problems)


def _remembered_node(world: World) -> None:
    anything = _Everything()
    node = RawNode(NODE, "", False, "kvm", "q35", anything, anything, "", 1 << 62, 1 << 20, "", "")
    world.take(FullRead(0, Reading(node, {}, {}, {POOL: "/"})))


def _remembered_volumes(world: World, fleet: str, each: Record) -> None:
    """The volumes that the ledger says are there."""
    status, key = each.status, each.obj.key
    if status.get("phase") != "Ready":
        return
    if key.kind == "VirtualDisk":
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


def _affected(catalogue: Catalogue, ledger: Ledger, desired: Desired) -> set[Key]:
    """Objects with another manifest, whoever refers to them, and all that those refer to."""
    manifests = {each.key: each for each in BUILT_IN} | dict(desired.manifests)
    keys = {
        key
        for key in manifests.keys() | ledger.records.keys()
        if key not in ledger.records
        or key not in manifests
        or not same_content(
            catalogue.kinds[key.kind], manifests[key], ledger.records[key].obj.manifest
        )
        or manifests[key].labels != ledger.records[key].obj.manifest.labels
        or manifests[key].annotations != ledger.records[key].obj.manifest.annotations
    }
    users: dict[Key, set[Key]] = {}
    for each in ledger.records.values():
        for _, target in references(each.obj):
            users.setdefault(target, set()).add(each.obj.key)
    keys |= {user for key in list(keys) for user in users.get(key, ())}
    return keys | set(_needed(ledger, keys))


def _needed(ledger: Ledger, keys: Iterable[Key]) -> Iterator[Key]:
    for key in keys:
        if key in ledger.records:
            obj = ledger.records[key].obj
            yield from _sources(obj)
            for _, target in references(obj):
                yield target
                if target in ledger.records:
                    yield from _sources(ledger.records[target].obj)


def _sources(obj: Object) -> Iterator[Key]:
    ref = obj.spec.get("dataSource", {}).get("objectRef") if obj.key.kind == "VirtualDisk" else None
    if ref:
        cluster = ref["kind"] == "ClusterVirtualImage"
        yield Key(ref["kind"], "" if cluster else obj.key.namespace, ref["name"])
