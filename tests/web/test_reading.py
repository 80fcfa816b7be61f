from __future__ import annotations

from pathlib import Path

import pytest

from agent.core import ledger
from agent.core.overview import Weight
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import RepositoryError
from agent.web.collector import Collector, Terms
from agent.web.reading import Reading
from tests.fleets import CATALOGUE, CREATED, Fleet, condition, machine, whole

MACHINE = CATALOGUE.machine
AWAITS = condition("AwaitingRestartToApplyConfiguration", "True", "Restart it.")
CHANGE = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}


class Counted(LocalRepository):
    """Counts what is read."""

    reads = 0

    def read(self, blob: str) -> bytes:
        self.reads += 1
        return super().read(blob)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet.git")


def reading(shown: Fleet, **terms: str) -> Reading:
    with LocalRepository(shown.root) as repository:
        return Collector(repository, CATALOGUE, Terms(**terms)).read(repository.fetch())[0]


def test_a_commit_costs_what_it_changed(fleet: Fleet) -> None:
    fleet.agent()
    fleet.write(*(machine(f"vm-{number}") for number in range(20)))
    with Counted(fleet.root) as repository:
        collector = Collector(repository, CATALOGUE, Terms())
        first, _ = collector.read(repository.fetch())
        assert len(first.machines) == 20
        repository.reads = 0
        fleet.write(machine("vm-3", "Stopped"), gone=(machine("vm-4"),))
        second, _ = collector.read(repository.fetch(), first)
        assert repository.reads <= 3  # the machine, agent.yaml, and no problems.yaml
    assert {row.name: row.phase for row in second.machines}["vm-3"] == "Stopped"
    assert len(second.machines) == 19
    assert second.machines[0] is first.machines[0]
    assert len(first.machines) == 20


def test_what_has_not_moved_is_the_same_reading(fleet: Fleet) -> None:
    fleet.agent()
    with LocalRepository(fleet.root) as repository:
        collector = Collector(repository, CATALOGUE, Terms())
        first, silent = collector.read(repository.fetch())
        fleet.beat(1_800_000_000.0)
        second, beat = collector.read(repository.fetch(), first)
    assert second is first
    assert (silent, beat) == (None, 1_800_000_000.0)


def test_without_a_status_branch_it_says_so(fleet: Fleet) -> None:
    known = reading(fleet, status="nowhere")
    assert known.commit == ""
    assert "has no branch 'nowhere' yet" in known.missing
    assert known.machines == ()


def test_another_fleets_branch_is_named(fleet: Fleet) -> None:
    fleet.agent(fleet="blue")
    (said,) = reading(fleet).errors
    assert said.startswith("This is the status branch of fleet blue, and fleet default is asked")
    assert reading(fleet, fleet="blue").errors == []


def test_a_branch_that_was_begun_anew_is_read_as_it_is(fleet: Fleet) -> None:
    fleet.write(machine("old"), machine("kept"))
    with LocalRepository(fleet.root) as repository:
        collector = Collector(repository, CATALOGUE, Terms())
        collector.read(repository.fetch())
        files = {"namespaces/default/virtualmachines/kept.yaml": ledger.dump(machine("kept"))}
        tip = repository.fetch()["refs/heads/status"]
        repository.commit("refs/heads/status", tip, files, "begun anew", parentless=True)
        known, _ = collector.read(repository.fetch())
    assert [row.name for row in known.machines] == ["kept"]


