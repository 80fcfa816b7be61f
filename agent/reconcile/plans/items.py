"""A plan's items: what is different, and what would be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from agent.core import planprint
from agent.core.acceptance import suspended
from agent.core.changes import SENSITIVE, Change, Disposition, reason, redacted
from agent.core.drift import NO_DRIFT, Drift
from agent.core.facts import Decision, Engine
from agent.core.ledger import Record, is_redacted, same_content
from agent.core.model import BUILT_IN, Condition, Key, Object, Problem
from agent.core.schema import Catalogue
from agent.kinds.registry import MACHINES, RECORDS, farewell
from agent.kinds.suspension import MESSAGE as SUSPENDED
from agent.reconcile.book import Book
from agent.reconcile.plans.reserving import by_itself
from agent.reconcile.plans.simulate import Simulation
from agent.reconcile.status_branch import Ledger

QUIET = ("SetLiveMetadata",)
BACK = "comes back from the trash with its data"
STAYS = "stays: its deletion, which is still waiting, is taken back"


@dataclass
class Item:
    """What happens to one object."""

    key: Key
    operation: str
    """create, restore, change, delete, held, act, blocked or drift."""
    immediate: list[Change] = field(default_factory=list)
    restart: list[Change] = field(default_factory=list)
    next_start: list[Change] = field(default_factory=list)
    """Changes of a VM that is off."""
    actions: list[str] = field(default_factory=list)
    reason: str = ""
    because: tuple[str, ...] = ()
    """Why changes wait for a restart, each reason once."""
    automatic: bool = False
    """True if the restart comes by itself, as soon as it can."""
    drift: Drift = NO_DRIFT
    """What somebody changed by hand on the host."""


@dataclass(frozen=True)
class PlanReport:
    """`revision` is empty for a folder on disk."""

    revision: str
    items: list[Item]
    problems: tuple[Problem, ...]

    @property
    def empty(self) -> bool:
        return not self.items


def listed(
    catalogue: Catalogue,
    ledger: Ledger,
    book: Book,
    engine: Engine,
    simulation: Simulation,
    gone: Mapping[Key, Record],
    *,
    live: bool,
) -> list[Item]:
    """Items sorted by object. `gone` are objects that are not there any more in the end; `live` if
    it is known what hosts show.
    """
    going = {key for key, record in ledger.records.items() if record.obj.deleted}
    staying = {key for key, record in book.records.items() if not record.obj.deleted}
    items = {
        key: Item(key, "delete", reason=farewell(gone[key], staying))
        for key in gone.keys() - going
        if not by_itself(catalogue, gone[key].obj)
    }
    seen = simulation.seen
    for key, record in book.records.items():
        known = ledger.records.get(key)
        if known is None and record.obj.uid in ledger.trash:
            item: Item | None = Item(key, "restore", reason=BACK)
        else:
            item = _item(catalogue, known, record, seen.get(key, ()), staying)
        if item is not None:
            items[key] = item
    _tell_deeds(items, simulation, live=live)
    for key in ledger.records.keys() & book.records.keys() - items.keys():
        if _newly_blocked(ledger.records[key], _last(engine, key)):
            items[key] = Item(key, "blocked")
    for key in items.keys() & book.records.keys():
        request = catalogue.kinds[key.kind].request
        _explain(items[key], book.records[key], _last(engine, key), request=request)
    for problem in book.held:
        key = _key(problem.resource)
        item = items.setdefault(key, Item(key, "held"))  # what else is told of it stays true
        item.operation, item.reason = "held", problem.message
    return [items[key] for key in sorted(items)]


def _tell_deeds(items: dict[Key, Item], simulation: Simulation, *, live: bool) -> None:
    """What would be done, and what the hosts show to be changed by hand before any of that."""
    for key, actions in simulation.done.items():
        verbs = list(dict.fromkeys(action.verb for action in actions if action.verb not in QUIET))
        if verbs and (key in items or live or verbs != ["DefineDomain"]):
            items.setdefault(key, Item(key, "act")).actions = verbs
    for key, decisions in simulation.seen.items():
        for decision in decisions:
            for renewal in decision.renews:
                items.setdefault(renewal.key, Item(renewal.key, "act")).reason = renewal.told
            if decision.renews and key in items:
                items[key].reason = str((decision.status or {})["resources"][0]["message"])
            if (proposal := decision.proposes) is not None and key in items:
                told = f"writes branch {proposal.name} with {proposal.says}, to be merged"
                items[key].reason = told
        drift = next((decision.drift for decision in decisions if decision.drift), None)
        if drift is not None and live:  # pragma: no mutate: what is remembered shows none
            items.setdefault(key, Item(key, "drift")).drift = drift


def _conditions(decision: Decision) -> Sequence[Condition]:
    conditions: Sequence[Condition] = (decision.status or {}).get("conditions", ())
    return conditions


def _item(
    catalogue: Catalogue,
    known: Record | None,
    record: Record,
    decisions: Sequence[Decision],
    staying: Set[Key],
) -> Item | None:
    key = record.obj.key
    if record.obj.source == BUILT_IN or by_itself(catalogue, record.obj):
        return None
    if known is not None and known.obj.deleted:
        return None if record.obj.deleted else Item(key, "restore", reason=STAYS)
    if record.obj.deleted:
        return Item(key, "delete", reason=farewell(record, staying))
    if known is None:
        return Item(key, "create")
    changes = [*_metadata(known.obj, record.obj), *_content(catalogue, known.obj, record.obj)]
    if not changes:
        return None
    item = Item(key, "change")
    pending = {change.path: change for decision in decisions for change in decision.changes}
    on = known.status.get("phase") in MACHINES.on
    for change in changes:
        if not catalogue.kinds[key.kind].machine or change.disposition is not Disposition.RESTART:
            item.immediate.append(change)
        elif not on:
            item.next_start.append(change)
        else:  # what is taken back before a restart needs none
            (item.restart if change.path in pending else item.immediate).append(change)
    if suspended(known.obj.manifest) and not suspended(record.obj.manifest):
        told = {change.path for change in changes}
        item.restart += [change for path, change in sorted(pending.items()) if path not in told]
    reasons = (reason(catalogue.kinds[key.kind], change.path) for change in item.restart)
    item.because = tuple(dict.fromkeys(filter(None, reasons)))
    item.automatic = (
        bool(item.restart) and MACHINES.by_itself(record.obj) and not suspended(record.obj.manifest)
    )
    return item


def _last(engine: Engine, key: Key) -> Decision:
    """What is thought of an object in the end."""
    return engine.decisions.get(key, Decision())


def _newly_blocked(known: Record, decision: Decision) -> bool:
    """True if an object that nobody changes could not start or be made any more."""
    before = {
        condition["type"]
        for condition in known.status.get("conditions", ())
        if condition["status"] == "False"
    }
    blocking = _blocking(known.obj.key.kind, decision)
    return any(condition.type not in before for condition in blocking)


def _explain(item: Item, record: Record, decision: Decision, *, request: bool) -> None:
    """Say what becomes of an object, where that is not just what was asked for."""
    said = (decision.status or {}).get("phase")
    conditions = {condition.type: condition.message for condition in _conditions(decision)}
    if item.operation == "delete":
        item.reason = conditions.get("Terminating") or conditions.get("InUse") or item.reason
        return
    blocking = [condition.message for condition in _blocking(item.key.kind, decision)]
    if request and said == "Failed":
        blocking = [conditions.get("Completed", "")]
    if suspended(record.obj.manifest):
        blocking = [SUSPENDED]
    if item.operation == "create" and not blocking:
        item.reason = item.reason or RECORDS[item.key.kind].promise(decision.status or {})
    if blocking:
        item.reason = " ".join(dict.fromkeys(blocking))
        if item.operation in ("create", "restore"):
            item.operation = "blocked"


def _blocking(kind: str, decision: Decision) -> list[Condition]:
    told = RECORDS[kind].hindrances
    return [
        condition
        for condition in _conditions(decision)
        if condition.status == "False" and not told.isdisjoint((condition.type, condition.reason))
    ]


def _key(resource: str) -> Key:
    kind, _, name = resource.partition(" ")
    namespace, _, short = name.rpartition("/")
    return Key(kind, namespace, short)


def _content(catalogue: Catalogue, old: Object, new: Object) -> Iterator[Change]:
    kind = catalogue.kinds[new.key.kind]
    if "spec" in new.manifest.content:
        hidden = is_redacted(old.spec)  # what cannot be seen is no difference
        wanted = redacted(kind, new.spec) if hidden else new.spec
        yield from RECORDS[kind.name].differences(kind, old.spec, wanted)
    elif not same_content(kind, new.manifest, old.manifest):
        yield Change("replace", "content", SENSITIVE, SENSITIVE, Disposition.IMMEDIATE)


def _metadata(old: Object, new: Object) -> Iterator[Change]:
    for name in ("labels", "annotations"):
        before, after = getattr(old.manifest, name), getattr(new.manifest, name)
        for key in sorted(before.keys() | after.keys()):
            was, now = before.get(key), after.get(key)
            if was != now:
                operation = "add" if was is None else "remove" if now is None else "replace"
                yield Change(operation, f"metadata.{name}.{key}", was, now, Disposition.IMMEDIATE)


def lines(report: PlanReport) -> list[planprint.Line]:
    """A plan as it is printed."""
    return [
        planprint.Line(
            str(item.key),
            item.operation,
            item.immediate,
            item.restart,
            item.next_start,
            item.actions,
            item.reason,
            item.automatic,
            item.because,
            tuple(item.drift.lines()),
        )
        for item in report.items
    ]
