"""A main branch that is missing or damaged: it is said where people look, and nothing else stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.memory_repository import MemoryRepository
from tests.rig import MAIN, OPERATIONS, STATUS, Rig, disk, machine, operation


def refs(rig: Rig) -> MemoryRepository:
    assert isinstance(rig.repo, MemoryRepository)
    return rig.repo


def missing(rig: Rig) -> str:
    del refs(rig).refs[MAIN]
    return "branch main is not there"


def damaged(rig: Rig) -> str:
    tip = rig.push({"new.yaml": disk("new")})
    (file,) = (each for each in rig.repo.files(tip) if each.path == "new.yaml")
    del refs(rig).objects[file.blob]
    return f"branch main cannot be read at {tip[:12]}: memory has no blob {file.blob}"


def passes(rig: Rig, count: int = 10) -> None:
    for _ in range(count):
        rig.agent.reconciler.look_at_git()
        rig.step()
        rig.now += 5


def told(rig: Rig) -> str:
    repository = rig.document("agent.yaml")["repository"]
    assert repository["ready"] is (repository["message"] == "")
    message: str = repository["message"]
    return message


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    rig.settle()
    return rig


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("how", [missing, damaged])
def test_it_stands_in_the_status_and_machines_go_on(
    on: Rig, how: Callable[[Rig], str], restarted: bool
) -> None:
    applied = on.document("agent.yaml")["applied"]
    main = refs(on).refs[MAIN]
    words = how(on)
    if restarted:
        on.start()
    passes(on)
    assert told(on).startswith(words)
    assert on.document("agent.yaml")["applied"] == applied
    assert "The manifests cannot be read." in on.documents()["README.md"].decode()
    assert "all is as it should be" not in on.documents()["README.md"].decode()
    assert words in on.agent.reconciler.summary().git_error
    assert on.running()
    if not restarted:
        on.host.crash(on.uuid())
        passes(on, 30)
        assert on.running()
    refs(on).refs[MAIN] = main
    passes(on)
    assert told(on) == ""
    assert "The manifests cannot be read." not in on.documents()["README.md"].decode()


def test_it_is_said_once(on: Rig) -> None:
    missing(on)
    passes(on)
    tip = on.repo.fetch()["refs/heads/status"]
    passes(on)
    assert on.repo.fetch()["refs/heads/status"] == tip


def test_a_repository_in_which_there_is_no_main_branch_yet(rig: Rig) -> None:
    """What was asked for before anything could be read is not executed, also after a kill."""
    rig.push({"op.yaml": operation("op", "vm", "Start")}, OPERATIONS)
    passes(rig)
    assert told(rig).startswith("branch main is not there: push it")
    rig.start()
    passes(rig)
    rig.push({"vm.yaml": [disk(), machine(runPolicy="Manual")]})
    rig.settle()
    assert told(rig) == ""
    (condition,) = rig.vmop("op")["status"]["conditions"]
    assert condition["reason"] == "Expired"
    assert not rig.running()


def test_a_ledger_without_a_word_of_its_agent_is_still_one(on: Rig) -> None:
    on.push({"agent.yaml": None}, STATUS)
    on.push({"op.yaml": operation("op", "vm", "Restart", force=True)}, OPERATIONS)
    on.start()
    on.settle()
    assert on.vmop("op")["status"]["phase"] == "Completed"


def test_what_was_under_way_is_not_called_applied(on: Rig) -> None:
    agent = on.document("agent.yaml")
    agent["attempted"] = {"revision": "a" * 40, "since": agent["applied"]["since"]}
    on.push({"agent.yaml": agent}, STATUS)
    missing(on)
    on.start()
    passes(on)
    found = on.document("agent.yaml")
    assert (found["attempted"], found["applied"]) == (agent["attempted"], agent["applied"])