@pytest.mark.parametrize(
    "content",
    [
        "nothing",
        ["a", "list"],
        {"metadata": {"name": 7}},
        {"metadata": {"name": "a"}, "status": "strange"},
        {"metadata": {"name": "a", "labels": ["x"], "annotations": 3}, "status": {"conditions": 5}},
        {"metadata": {"name": "a"}, "status": {"conditions": ["x"], "restartAwaitingChanges": [1]}},
        {"metadata": {"name": "a"}, "spec": [1], "status": {"stats": [], "phase": ["x"]}},
    ],
)
def test_what_somebody_has_damaged_stops_nothing(fleet: Fleet, content: object) -> None:
    where = "namespaces/default/virtualmachines/a.yaml"
    strange = {
        "agent.yaml": content,
        "problems.yaml": content,
        "cluster/nodes/n.yaml": content,
        f"trash/{where.replace('a.yaml', 'a.uid.yaml')}": content,
        "namespaces/README.md": content,
        "plans/x": content,
    }
    fleet.write(machine("b"), files={where: content, **strange})
    known = reading(fleet)
    assert "b" in [row.name for row in known.machines]
    assert known.told is not None


def test_what_waits_for_the_longest_time_comes_first(fleet: Fleet) -> None:
    status = {"restartAwaitingChanges": [CHANGE]}
    later = {**AWAITS, "lastTransitionTime": "2026-02-01T00:00:00Z"}
    fleet.write(
        machine("a", conditions=(later,), status=status),
        machine("b", conditions=(AWAITS,), status=status),
        machine("c"),
    )
    known = reading(fleet)
    assert [(row.name, row.waits, row.waits_since) for row in known.waiting] == [
        ("b", ("cpu.cores",), CREATED),
        ("a", ("cpu.cores",), "2026-02-01T00:00:00Z"),
    ]


def test_a_sentence_stands_there_once_with_all_that_say_it(fleet: Fleet) -> None:
    lost = condition("BlockDevicesReady", "False", "There is no VirtualDisk data.")
    fleet.write(*(machine(name, "Pending", conditions=(lost,)) for name in ("a", "b")))
    told = reading(fleet).told[Weight.ACT]
    assert {message: [row.name for row in rows] for message, rows in told.items()} == {
        "There is no VirtualDisk data.": ["a", "b"]
    }


def test_nodes_that_only_the_agent_knows_are_there(fleet: Fleet) -> None:
    fleet.agent(node={"name": "host-a", "ready": False, "message": "It is away."})
    (node,) = reading(fleet).of_kind["Node"]
    assert (node.name, node.phase, node.weight) == ("host-a", "NotReady", Weight.ACT)
    assert reading(fleet).errors == ["Node host-a is not ready. It is away."]


def test_trash_and_plans_are_read(fleet: Fleet) -> None:
    gone = whole("VirtualDisk", "data", {}, {"phase": "Deleted"})
    kept = condition("Deleted", "True", "A manifest that says the same brings it back.")
    gone["status"]["conditions"] = [kept]
    gone["metadata"]["deletionTimestamp"] = CREATED
    files = {
        "trash/namespaces/default/virtualdisks/data.1234.yaml": gone,
        "plans/refs%2Fheads%2Fa%2Fb.md": "### Plan",
    }
    fleet.write(files=files)
    known = reading(fleet)
    assert [(each.name, each.deleted, each.message) for each in known.trash] == [
        ("data", CREATED, kept["message"])
    ]
    assert list(known.plans) == ["refs/heads/a/b"]
    assert known.of_kind.get("VirtualDisk", ()) == ()


def test_after_a_read_that_failed_halfway_all_is_read_anew(fleet: Fleet) -> None:
    fleet.write(machine("a"), machine("b"))
    with Failing(fleet.root) as repository:
        collector = Collector(repository, CATALOGUE, Terms())
        first, _ = collector.read(repository.fetch())
        fleet.write(machine("a", "Stopped"), machine("b", "Stopped"))
        repository.after = 1
        with pytest.raises(RepositoryError):
            collector.read(repository.fetch(), first)
        repository.after = 1_000
        fleet.write(machine("a"), machine("b"))
        known, _ = collector.read(repository.fetch(), first)
    assert [row.phase for row in known.machines] == ["Running", "Running"]


class Failing(LocalRepository):
    """Reads so many blobs, and then none."""

    after = 1_000

    def read(self, blob: str) -> bytes:
        self.after -= 1
        if self.after < 0:
            raise RepositoryError("Gone", "the disk is gone")
        return super().read(blob)
