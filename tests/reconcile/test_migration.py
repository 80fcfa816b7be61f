"""What verbs between two nodes do is seen, a plan takes just that for done, and none is done to anything but what it is for."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.core.actions import Action
from agent.core.domain_xml import bare
from agent.core.facts import Engine
from agent.core.host import HostError, RawDomain, RawVolume, version
from agent.core.identity import POOL, unfinished
from agent.core.metadata import DomainMetadata, Migration, Power
from agent.core.migrating import Order
from agent.core.model import Key
from agent.core.moves import (
    AbortMigration,
    BetweenNodes,
    CarryDomain,
    DiscardLanding,
    Freight,
    LandDomain,
    LeaveSource,
    MigrateDomain,
    ResumeSource,
)
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Outcome, Ticket, by_itself
from agent.reconcile.plans.simulate import simulated
from agent.reconcile.supply import Source
from agent.reconcile.verbs.verb import Done, OutdatedError
from agent.reconcile.world import FullRead, World
from tests.hosts import PATIENCE
from tests.memory_host import NODE, MemoryHost, Volume
from tests.reconcile.test_verbs import comparable, leaves

VM = "11111111-1111-4111-8111-111111111111"
A, B = "a", "b"
PATH = f"/var/lib/libvirt/{POOL}"
DISK, BASE, SEED = "disk.qcow2", "base.qcow2", "seed.iso"
PEER = "memory+peer://b/"
MARK = Migration("op", A, B, at=5, epoch=0)
MEMORY = DomainMetadata(
    "default", "default", "vm", "u", "", 1, "", "one", Power(True, "policy", 0, "one")
)


@dataclass
class Pair:
    """A machine on node a, with its mark, that is to go to node b."""

    a: MemoryHost
    b: MemoryHost

    def of(self, node: str) -> MemoryHost:
        return self.a if node == A else self.b

    def put(
        self, node: str, state: str, reason: str, memory: DomainMetadata, *, kept: bool = True
    ) -> None:
        xml = bare("default.vm", VM, memory)
        active = "" if state == "shutoff" else xml
        self.of(node)._put(RawDomain(VM, "default.vm", state, reason, xml if kept else "", active))


def host(name: str) -> MemoryHost:
    made = MemoryHost(node=replace(NODE, name=name, uri=f"memory:///{name}", host=f"uuid-{name}"))
    made.pools[POOL] = {}
    return made


def pair() -> Pair:
    made = Pair(host(A), host(B))
    made.a.peers = {PEER: made.b}
    for name, content, base in (
        (BASE, b"base", ""),
        (DISK, b"data", f"{PATH}/{BASE}"),
        (SEED, b"seed", ""),
    ):
        made.a.pools[POOL][name] = Volume(f"{PATH}/{name}", 1 << 20, base, content)
    return made


def mark_half(made: Pair) -> None:
    for name in (DISK, unfinished(DISK)):
        made.b.pools[POOL][name] = Volume(f"{PATH}/{name}", 1 << 20, content=b"half")


LEAVING = replace(MEMORY, migration=MARK)
RAISED = replace(LEAVING, epoch=1, home=B)


def about_to_go(made: Pair) -> None:
    made.put(A, "running", "booted", LEAVING)


def going(made: Pair) -> None:
    about_to_go(made)
    mark_half(made)
    made.a.migrations_held = True
    made.a.begin_migration(VM, ORDER)


def landed(made: Pair) -> None:
    made.put(A, "shutoff", "migrated", LEAVING)
    made.put(B, "paused", "user", LEAVING)
    mark_half(made)


def in_doubt(made: Pair) -> None:
    landed(made)
    made.put(A, "paused", "migration", LEAVING)


def landed_too_late(made: Pair) -> None:
    landed(made)
    made.put(A, "running", "migration-canceled", LEAVING)


def ended_there(made: Pair) -> None:
    landed(made)
    made.put(B, "shutoff", "crashed", LEAVING)


def arrived(made: Pair) -> None:
    landed(made)
    made.put(B, "running", "unpaused", RAISED)
    made.b.pools[POOL][DISK].content = b"data"
    del made.b.pools[POOL][unfinished(DISK)]


def arrived_beside_one_that_waits(made: Pair) -> None:
    arrived(made)
    made.put(A, "paused", "migration", LEAVING)


def went_on_and_ended(made: Pair) -> None:
    """The source's guest went on by itself, and was shut down before anybody looked."""
    landed(made)
    made.put(A, "shutoff", "shutdown", LEAVING)


def undone(made: Pair) -> None:
    about_to_go(made)
    mark_half(made)
    made.put(B, "shutoff", "daemon", LEAVING)


