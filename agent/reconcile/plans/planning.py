"""What a set of manifests would do: the real planner over the ledger's world, or over the hosts'
as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from agent.core.facts import Engine
from agent.core.host import RawNode, RawVolume, Reading
from agent.core.identity import POOL, domain_uuid
from agent.core.known import ANY_NODE, DOMAIN, DOMAIN_AT, FLEET, NETWORKS, NODES, POOLS
from agent.core.ledger import Record, same_content
from agent.core.links import Link
from agent.core.model import BUILT_IN, Desired, Key, Manifest
from agent.core.nodes import HOME, UNKNOWN, Told, told
from agent.core.placement.tenants import Tenant
from agent.core.quantity import to_bytes
from agent.core.references import references
from agent.core.schema import Catalogue
from agent.kinds.registry import BUILT_INS, MACHINES, ORDER, RECORDS, complete, decisions
from agent.reconcile.belongings import Belongings
from agent.reconcile.book import Book
from agent.reconcile.plans.items import PlanReport, listed
from agent.reconcile.plans.reserving import Reserving, by_itself
from agent.reconcile.plans.simulate import Simulation
from agent.reconcile.status_branch import Ledger
from agent.reconcile.world import DomainRead, FullRead, VolumeRead, World

ANY_MEMORY = 1 << 62
FOLDER = "/pool"
"""Where the pools with the remembered volumes lie."""


class _AllBut(frozenset[str]):
    """Everything but these: a node may be able to do anything, as plans against the ledger ask
    none.
    """

    def __contains__(self, item: object) -> bool:
        return not super().__contains__(item)


def plan(
    catalogue: Catalogue,
    ledger: Ledger,
    desired: Desired,
    fleet: str,
    now: float,
    live: Sequence[Reading] | None = None,
    others: Mapping[str, int] = {},
    pools: Mapping[str, str] | None = None,
    networks: Mapping[str, Link] | None = None,
) -> PlanReport:
    """What would be done if `desired` were pushed. With `live` against what the hosts show, else
    against the ledger. `others` counts, by kind, objects that neither of both mentions: they stay
    as they are. `pools` is what libvirt calls those that manifests may name; without it each is
    called what manifests call it. `networks` is what those are on a host; without it each is there.
    """
    whole = ledger
    desired = replace(desired, manifests={**_nodes_of(ledger, desired), **desired.manifests})
    desired, changed = _settled(catalogue, ledger, desired)
    if live is None:
        new = [desired.manifests[key] for key in changed if key in desired.manifests]
        mentioned = {target for manifest in new for target in named(catalogue, manifest)}
        affected = related(catalogue, ledger.records, changed, mentioned)
        wanted = desired.manifests
        others = Counter(others) + Counter(key.kind for key in wanted if key not in affected)
        wanted = {key: wanted[key] for key in affected if key in wanted}
        ledger, desired = part(ledger, affected), replace(desired, manifests=wanted)
    engine = Engine(ORDER, decisions(catalogue))
    world = World(engine, fleet)
    engine.put(FLEET, None, fleet)
    engine.put(NETWORKS, None, networks)
    pools = pools or _named_pools(ledger, desired, fleet)
    engine.put(POOLS, None, pools)
    book = Book(engine, catalogue, world, fleet, "")
    reserving = Reserving(book, now)
    simulation = Simulation(engine, world, reserving)
    if live is not None:
        engine.put(NODES, None, tuple(reading.node.name for reading in live))
        for reading in live:
            paths = {POOL: "/", **reading.pools}  # the agent makes it before anything else
            world.observe(FullRead(0, replace(reading, pools=paths)))
        book.load(ledger)
    else:
        nodes = _remembered_nodes(world, ledger, {*pools.values()})
        engine.put(NODES, None, nodes)
        engine.put(ANY_NODE, None, True)
        if len(nodes) > 1:
            simulation.beside(_others(whole, ledger.records))
        earlier = MACHINES.running(ledger.records, desired.manifests, catalogue.machine)
        book.load(replace(ledger, records=earlier))
        for record in (*ledger.records.values(), *ledger.trash.values()):
            _remembered_volumes(world, nodes, catalogue, fleet, record)
        simulation.run(now)
        _remembered_domains(world, engine, nodes, catalogue, earlier, now)
        simulation.run(now)
        book.load(ledger)  # what waits for a restart is pending again
        simulation.run(now)
    book.accept(desired, now, others)
    gone = _carried_out(simulation, book, engine, reserving, now)
    items = listed(catalogue, ledger, book, engine, simulation, gone, live=live is not None)
    return PlanReport(desired.revision, items, book.problems)


def _nodes_of(ledger: Ledger, desired: Desired) -> dict[Key, Manifest]:
    """The objects of nodes that have no manifest: they are as they are."""
    apart = {manifest.key for manifest in BUILT_INS} | desired.invalid
    return {
        key: record.obj.manifest
        for key, record in ledger.records.items()
        if record.obj.source == BUILT_IN and key not in apart
    }


def _others(whole: Ledger, planned: Container[Key]) -> Iterator[Tenant]:
    """Machines that the plan is not about."""
    for key, record in whole.records.items():
        if MACHINES.has_domain(record) and key not in planned:
            yield MACHINES.tenant(record)


def _carried_out(
    simulation: Simulation, book: Book, engine: Engine, reserving: Reserving, now: float
) -> dict[Key, Record]:
    """Carry everything out; the objects that are gone then. What they referred to is free."""
    simulation.run(now)
    while renewing := [each for each in engine.decisions.items() if each[1].renews]:
        for key, decision in renewing:
            Belongings(book).renewed(key, decision, now)
        book.outbox.take_batch()
        book.written()
        simulation.run(now, more=True)
    removed: dict[Key, Record] = {}
    while gone := [
        key
        for key, record in book.records.items()
        if record.obj.deleted and engine.decisions[key].gone
    ]:
        for key in gone:
            removed[key] = book.records[key]
            reserving.gone(removed[key])
            book.remove(key, now)
        simulation.run(now, more=True)
    return removed


def _settled(catalogue: Catalogue, ledger: Ledger, desired: Desired) -> tuple[Desired, set[Key]]:
    """The same wishes, and the objects that they change. What is accepted already stands as it was
    accepted, so that nobody looks at it again.
    """
    records = ledger.records
    manifests = {manifest.key: manifest for manifest in BUILT_INS} | dict(desired.manifests)
    changed = {
        key
        for key, record in records.items()
        if key not in manifests and not by_itself(catalogue, record.obj)
    }
    for key, manifest in manifests.items():
        known = records.get(key)
        if known is None or not _same(catalogue, manifest, known.obj.manifest):
            changed.add(key)
            continue
        manifests[key] = known.obj.manifest
        if known.obj.deleted:
            changed.add(key)
    for built_in in BUILT_INS:
        if built_in.key not in desired.manifests:
            del manifests[built_in.key]
    return replace(desired, manifests=manifests), changed


def _same(catalogue: Catalogue, new: Manifest, known: Manifest) -> bool:
    if new is known:
        return True
    if new.labels != known.labels or new.annotations != known.annotations:
        return False
    if new.content != known.content:
        new = complete(new, known.spec, {})
    return same_content(catalogue.kinds[new.key.kind], new, known)


def part(ledger: Ledger, keys: Set[Key]) -> Ledger:
    """The ledger with no other objects than these."""
    return replace(
        ledger,
        records={key: ledger.records[key] for key in keys if key in ledger.records},
        trash={uid: record for uid, record in ledger.trash.items() if record.obj.key in keys},
    )


def _named_pools(ledger: Ledger, desired: Desired, fleet: str) -> dict[str, str]:
    """All storage pools that are named, or that something lies in."""
    records = (*ledger.records.values(), *ledger.trash.values())
    manifests = (*desired.manifests.values(), *(record.obj.manifest for record in records))
    names = {name for each in manifests for name in RECORDS[each.key.kind].pools(each)}
    for record in records:
        names |= {each[0] for each in RECORDS[record.obj.key.kind].volumes(fleet, record)}
    return {name: name for name in (POOL, *sorted(names))}


def _remembered_nodes(world: World, ledger: Ledger, pools: Set[str]) -> tuple[str, ...]:
    """Nodes that can do anything, but for what the agent has said of them; their names."""
    every = told(ledger.agent) or ({"name": UNKNOWN},)
    for about in every:
        _remembered_node(world, ledger, about, {POOL, *pools})
    return tuple(node["name"] for node in every)


def _home(record: Record, nodes: tuple[str, ...]) -> str:
    """The node that has what the ledger says of an object."""
    said = record.status.get(HOME) or record.status.get("nodeName")
    return said if said in nodes else nodes[0]


def _remembered_node(world: World, ledger: Ledger, about: Told, pools: Set[str]) -> None:
    name = about["name"]
    memory = to_bytes(about["memory"]) if "memory" in about else ANY_MEMORY
    models = _AllBut(
        RECORDS[record.obj.key.kind].lacking(record) for record in ledger.records.values()
    )
    node = RawNode(
        *(name, "", False, "kvm", "q35", _AllBut(), models, "", memory, 1 << 20, "", ""),
        cpu_features=frozenset({"any"}),
    )
    world.observe(FullRead(0, Reading(node, {}, {}, {pool: _folder(pool) for pool in pools})))


def _remembered_domains(
    world: World,
    engine: Engine,
    nodes: tuple[str, ...],
    catalogue: Catalogue,
    records: Mapping[Key, Record],
    now: float,
) -> None:
    """What the ledger says of domains beyond what defining the machines comes to."""
    fleet = engine.get(FLEET, None) or ""
    for key, record in records.items():
        if not MACHINES.has_domain(record):
            continue
        uuid = domain_uuid(fleet, key)
        there: tuple[str, ...] = engine.get(DOMAIN_AT, uuid) or (_home(record, nodes),)
        at = there[0]
        raw = engine.get(DOMAIN, (at, uuid))
        known = raw or MACHINES.domain(record, catalogue.machine, fleet, now)
        if MACHINES.is_saved(record) and not known.active:
            known = replace(known, reason="saved", managed_save=True)
        if known is not raw:
            world.observe(DomainRead(0, at, uuid, known))


def _folder(pool: str) -> str:
    return f"{FOLDER}/{pool}"


def _remembered_volumes(
    world: World, nodes: tuple[str, ...], catalogue: Catalogue, fleet: str, record: Record
) -> None:
    """The volumes that the ledger says are there; of images it does not say on which nodes."""
    at = (_home(record, nodes),) if catalogue.kinds[record.obj.key.kind].keeps_data else nodes
    for pool, name, capacity, physical in RECORDS[record.obj.key.kind].volumes(fleet, record):
        volume = RawVolume(pool, name, f"{_folder(pool)}/{name}", capacity, physical)
        for node in at:
            world.observe(VolumeRead(node, pool, name, volume))


def related(
    catalogue: Catalogue, records: Mapping[Key, Record], keys: Set[Key], mentioned: Set[Key]
) -> set[Key]:
    """All that a plan for `keys` may depend on or change: who refers to them, and all that these
    refer to; `mentioned` is what their new manifests refer to.
    """
    kinds = catalogue.kinds
    targets = {key: set(_referred(catalogue, record)) for key, record in records.items()}
    for key, record in records.items():
        if (owner := record.obj.owner) is not None:  # whoever means the whole means its parts
            targets.setdefault(Key(owner.kind, key.namespace, owner.name), set()).add(key)
    users = _users(targets)
    close = {*keys, *mentioned, *(key for key in records if kinds[key.kind].governs)}
    close |= {user for key in keys for user in users.get(key, ())}
    before: set[Key] = set()
    while close != before:
        before = close
        close = _with_targets(targets, close)
        # who else has a disk open decides whether one more may, and operations how a machine runs
        held = [key for key in close if kinds[key.kind].shared]
        close |= {user for key in held for user in users.get(key, ())}
    return close


def _users(targets: Mapping[Key, Set[Key]]) -> Mapping[Key, set[Key]]:
    users: dict[Key, set[Key]] = {}
    for key, named_here in targets.items():
        for target in named_here:
            users.setdefault(target, set()).add(key)
    return users


def _with_targets(targets: Mapping[Key, Set[Key]], keys: Set[Key]) -> set[Key]:
    """These, and all that they refer to."""
    reached, new = set(keys), set(keys)
    while new := {target for key in new for target in targets.get(key, ())} - reached:
        reached |= new
    return reached


def _referred(catalogue: Catalogue, record: Record) -> Iterator[Key]:
    """All that an object refers to, and what a machine runs with until its restart."""
    manifest = record.obj.manifest
    yield from named(catalogue, manifest)
    if runs := record.status.get("runningSpec"):
        yield from named(catalogue, replace(manifest, content={**manifest.content, "spec": runs}))


def named(catalogue: Catalogue, manifest: Manifest) -> Iterator[Key]:
    """All that a manifest refers to, or takes by its name."""
    yield from (target for _, target in references(catalogue, manifest))
    if (locks := RECORDS[manifest.key.kind].locks) is not None:
        yield from locks(manifest)
