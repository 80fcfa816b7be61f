"""A machine whose node is lost: started on another one where that cannot make it run twice, else told for what it waits; and what
is found once the node is back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.status import timestamp
from agent.places import Pools
from tests.memory_host import Killed
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.product.test_migration_faults import NEVER, Stage, die, run
from tests.rig import MAIN, OPERATIONS, condition, disk, machine


def fence(rig: Fleet, node: str = "pt-1", at: float | None = 0.0) -> None:
    """Somebody says that a node is off; None takes that back."""
    said = {} if at is None else {"gitvirt.io/fenced": timestamp(at or rig.now)}
    metadata = {"name": node, "annotations": said}
    rig.push({f"{node}.yaml": {"apiVersion": "v1", "kind": "Node", "metadata": metadata}}, MAIN)


def lose(rig: Fleet, node: str = "pt-1", *, off: bool = True) -> None:
    """A node is gone; where it is not `off`, its guests run on."""
    host = rig.hosts[node]
    host.disconnect()
    if off:
        with host._lock:
            for raw in list(host._domains.values()):
                host._forget(raw)
    rig.go(30)


def why(rig: Fleet) -> str:
    found: str = condition(rig.vm(), "Running")["message"]
    return found


def locks(rig: Fleet, node: str) -> dict[str, Any]:
    found: dict[str, Any] = rig.document(f"cluster/nodes/{node}.yaml")["status"].get("locks", {})
    return found


@pytest.fixture
def rig(tmp_path: Path) -> Fleet:
    return fleet(tmp_path, SHARED)


def test_a_machine_of_a_fenced_node_is_started_elsewhere_and_its_old_copy_goes(rig: Fleet) -> None:
    lose(rig)
    assert "gitvirt node fence pt-1" in why(rig)
    assert rig.on() == []
    fence(rig)
    rig.go(30)
    (home,) = rig.on()
    assert home in ("pt-2", "pt-3")
    status = rig.vm()["status"]
    assert (status["phase"], status["nodeName"], status["home"]) == ("Running", home, home)
    assert status["epoch"] == 1
    assert condition(rig.vm(), "Substitute")["message"].startswith(
        "It is here in place of the one on node pt-1"
    )
    assert (rig.remembered(home).epoch, rig.remembered(home, active=True).epoch) == (1, 1)
    rig.hosts["pt-1"].reconnect()
    rig.go(30)
    assert rig.there() == rig.on() == [home]
    assert rig.remembered(home).migration is None
    assert condition(rig.vm(), "Substitute") == {}
    assert [name for name in rig.volumes("pt-1") if "_disk_" in name]
    before = rig.documents()
    rig.now += 400
    rig.settle()
    assert {**rig.documents(), "agent.yaml": b""} == {**before, "agent.yaml": b""}


def test_a_node_is_fenced_by_a_mark_among_the_operations(rig: Fleet) -> None:
    lose(rig)
    metadata = {"name": "pt-1", "annotations": {"gitvirt.io/fenced": timestamp(rig.now)}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}}
    rig.push({"nodes/pt-1.yaml": node}, OPERATIONS)
    rig.go(30)
    assert len(rig.on()) == 1


def test_nothing_is_started_before_somebody_has_said_that_the_node_is_off(rig: Fleet) -> None:
    early = rig.now
    lose(rig, off=False)
    fence(rig, at=early - 60)  # said of another outage
    rig.go(60)
    assert rig.on() == rig.there() == ["pt-1"]
    rig.hosts["pt-1"].reconnect()
    rig.go(30)
    assert condition(rig.vm(), "Running")["status"] == "True"


def test_a_machine_that_runs_on_in_spite_of_what_was_said_is_not_started_twice(rig: Fleet) -> None:
    lose(rig, off=False)
    fence(rig)
    rig.go(60)
    assert rig.on() == ["pt-1"]
    assert 'Failed to get "write" lock' in why(rig)
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    assert rig.on() == rig.there() == ["pt-1"]
    assert rig.vm()["status"]["home"] == "pt-1"
    assert rig.remembered("pt-1").migration is None


def test_local_disks_keep_a_machine_on_its_node(tmp_path: Path) -> None:
    rig = fleet(tmp_path, Pools())
    lose(rig)
    fence(rig)
    rig.go(30)
    assert rig.on() == []
    assert "its disk root lies on that node alone" in why(rig)
    assert "gitvirt node forget pt-1" in why(rig)
    rig.hosts["pt-1"].reconnect()
    rig.go(30)
    assert rig.on() == ["pt-1"]


def test_without_locks_that_hold_a_machine_waits(tmp_path: Path) -> None:
    rig = fleet(tmp_path, SHARED)
    for host in rig.hosts.values():
        host.minded = []
    rig.hosts["pt-1"].disconnect()
    rig.go(30)
    rig.hosts["pt-1"].reconnect()  # it may have mounted its storage in another way
    rig.go(30)
    told = condition(rig.document("cluster/nodes/pt-2.yaml"), "SharedStorageLocked")
    assert told["message"].startswith("Node pt-2 could open for writing what node pt-1 had open")
    lose(rig)
    fence(rig)
    rig.go(30)
    assert rig.on() == []
    assert "2 node(s) were not seen to refuse what node pt-1 has open" in why(rig)


def test_what_was_seen_of_locks_is_tried_anew_once_a_node_is_back(rig: Fleet) -> None:
    first = {node: locks(rig, node) for node in rig.hosts}
    assert first["pt-1"] == {}
    assert [first[node]["gitvirt"]["holder"] for node in ("pt-2", "pt-3")] == ["pt-1", "pt-1"]
    lose(rig, "pt-3")
    assert locks(rig, "pt-3") == first["pt-3"]
    rig.hosts["pt-3"].reconnect()
    rig.go(30)
    assert locks(rig, "pt-2") == first["pt-2"]
    assert locks(rig, "pt-3")["gitvirt"]["at"] > first["pt-3"]["gitvirt"]["at"]
    lose(rig, "pt-1")
    rig.hosts["pt-1"].reconnect()
    rig.go(30)
    assert locks(rig, "pt-2")["gitvirt"]["at"] > first["pt-2"]["gitvirt"]["at"]
    assert not [name for name in rig.volumes("pt-1") if "_lock_" in name]
    assert not any(host.held for host in rig.hosts.values())


def test_a_machine_that_was_stopped_stays_so(rig: Fleet) -> None:
    rig.ask("Stop", "stop")
    rig.settle()
    lose(rig)
    fence(rig)
    rig.go(30)
    assert rig.on() == []
    assert rig.there() == ["pt-1"]


@pytest.mark.parametrize("policy", ["Manual", "AlwaysOn", "AlwaysOnUnlessStoppedManually"])
def test_it_goes_on_whatever_its_run_policy_where_it_was_on(tmp_path: Path, policy: str) -> None:
    rig = fleet(tmp_path, SHARED)
    rig.push({"vm.yaml": [machine(runPolicy=policy), disk()]})
    rig.settle()
    lose(rig)
    fence(rig)
    rig.start()  # the heir has never read its domain
    rig.go(60)
    assert len(rig.on()) == 1
    assert rig.remembered(rig.on()[0]).epoch == 1


def test_a_fence_that_is_taken_back_before_anything_has_run_starts_nothing(rig: Fleet) -> None:
    lose(rig, off=False)

    def back(verb: str, phase: str) -> None:
        if (verb, phase) == ("define", "after"):
            fence(rig, at=None)
            die()

    for node in ("pt-2", "pt-3"):
        rig.hosts[node].on_effect = back
    fence(rig)
    rig.agent.reconciler.look_at_git()
    with pytest.raises(Killed):
        rig.go(40)
    for node in ("pt-2", "pt-3"):
        rig.hosts[node].on_effect = lambda _verb, _phase: None
        rig.hosts[node].verbs.clear()
    rig.start()
    rig.go(60)
    assert rig.on() == ["pt-1"]
    assert ("start", rig.uuid()) not in (*rig.hosts["pt-2"].verbs, *rig.hosts["pt-3"].verbs)
    assert condition(rig.vm(), "Running")["status"] == "Unknown"
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    assert rig.there() == rig.on() == ["pt-1"]


def test_a_copy_that_runs_still_is_told_and_left(rig: Fleet) -> None:
    """The locks of a node that is cut off from its storage are gone, and its guest is not."""
    lose(rig, off=False)
    for host in rig.hosts.values():
        host.minded = []
    fence(rig)
    rig.go(60)
    both = rig.on()
    assert len(both) == 2
    home = next(node for node in both if node != "pt-1")
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    told = condition(rig.vm(), "Running")
    assert told["reason"] == "DomainOnSeveralNodes"
    assert f"It runs on pt-1 and on {home} at once" in told["message"]
    assert rig.on() == both
    for node in both:
        assert condition(rig.document(f"cluster/nodes/{node}.yaml"), "DomainsInDoubt")
    rig.hosts["pt-1"].destroy(rig.uuid())
    rig.go(60)
    for node in both:
        assert not condition(rig.document(f"cluster/nodes/{node}.yaml"), "DomainsInDoubt")
    assert rig.on() == rig.there() == [home]


def test_one_that_has_run_in_its_place_is_not_given_up_for_one_that_runs_still(rig: Fleet) -> None:
    lose(rig, off=False)
    for host in rig.hosts.values():
        host.minded = []
    fence(rig)
    rig.go(60)
    home = next(node for node in rig.on() if node != "pt-1")
    rig.ask("Stop", "stop", force=True)
    rig.go(30)
    assert rig.on() == ["pt-1"]
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    assert "has run in its place on" in why(rig)
    assert rig.there() == ["pt-1", home] or rig.there() == [home, "pt-1"]


STAGES = 6
"""Define and start it, raise its epoch in both of its definitions, and remove what is left."""


def test_the_stages_of_a_substitute(rig: Fleet) -> None:
    lose(rig)
    stage = Stage(rig, NEVER, die)
    fence(rig)
    rig.go(60)
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    verbs = [each.split()[1] for each in stage.seen]
    assert verbs[:4] == ["define", "start", "define", "set_live_metadata"]
    assert "undefine" in verbs


@pytest.mark.parametrize("heir", ["agent", "another"])
@pytest.mark.parametrize("number", range(1, STAGES))
def test_the_agent_dies_at_each_stage_of_a_substitute(
    tmp_path: Path, number: int, heir: str
) -> None:
    rig = fleet(tmp_path, SHARED)
    lose(rig)
    Stage(rig, number, die)
    fence(rig)
    for _ in range(3):
        try:
            rig.go(60)
            rig.hosts["pt-1"].reconnect()
            rig.go(60)
        except Killed:
            rig.start(heir)
            rig.go(90)
    run(rig)
    assert len(rig.on()) == 1
    assert rig.there() == rig.on()


@pytest.mark.parametrize("number", range(1, STAGES))
def test_the_node_is_back_while_the_substitute_starts(tmp_path: Path, number: int) -> None:
    rig = fleet(tmp_path, SHARED)
    lose(rig)
    Stage(rig, number, rig.hosts["pt-1"].reconnect)
    fence(rig)
    rig.go(60)
    rig.hosts["pt-1"].reconnect()
    rig.settle()
    assert len(rig.on()) == 1
    assert rig.there() == rig.on()
    assert [name for name in rig.volumes("pt-1") if "_disk_" in name]


def test_a_node_that_is_back_right_before_the_start_keeps_its_machine(rig: Fleet) -> None:
    lose(rig)
    for node in ("pt-2", "pt-3"):
        rig.hosts[node].verbs.clear()
    Stage(rig, 1, rig.hosts["pt-1"].reconnect)  # just now it was defined elsewhere
    fence(rig)
    rig.go(60)
    assert rig.on() == rig.there() == ["pt-1"]
    others = (*rig.hosts["pt-2"].verbs, *rig.hosts["pt-3"].verbs)
    assert ("define", rig.uuid()) in others
    assert ("start", rig.uuid()) not in others


def test_all_nodes_that_may_have_it_are_to_be_off(rig: Fleet) -> None:
    """Also for an heir that has never read its domains: the ledger says which nodes these are."""
    lose(rig, off=False)
    for node in ("pt-2", "pt-3"):
        rig.hosts[node].starting_fails.add(rig.uuid())
    fence(rig)
    rig.go(60)
    (second,) = (node for node in rig.there() if node != "pt-1")
    assert rig.vm()["status"]["home"] == f"pt-1,{second}"
    fence(rig, at=None)
    rig.go(20)
    lose(rig, second)
    fence(rig, second)
    for host in rig.hosts.values():
        host.starting_fails.clear()
        host.verbs.clear()
    rig.start()
    rig.go(60)
    assert not [verb for host in rig.hosts.values() for verb, _ in host.verbs if verb == "start"]
    assert "gitvirt node fence pt-1" in why(rig)
    fence(rig)
    rig.go(60)
    assert rig.on() == ["pt-1"]  # somebody is wrong again: its locks hold
    (third,) = {"pt-2", "pt-3"} - {second}
    assert ("start", rig.uuid()) in rig.hosts[third].verbs


def test_a_substitute_whose_node_is_lost_too_has_one_itself(rig: Fleet) -> None:
    lose(rig)
    fence(rig)
    rig.go(60)
    (second,) = rig.on()
    lose(rig, second)
    fence(rig, second)
    rig.go(60)
    (third,) = rig.on()
    assert third not in ("pt-1", second)
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    rig.hosts[second].reconnect()
    rig.go(60)
    assert rig.on() == rig.there() == [third]
    assert rig.remembered(third).epoch == 2


def test_a_machine_that_was_about_to_move_when_its_node_was_lost_is_started_elsewhere(
    rig: Fleet,
) -> None:
    source = rig.hosts["pt-1"]
    source.at_stage = lambda stage: lose_now(rig) if stage == "incoming" else None
    rig.ask()
    rig.go(40)
    assert rig.on() == []
    fence(rig)
    rig.go(60)
    assert len(rig.on()) == 1


def lose_now(rig: Fleet) -> None:
    """A host that is sending a machine loses its power: what had arrived of it is nothing."""
    source = rig.hosts["pt-1"]
    source.disconnect()
    for uuid in list(source.going):
        source.migration_breaks(uuid)
    with source._lock:
        for raw in list(source._domains.values()):
            source._forget(raw)