def incoming(made: Pair) -> None:
    about_to_go(made)
    mark_half(made)
    made.put(B, "paused", "migration", LEAVING, kept=False)


def left_alone(made: Pair) -> None:
    made.put(A, "paused", "migration", LEAVING)


def twice(made: Pair) -> None:
    about_to_go(made)
    made.put(B, "running", "unpaused", RAISED)


COLD = replace(MEMORY, migration=replace(MARK, operation="", cold=True))
TAKEN = replace(COLD, epoch=1, home=B)
OVER = version(RawDomain(VM, "default.vm", "shutoff", "shutdown", bare("default.vm", VM, COLD)))


def about_to_be_taken(made: Pair) -> None:
    """Beside what an earlier attempt has left."""
    made.put(A, "shutoff", "shutdown", COLD)
    mark_half(made)


def taken(made: Pair) -> None:
    made.put(A, "shutoff", "shutdown", COLD)
    made.put(B, "shutoff", "unknown", TAKEN)
    mark_half(made)
    made.b.pools[POOL][DISK].content = b"data"


def started_by_hand(made: Pair) -> None:
    made.put(A, "running", "booted", COLD)


def just_starting_by_hand(made: Pair) -> None:
    made.put(A, "paused", "starting-up", COLD)


def started_behind_it(made: Pair) -> None:
    taken(made)
    just_starting_by_hand(made)


def saved_by_hand(made: Pair) -> None:
    about_to_be_taken(made)
    made.a._put(replace(made.a._domains[VM], managed_save=True))


def changed_by_hand(made: Pair) -> None:
    made.put(A, "shutoff", "shutdown", replace(COLD, labels={"a": "b"}))


def nothing_marked(made: Pair) -> None:
    made.put(A, "running", "booted", MEMORY)


ORDER = Order(PEER)
FREIGHT = (
    Freight(POOL, BASE, 1 << 20, 4, "qcow2"),
    Freight(POOL, DISK, 1 << 20, 4, "qcow2", True, f"{PATH}/{BASE}", "qcow2"),
    Freight(POOL, SEED, 4, 4, "raw"),
)
OWN = ((POOL, DISK),)


def migrate(instance: str = "one", operation: str = "op") -> MigrateDomain:
    return MigrateDomain(A, VM, A, B, instance, operation, ORDER, FREIGHT)


CARRY = CarryDomain(A, VM, A, B, OVER, FREIGHT)
ABORT = AbortMigration(A, VM, A, B)
LAND = LandDomain(B, VM, A, B, OWN)
LEAVE = LeaveSource(A, VM, A, B, OWN, ((POOL, SEED),))
DISCARD = DiscardLanding(B, VM, A, B, OWN)
RESUME = ResumeSource(A, VM, A, B)

Stage = Callable[[Pair], None]
OUTDATED = "DomainChanged"
CASES: tuple[tuple[Stage, BetweenNodes, str], ...] = (
    (about_to_go, migrate(), ""),
    (about_to_go, migrate(operation="other"), OUTDATED),
    (nothing_marked, migrate(), OUTDATED),
    (landed, migrate(), OUTDATED),
    (twice, migrate(), OUTDATED),
    (going, ABORT, ""),
    (about_to_go, ABORT, OUTDATED),
    (landed, LAND, ""),
    (in_doubt, LAND, ""),
    (ended_there, LAND, ""),
    (landed_too_late, LAND, OUTDATED),
    (going, LAND, OUTDATED),
    (twice, LAND, OUTDATED),
    (arrived, LEAVE, ""),
    (arrived_beside_one_that_waits, LEAVE, ""),
    (landed, LEAVE, OUTDATED),
    (twice, LEAVE, OUTDATED),
    (landed_too_late, DISCARD, ""),
    (went_on_and_ended, LAND, OUTDATED),
    (went_on_and_ended, DISCARD, ""),
    (undone, DISCARD, ""),
    (incoming, DISCARD, ""),
    (landed, DISCARD, OUTDATED),
    (arrived, DISCARD, OUTDATED),
    (going, DISCARD, OUTDATED),
    (left_alone, RESUME, ""),
    (in_doubt, RESUME, OUTDATED),
    (landed, RESUME, OUTDATED),
    (about_to_be_taken, CARRY, ""),
    (about_to_go, CARRY, OUTDATED),
    (nothing_marked, CARRY, OUTDATED),
    (started_by_hand, CARRY, OUTDATED),
    (just_starting_by_hand, CARRY, OUTDATED),
    (saved_by_hand, CARRY, OUTDATED),
    (changed_by_hand, CARRY, OUTDATED),
    (taken, CARRY, OUTDATED),
    (taken, LEAVE, ""),
    (taken, DISCARD, OUTDATED),
    (started_behind_it, LEAVE, OUTDATED),
    (started_behind_it, LAND, OUTDATED),
    (started_behind_it, DISCARD, OUTDATED),
)


