"""What is cleared away without anybody asking, one look at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.core.actions import EraseVolume
from agent.core.facts import Engine
from agent.core.host import RawDomain, RawVolume, Reading
from agent.core.identity import POOL, disk_volume, image_volume
from agent.core.jobs import Job
from agent.core.known import JOB
from agent.core.ledger import Record
from agent.core.model import Desired, Json, Key, Manifest, Meant, Object
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.reconcile.book import Book
from agent.reconcile.execute import Outcome, Ticket
from agent.reconcile.housekeeping import ERASE_AGAIN, EVERY, GRACE, VOLUME, Housekeeping
from agent.reconcile.news import Lanes, NodeLanes
from agent.reconcile.status_branch import Ledger
from agent.reconcile.world import FullRead, VolumeRead, World
from tests.memory_host import NODE

FLEET = "default"
RETENTION = 7 * 86400.0
DISK = Key("VirtualDisk", "lab", "disk")
GONE = disk_volume(FLEET, DISK, "uid")
DIGEST, OTHER = "5" * 64, "6" * 64
DATA = image_volume(FLEET, DIGEST, "qcow2")
IMAGE = Key("VirtualImage", "lab", "image")
HTTP: Mapping[str, Json] = {"dataSource": {"type": "HTTP"}}
FACTS: Json = {"digest": DIGEST, "format": "qcow2"}
HOLDS = Desired("r")
NOW = RETENTION


def record(key: Key, spec: Mapping[str, Json] = {}, uid: str = "uid", **status: Json) -> Record:
    obj = Object(Manifest(key, {}, {}, {"spec": spec}), uid, 1, timestamp(0), "c:f", timestamp(0))
    return Record(obj, status)


def imported(digest: str = DIGEST, key: Key = IMAGE, **more: Json) -> Record:
    return record(key, HTTP, phase="Ready", **{"digest": digest, "format": "qcow2", **more})


def deleted(phase: str = "Deleted", key: Key = DISK, **more: Json) -> Record:
    """An entry of the trash, with data, since the beginning of time."""
    condition = {"type": "Deleted", "status": "True", "reason": "InTrash"}
    since = {"lastTransitionTime": timestamp(0)}
    spec = HTTP if "import" in more else {}
    return record(key, spec, phase=phase, conditions=[{**condition, **since}], **more)


@dataclass
class Reach:
    """What is asked of all hosts."""

    away: tuple[str, ...] = ()
    names: tuple[str, ...] = (NODE.name,)
    shared: bool = False

    def reachable(self, node: str) -> bool:
        return node in self.names and node not in self.away

    def sharing(self, node: str, _pool: str) -> tuple[str, ...]:
        return self.names if self.shared else (node,)


@dataclass
class House:
    """Housekeeping over a book and a world; what it begins waits in `tasks`."""

    keeping: Housekeeping
    engine: Engine
    book: Book
    world: World
    tasks: list[Callable[[], None]] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)
    hosts: Reach = field(default_factory=Reach)

    def holds(self, *names: str, domains: tuple[RawDomain, ...] = ()) -> None:
        """What the host has."""
        volumes = {(POOL, name): RawVolume(POOL, name, f"/{name}", 1, 1) for name in names}
        found = {each.uuid: each for each in domains}
        self.world.observe(FullRead(1, Reading(NODE, found, volumes, {POOL: "/"})))

    def run(self, now: float, desired: Desired = HOLDS) -> list[str]:
        """Names of the volumes whose deletion begins."""
        before = len(self.tasks)
        self.keeping.run(now, desired)
        for task in self.tasks[before:]:
            task()
        began = self.tickets[before:]
        assert all(isinstance(each.actions[0], EraseVolume) for each in began)
        return [each.key.name.removeprefix(f"{POOL}/") for each in began]

    def end(self, name: str, now: float, failed: str = "") -> None:
        key = Key(VOLUME, NODE.name, f"{POOL}/{name}")
        self.keeping.ended(Outcome(key, 0, failed=failed, reason=failed, message="a sentence"), now)

    def write(self) -> None:
        """The status branch takes all in."""
        self.book.outbox.take_batch()
        self.book.outbox.written()

    def said(self, uid: str = "uid") -> tuple[str, str]:
        """Phase and reason of an entry of the trash."""
        status = self.book.trash.entries[uid].status
        reasons = [each["reason"] for each in status.get("conditions", ())]
        return status["phase"], next(iter(reasons), "")


def house(*records: Record, trash: tuple[Record, ...] = (), connected: bool = True) -> House:
    engine = Engine({}, {})
    world = World(engine, FLEET)
    book = Book(engine, Catalogue.load(), world, FLEET, ".")
    known = {each.obj.key: each for each in records}
    book.load(Ledger(records=known, trash={each.obj.uid: each for each in trash}))
    tasks: list[Callable[[], None]] = []
    tickets: list[Ticket] = []

    class Work:
        def run(self, ticket: Ticket) -> None:
            tickets.append(ticket)

    def never(_: object) -> None:
        raise AssertionError("only deletions are done")

    work: Any = Work()
    of = NodeLanes(never, never, tasks.append, never, never, never, never)
    lanes = Lanes(never, never, {NODE.name: of})
    hosts: Any = Reach() if connected else Reach(away=(NODE.name,))
    keeping = Housekeeping(engine, book, world, hosts, work, lanes, never, FLEET, RETENTION)
    made = House(keeping, engine, book, world, tasks, tickets, hosts)
    if connected:
        made.holds()
    return made


def domain(name: str, volume: str) -> RawDomain:
    xml = f"<domain><disk><source file='/{volume}'/></disk></domain>"
    return RawDomain(f"uuid-{name}", name, "shutoff", "unknown", xml)


def test_the_times_are_those_that_are_promised() -> None:
    assert (EVERY, ERASE_AGAIN, GRACE) == (60.0, 600.0, 3600.0)


def test_it_looks_once_a_minute_or_when_something_has_happened() -> None:
    keeping = house().keeping
    assert (keeping.due(), keeping.looked) == (0.0, False)
    keeping.run(NOW, HOLDS)
    assert (keeping.due(), keeping.looked) == (NOW + EVERY, True)
    assert keeping.finished(NOW) == (frozenset(), frozenset())
    assert not keeping.looked
    keeping.run(NOW + EVERY - 1, HOLDS)
    assert not keeping.looked
    keeping.wake()
    assert keeping.due() == 0.0
    keeping.run(NOW + EVERY - 1, HOLDS)
    assert keeping.looked
    assert keeping.due() == NOW + 2 * EVERY - 1
    keeping.finished(NOW)
    keeping.run(NOW + 2 * EVERY - 1, HOLDS)
    assert keeping.looked


# -- the trash --------------------------------------------------------------------------------


def test_what_was_deleted_is_erased_after_its_time_and_in_two_steps() -> None:
    made = house(trash=(deleted(),))
    assert made.run(RETENTION - 1) == []
    assert made.said() == ("Deleted", "InTrash")
    made.keeping.wake()
    assert made.run(RETENTION) == []
    assert made.said() == ("Erasing", "Erasing")
    made.keeping.wake()
    assert made.run(RETENTION) == []  # the status branch does not say so yet
    made.write()
    made.keeping.wake()
    assert made.run(RETENTION) == [GONE]
    assert made.tickets[0].actions == (EraseVolume(NODE.name, POOL, GONE),)
    assert made.keeping.busy == {(NODE.name, POOL, GONE)}
    made.keeping.wake()
    assert made.run(RETENTION) == []  # it is under way
    made.end(GONE, RETENTION)
    assert made.keeping.busy == set()
    assert made.book.trash.entries == {}
    assert made.keeping.due() == 0.0


def test_while_no_host_was_read_nothing_is_erased() -> None:
    made = house(trash=(deleted(),), connected=False)
    assert made.run(RETENTION) == []
    assert made.said() == ("Deleted", "NodeNotReady")


# -- of several nodes -------------------------------------------------------------------------

OTHER_NODE = replace(NODE, name="node-2")


def on_other(made: House, *names: str, domains: tuple[RawDomain, ...] = ()) -> None:
    """What another node has."""
    made.hosts.names = (NODE.name, OTHER_NODE.name)
    volumes = {(POOL, name): RawVolume(POOL, name, f"/{name}", 1, 1) for name in names}
    found = {each.uuid: each for each in domains}
    made.world.observe(FullRead(1, Reading(OTHER_NODE, found, volumes, {POOL: "/"})))


def test_a_disk_is_erased_on_the_node_that_has_it() -> None:
    made = house(trash=(deleted("Erasing"),))
    on_other(made, GONE)
    assert made.run(NOW) == [GONE]
    assert made.tickets[0].actions == (EraseVolume(OTHER_NODE.name, POOL, GONE),)


def test_a_disk_goes_from_the_trash_once_no_node_has_it() -> None:
    made = house(trash=(deleted("Erasing"),))
    made.holds(GONE)
    on_other(made, GONE)
    assert made.run(NOW) == [GONE, GONE]
    for node in made.hosts.names:
        assert made.book.trash.entries
        made.world.observe(VolumeRead(node, POOL, GONE, None))
        made.keeping.ended(Outcome(Key(VOLUME, node, f"{POOL}/{GONE}"), 0), NOW)
    assert made.book.trash.entries == {}


@pytest.mark.parametrize("home", ["", OTHER_NODE.name])
def test_a_disk_whose_node_is_away_stays_in_the_trash(home: str) -> None:
    """Also where nobody knows which node has it, and one is away."""
    made = house(trash=(deleted("Erasing", home=home),))
    on_other(made)
    made.hosts.away = (OTHER_NODE.name,)
    assert made.run(NOW) == []
    assert made.said() == ("Erasing", "NodeNotReady")
    made.hosts.away = ()
    made.write()
    made.keeping.wake()
    assert made.run(NOW + ERASE_AGAIN) == [GONE]


def test_a_node_that_is_away_keeps_nothing_of_the_others() -> None:
    made = house(trash=(deleted("Erasing", home=NODE.name),))
    made.holds(GONE)
    on_other(made)
    made.hosts.away = (OTHER_NODE.name,)
    assert made.run(NOW) == [GONE]


@pytest.mark.parametrize("shared", [False, True])
def test_who_uses_a_disk_is_looked_for_where_its_data_is(shared: bool) -> None:
    made = house(trash=(deleted(),))
    made.holds(GONE)
    on_other(made, domains=(domain("mine", GONE),))
    made.hosts.shared = shared
    made.run(NOW)
    assert made.said() == (("Deleted", "VolumeInUse") if shared else ("Erasing", "Erasing"))


def test_data_that_nothing_needs_goes_from_each_node_by_itself() -> None:
    made = house()
    made.holds(DATA)
    on_other(made, DATA, domains=(domain("mine", DATA),))
    made.run(NOW)
    assert made.run(NOW + GRACE) == [DATA]
    assert made.tickets[0].actions == (EraseVolume(NODE.name, POOL, DATA),)
    on_other(made, DATA)
    made.hosts.away = (OTHER_NODE.name,)
    made.world.observe(VolumeRead(NODE.name, POOL, DATA, None))
    made.end(DATA, NOW + GRACE)
    made.keeping.wake()
    assert made.run(NOW + GRACE + ERASE_AGAIN + EVERY) == []
    made.hosts.away = ()
    made.keeping.wake()
    assert made.run(NOW + GRACE + ERASE_AGAIN + 2 * EVERY) == [DATA]


def test_what_somebody_refers_to_stays_and_is_looked_at_again() -> None:
    made = house(trash=(deleted(),))
    made.holds(domains=(domain("mine", GONE), domain("yours", GONE)))
    assert made.run(NOW) == []
    assert made.said() == ("Deleted", "VolumeInUse")
    (condition,) = made.book.trash.entries["uid"].status["conditions"]
    assert condition["message"] == ("Its volume is kept: domain mine, domain yours refers to it.")
    made.holds()
    made.keeping.wake()
    made.run(NOW + ERASE_AGAIN - 1)
    assert made.said() == ("Deleted", "VolumeInUse")
    made.keeping.wake()
    made.run(NOW + ERASE_AGAIN)
    assert made.said() == ("Erasing", "Erasing")


def test_an_overlay_of_somebody_is_a_user() -> None:
    made = house(trash=(deleted(),))
    overlay = RawVolume(POOL, "overlay", "/overlay", 1, 1, f"/{GONE}")
    made.world.observe(VolumeRead(NODE.name, POOL, "overlay", overlay))
    made.run(NOW)
    assert made.said() == ("Deleted", "VolumeInUse")


def test_what_cannot_be_erased_says_why_and_is_tried_again() -> None:
    made = house(trash=(deleted("Erasing"),))
    assert made.run(NOW) == [GONE]
    made.end(GONE, NOW, failed="Busy")
    assert made.said() == ("Erasing", "Busy")
    assert made.keeping.due() == 0.0
    made.write()
    assert made.run(NOW + ERASE_AGAIN - 1) == []
    made.keeping.wake()
    assert made.run(NOW + ERASE_AGAIN) == [GONE]


# -- image data -------------------------------------------------------------------------------


def unneeded(made: House, desired: Desired = HOLDS) -> bool:
    """True if the data goes after an hour."""
    made.holds(DATA)
    assert made.run(NOW, desired) == []
    made.keeping.wake()
    early = made.run(NOW + GRACE - 1, desired)
    made.keeping.wake()
    late = made.run(NOW + GRACE + EVERY, desired)
    assert early == []
    assert late in ([], [DATA])
    return bool(late)


@pytest.mark.parametrize(
    ("records", "trash", "goes"),
    [
        ((), (), True),
        ((imported(),), (), False),
        ((imported(OTHER),), (), True),
        ((imported(OTHER), imported(key=IMAGE._replace(name="two"))), (), False),
        ((record(IMAGE, HTTP, phase="Pending"),), (), False),  # it may need it
        ((record(DISK, HTTP, "uid", **{"import": FACTS}),), (), False),
        ((), (deleted(**{"import": FACTS}),), False),
    ],
)  # fmt: skip
def test_data_that_no_object_was_made_to_have_goes_after_an_hour(
    records: tuple[Record, ...], trash: tuple[Record, ...], goes: bool
) -> None:
    assert unneeded(house(*records, trash=trash)) is goes


@pytest.mark.parametrize(
    ("desired", "goes"),
    [
        (Desired("r", broken=("a.yaml",)), False),
        (Desired("r", invalid=frozenset({IMAGE})), True),
        (Desired("r", invalid=frozenset({DISK})), False),
        (Desired("r", invalid=frozenset({IMAGE, DISK})), False),
        (Desired("r", meant={Meant(None, None, "other"): "a.yaml:1"}), False),
        (Desired("r", meant={Meant(None, None, "image"): "a.yaml:1"}), True),
        (Desired("r", meant={Meant(None, None, None): "a.yaml:1"}), False),
        (Desired("r", meant={Meant("VirtualDisk", None, "other"): "a.yaml:1"}), False),
        (Desired("r", meant={Meant("VirtualMachine", None, "other"): "a.yaml:1"}), True),
    ],
)
def test_data_stays_while_a_manifest_that_does_not_hold_may_need_it(
    desired: Desired, goes: bool
) -> None:
    assert unneeded(house(imported(OTHER)), desired) is goes


@pytest.mark.parametrize(("verb", "goes"), [("ImportImage", False), ("CreateVolume", True)])
def test_data_stays_while_some_is_downloaded(verb: str, goes: bool) -> None:
    made = house(imported(OTHER), imported(OTHER, key=IMAGE._replace(name="two")))
    made.engine.put(JOB, IMAGE, Job(busy=(verb,)))
    assert unneeded(made) is goes


def test_the_hour_begins_anew_where_it_was_needed_meanwhile() -> None:
    made = house(imported(OTHER))
    made.holds(DATA)
    made.run(NOW)
    made.book.records[IMAGE] = imported()
    made.keeping.wake()
    made.run(NOW + EVERY)
    made.book.records[IMAGE] = imported(OTHER)
    made.keeping.wake()
    made.run(NOW + 2 * EVERY)
    made.keeping.wake()
    assert made.run(NOW + GRACE + EVERY) == []
    made.keeping.wake()
    assert made.run(NOW + GRACE + 2 * EVERY) == [DATA]


def test_data_is_looked_at_once_a_minute_whatever_happens() -> None:
    made = house()
    made.holds(DATA)
    made.run(NOW)
    made.keeping.wake()
    made.run(NOW + EVERY - 1)
    made.keeping.wake()
    assert made.run(NOW + GRACE) == [DATA]
    made.end(DATA, NOW + GRACE)
    assert made.run(NOW + GRACE + EVERY - 1) == []
    made.keeping.wake()
    assert made.run(NOW + GRACE + EVERY) == [DATA]  # the host has it still


def test_data_that_a_domain_refers_to_stays() -> None:
    made = house()
    made.holds(DATA, domains=(domain("mine", DATA),))
    made.run(NOW)
    assert made.run(NOW + GRACE) == []
    made.holds(DATA)
    assert made.run(NOW + GRACE + ERASE_AGAIN - EVERY) == []
    assert made.run(NOW + GRACE + ERASE_AGAIN) == [DATA]


def test_data_that_cannot_be_deleted_is_tried_again() -> None:
    made = house()
    made.holds(DATA)
    made.run(NOW)
    assert made.run(NOW + GRACE) == [DATA]
    made.end(DATA, NOW + GRACE, failed="Busy")
    assert made.run(NOW + GRACE + ERASE_AGAIN - EVERY) == []
    assert made.run(NOW + GRACE + ERASE_AGAIN) == [DATA]
    made.end(DATA, NOW + GRACE + ERASE_AGAIN)
    assert made.run(NOW + GRACE + ERASE_AGAIN + EVERY) == [DATA]


# -- operations -------------------------------------------------------------------------------


def operation(name: str, phase: str = "Completed", at: float = 0.0) -> Record:
    key = Key("VirtualMachineOperation", "lab", name)
    end = {"type": "Completed", "lastTransitionTime": timestamp(at)}
    spec = {"virtualMachineName": "vm", "type": "Stop"}
    return record(key, spec, uid=name, phase=phase, conditions=[end])


def test_files_of_operations_that_ended_are_tried_once_an_hour() -> None:
    old, new = operation("old"), operation("new", at=NOW)
    made = house(old, new, operation("under-way", "InProgress"))
    gone, kept = frozenset({old.obj.key}), frozenset({new.obj.key})
    assert made.keeping.finished(NOW) == (gone, kept)
    assert made.keeping.finished(NOW + GRACE - 1) == (frozenset(), kept)
    assert made.keeping.finished(NOW + GRACE) == (gone, kept)
    assert made.keeping.finished(NOW + 86400) == (gone | kept, frozenset())  # others


def test_what_the_status_branch_does_not_say_yet_has_not_ended() -> None:
    old = operation("old")
    made = house(old)
    made.book.outbox.change(old.obj.key, old.obj.uid)
    assert made.keeping.finished(NOW) == (frozenset(), frozenset())
