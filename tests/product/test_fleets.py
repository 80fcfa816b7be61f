"""Several fleets in one repository, and agents of a version that knew of none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.reconcile.beats import BEAT_FILE, LEASE, STANDBY, lease_ref, standby_ref
from agent.reconcile.git import Branches
from agent.reconcile.lease import BEAT, TERM
from tests.memory_host import MemoryHost
from tests.memory_repository import MemoryRepository
from tests.plans import branch
from tests.rig import START, Rig, disk, machine, operation

OURS = Branches(main="main", operations="ours-operations", status="ours-status")


class Shared:
    """One repository, and one agent for each fleet, on a host of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.repo = MemoryRepository(lambda: self.now)
        self.rigs: list[Rig] = []

    def agent(self, fleet: str, branches: Branches, name: str = "") -> Rig:
        folder = self.folder / (name or fleet)
        folder.mkdir()
        rig = Rig(folder, MemoryHost(), self.repo, fleet, branches, now=self.now)
        rig.start(name or fleet)
        self.rigs.append(rig)
        return rig

    def go(self, seconds: float = 0.0) -> None:
        until = self.now + seconds
        while True:
            for rig in self.rigs:
                rig.now = self.now
                rig.agent.reconciler.look_at_git()
                for _ in range(6):
                    rig.step()
            if self.now >= until:
                return
            self.now += 10

    def beat_of_old(self, instance: str = "old") -> None:
        """A sign of life as an agent without fleets gave it."""
        beat = {"instance": instance, "time": self.now, "revision": ""}
        files: dict[str, bytes | None] = {BEAT_FILE: json.dumps(beat).encode()}
        self.repo.commit(LEASE, self.repo.refs.get(LEASE), files, "beat", parentless=True)


def leads(rig: Rig) -> bool:
    return rig.agent.reconciler.summary().leading


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


def test_each_fleet_has_an_agent_that_acts(shared: Shared) -> None:
    theirs = shared.agent("default", Branches())
    ours = shared.agent("ours", OURS)
    theirs.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    shared.go(2 * TERM)
    for rig in (theirs, ours):
        assert leads(rig)
        assert rig.vm()["status"]["phase"] == "Running"
        assert rig.document("agent.yaml")["fleet"] == rig.fleet
    theirs.push({"op.yaml": operation("op", "vm", "Restart", force=True)}, "refs/heads/operations")
    shared.go(BEAT)
    assert theirs.vmop("op")["status"]["phase"] == "Completed"
    assert "virtualmachineoperations" not in str(ours.documents().keys())
    starts = [[verb for verb, _ in rig.host.verbs].count("start") for rig in shared.rigs]
    assert starts == [2, 1]


def test_branches_of_another_fleet_are_no_open_branches(shared: Shared) -> None:
    theirs = shared.agent("default", Branches())
    ours = shared.agent("ours", OURS)
    theirs.push({"vm.yaml": disk()})
    theirs.push({"op.yaml": operation("op", "vm", "Start")}, "refs/heads/operations")
    theirs.push({"op.yaml": operation("op", "vm", "Start")}, "refs/heads/ours-operations")
    shared.go(BEAT)
    branch(theirs, "change", {"more.yaml": disk("more")})
    for _ in range(50):
        shared.go(10)
    for rig in (theirs, ours):
        assert not rig.agent.reconciler.planning
        found = [path for path in rig.documents() if path.startswith("plans/")]
        assert found == ["plans/change.md"]


def test_two_fleets_on_one_branch_of_operations_are_refused(shared: Shared) -> None:
    theirs = shared.agent("default", Branches())
    theirs.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    shared.go(BEAT)
    ours = shared.agent("ours", Branches(status="ours-status"))
    shared.go(2 * TERM)
    assert leads(theirs)
    assert not leads(ours)
    error = ours.agent.reconciler.summary().git_error
    assert "takes operations from refs/heads/operations for fleet default" in error
    assert "--operations-branch" in error
    assert ours.verbs() == []
    theirs.agent.close()
    shared.rigs.remove(theirs)
    shared.go(BEAT)
    assert leads(ours)


def test_of_two_fleets_that_begin_at_once_on_one_branch_one_goes_on(shared: Shared) -> None:
    first = shared.agent("default", Branches())
    second = shared.agent("ours", Branches(status="ours-status"))
    refs = dict(shared.repo.fetch())
    for rig in (first, second):
        assert rig.agent.git._lease.keep(refs, shared.now, "") == ""
    shared.go(10)
    assert [leads(first), leads(second)] == [True, False]


def test_the_same_fleet_with_another_status_branch_stands_by(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    first = shared.agent("ours", OURS)
    first.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    shared.go(BEAT)
    second = shared.agent("ours", Branches(operations="o", status="s"), "second")
    caplog.set_level("INFO", "gitvirt")
    shared.go(TERM)
    assert [leads(first), leads(second)] == [True, False]
    assert "with the status in refs/heads/ours-status" in caplog.text


def test_an_agent_without_fleets_has_the_lease_of_all(shared: Shared) -> None:
    shared.beat_of_old()
    ours = shared.agent("ours", OURS)
    ours.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    for _ in range(5):
        shared.beat_of_old()
        shared.go(BEAT)
        assert not leads(ours)
    assert STANDBY in shared.repo.refs  # where the old one looks for somebody who stands by
    shared.go(TERM)
    assert leads(ours)
    assert ours.running()


def test_an_agent_without_fleets_that_comes_later_is_noticed(shared: Shared) -> None:
    ours = shared.agent("ours", OURS)
    ours.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    shared.go(BEAT)
    assert leads(ours)
    shared.beat_of_old()
    shared.go()
    assert not ours.agent.git.may_act()


def test_an_agent_goes_on_after_it_was_upgraded(shared: Shared) -> None:
    shared.beat_of_old("ours")
    ours = shared.agent("ours", OURS)
    ours.push({"vm.yaml": disk()})
    shared.go()
    assert leads(ours)


def test_the_default_fleet_keeps_the_refs_that_agents_without_fleets_know(shared: Shared) -> None:
    theirs = shared.agent("default", Branches())
    theirs.push({"vm.yaml": disk()})
    shared.go()
    beat = json.loads(
        shared.repo.read_path(shared.repo.refs["refs/gitvirt/agent"], "agent.json") or b""
    )
    assert beat["instance"] == "default"
    assert (lease_ref("default"), standby_ref("default")) == (LEASE, STANDBY)
    assert lease_ref("ours") == "refs/gitvirt/fleets/ours/agent"