def test_each_verb_between_nodes_has_a_case() -> None:
    assert {type(action) for _, action, _ in CASES} == leaves(BetweenNodes)


class Known:
    """What is known of both."""

    def __init__(self, pair: Pair) -> None:
        self.engine = Engine({}, {})
        self.world = World(self.engine, "default")
        for each in (pair.a, pair.b):
            self.world.observe(FullRead(0, each.read(frozenset({POOL}))))

    def observe(self, done: Done | Outcome) -> None:
        for seen in done.seen:
            self.world.observe(seen)

    def domains(self) -> dict[str, RawDomain]:
        found = {node: self.world.domains(node).get(VM) for node in (A, B)}
        return {node: comparable(raw) for node, raw in found.items() if raw is not None}

    def volumes(self) -> dict[str, list[str]]:
        return {node: sorted(name for _, name in self.world.volumes(node)) for node in (A, B)}


def foreseen(known: Known) -> dict[str, RawDomain]:
    """But for when a volume was last written to, which no fact says."""
    return {
        node: replace(raw, inactive_xml=re.sub(' taken="[^"]+"', "", raw.inactive_xml))
        for node, raw in known.domains().items()
    }


def executor(folder: Path, made: Pair, may_act: Callable[[], bool] = lambda: True) -> Executor:
    return Executor(
        hosts={A: made.a, B: made.b},
        source=Source(folder, 0, Reach(), lambda _news: None),
        number=itertools.count(1).__next__,
        stopping=lambda: False,
        may_act=may_act,
        sharing=by_itself,
    )


def run(folder: Path, made: Pair, action: Action) -> Outcome:
    return executor(folder, made).run(Ticket(Key("VirtualMachine", "default", "vm"), 1, (action,)))


@pytest.mark.parametrize(("stage", "action", "fails"), CASES)
def test_what_is_done_is_seen_and_a_plan_takes_just_that_for_done(
    stage: Stage, action: BetweenNodes, fails: str, tmp_path: Path
) -> None:
    made = pair()
    stage(made)
    before, seen, planned = Known(made), Known(made), Known(made)
    reason = ""
    try:
        planned.observe(simulated(action, planned.engine, planned.world))
    except OutdatedError as error:
        reason = error.reason
    outcome = run(tmp_path, made, action)
    seen.observe(outcome)
    real = Known(made)
    assert (outcome.reason, reason, outcome.outdated) == (fails, fails, bool(fails))
    assert (seen.domains(), seen.volumes()) == (real.domains(), real.volumes())
    assert foreseen(planned) == foreseen(real)
    assert (before.domains() != real.domains()) is not bool(fails)
    assert (
        len([raw for raw in real.domains().values() if raw.state == "running"])
        <= (stage is twice) + 1
    )


def test_a_machine_takes_along_what_it_writes_and_what_that_is_based_on(tmp_path: Path) -> None:
    made = pair()
    about_to_go(made)
    assert not run(tmp_path, made, migrate()).failed
    there = made.b.pools[POOL]
    assert {name: each.content for name, each in there.items()} == {
        DISK: b"",  # its host copies it along, where the definition names it
        BASE: b"base",
        SEED: b"seed",
    }
    assert there[DISK].backing_path == f"{PATH}/{BASE}"


def test_what_the_target_does_not_take_is_read_no_further(tmp_path: Path) -> None:
    """A call that nobody waits for any more would be counted against its host for ever."""
    made = pair()
    about_to_go(made)
    made.a.pools[POOL][BASE].content = b"base" * 100

    def upload(_pool: str, _name: str, chunks: Iterator[bytes], *_: object) -> RawVolume:
        next(chunks)
        raise HostError("NoSpace", "there is no space left")

    made.b.upload_volume = upload  # type: ignore[method-assign, assignment]
    assert run(tmp_path, made, migrate()).reason == "NoSpace"
    for thread in threading.enumerate():
        if thread.name == "carrying":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_what_it_has_left_goes_once_the_target_has_it(tmp_path: Path) -> None:
    made = pair()
    arrived(made)
    assert not run(tmp_path, made, LEAVE).failed
    assert sorted(made.a.pools[POOL]) == [BASE]
    made = pair()
    arrived(made)
    del made.b.pools[POOL][DISK]
    assert run(tmp_path, made, LEAVE).reason == "VolumeInUse"
    assert DISK in made.a.pools[POOL]


def test_a_volume_that_is_there_already_is_nobody_s_to_replace(tmp_path: Path) -> None:
    made = pair()
    about_to_go(made)
    made.b.pools[POOL][DISK] = Volume(f"{PATH}/{DISK}", 1 << 20, content=b"theirs")
    assert run(tmp_path, made, migrate()).reason == "VolumeExists"
    assert made.b.pools[POOL][DISK].content == b"theirs"
    assert made.a.orders == []


def test_no_machine_goes_where_its_disks_find_no_room(tmp_path: Path) -> None:
    made = pair()
    about_to_go(made)
    made.b.free = 3
    outcome = run(tmp_path, made, migrate())
    assert (outcome.reason, made.a.orders, made.b.pools[POOL]) == ("NoSpace", [], {})


def test_the_source_is_read_again_between_the_end_of_its_doubt_and_the_landing(
    tmp_path: Path,
) -> None:
    """It may go on by itself up to the moment in which it is ended."""
    made = pair()
    in_doubt(made)

    def goes_on(verb: str, phase: str) -> None:
        if (verb, phase) == ("set_metadata", "after"):
            made.put(A, "running", "migration-canceled", LEAVING)

    made.b.on_effect = goes_on
    assert run(tmp_path, made, LAND).outdated is False
    raws = [made.a._domains[VM], made.b._domains[VM]]
    assert [raw.state for raw in raws] == ["running", "paused"]


def test_what_another_agent_began_is_followed(tmp_path: Path) -> None:
    made = pair()
    going(made)
    made.a.migrations_held = False
    assert not run(tmp_path, made, migrate()).failed
    assert len(made.a.orders) == 1
    assert made.b._domains[VM].state == "running"
    assert unfinished(DISK) not in made.b.pools[POOL]


def test_a_machine_that_is_off_takes_all_along_that_it_has(tmp_path: Path) -> None:
    made = pair()
    about_to_be_taken(made)
    outcome = run(tmp_path, made, CARRY)
    assert not outcome.failed, outcome.message
    there = made.b.pools[POOL]
    assert {name: each.content for name, each in there.items()} == {
        DISK: b"data",
        BASE: b"base",
        SEED: b"seed",
    }
    assert there[DISK].backing_path == f"{PATH}/{BASE}"
    assert set(made.a.pools[POOL]) == {DISK, BASE, SEED}


def test_what_its_guest_has_written_is_marked_until_the_machine_is_there(tmp_path: Path) -> None:
    made = pair()
    about_to_be_taken(made)
    seen = []

    def look(verb: str, phase: str) -> None:
        if verb == "define":
            seen.append((phase, unfinished(DISK) in made.b.pools[POOL]))

    made.b.on_effect = look
    assert not run(tmp_path, made, CARRY).failed
    assert seen == [("before", True), ("after", True)]


def test_nothing_counts_that_somebody_has_written_to_meanwhile(tmp_path: Path) -> None:
    made = pair()
    about_to_be_taken(made)

    def write(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "after"):
            made.a.pools[POOL][DISK].content = b"more"

    made.b.on_effect = write
    outcome = run(tmp_path, made, CARRY)
    assert outcome.reason == "VolumeChanged"
    assert VM not in made.b._domains
    assert unfinished(DISK) in made.b.pools[POOL]


def test_a_start_while_it_is_copied_keeps_it_where_it_is(tmp_path: Path) -> None:
    made = pair()
    about_to_be_taken(made)

    def start(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "after"):
            started_by_hand(made)

    made.b.on_effect = start
    assert run(tmp_path, made, CARRY).outdated
    assert VM not in made.b._domains


def test_a_start_in_the_instant_of_its_definition_takes_that_back(tmp_path: Path) -> None:
    made = pair()
    about_to_be_taken(made)

    def start(verb: str, phase: str) -> None:
        if (verb, phase) == ("define", "before"):
            started_by_hand(made)

    made.b.on_effect = start
    assert run(tmp_path, made, CARRY).outdated
    assert VM not in made.b._domains


def test_a_machine_of_which_libvirt_remembers_snapshots_stays(tmp_path: Path) -> None:
    made = pair()
    about_to_be_taken(made)
    made.a.snapshots_of[VM] = 2
    outcome = run(tmp_path, made, CARRY)
    assert outcome.reason == "HasSnapshots"
    assert "2 snapshot(s)" in outcome.message
    assert VM not in made.b._domains


def test_its_old_place_is_left_only_once_the_new_one_has_all(tmp_path: Path) -> None:
    made = pair()
    taken(made)
    del made.b.pools[POOL][DISK]
    outcome = run(tmp_path, made, LEAVE)
    assert outcome.reason == "VolumeInUse"
    assert VM in made.a._domains
    assert DISK in made.a.pools[POOL]
