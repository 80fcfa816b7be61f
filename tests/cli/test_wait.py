from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from agent.cli.command import CommandError
from agent.cli.wait import condition as wanted
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import RepositoryError
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine
from tests.gitrepo.git import put

RESOURCE = "virtualmachine.virtualization.deckhouse.io/linux-vm"


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ("phase=Running", True),
        ("phase=Stopped", False),
        ("condition=AgentReady", True),
        ("condition=agentready=true", True),
        ("condition=AgentReady=False", False),
        ("condition=Other", False),
        ("jsonpath={.status.ipAddress}", True),
        ("jsonpath={.status.ipAddress}=10.66.10.12", True),
        ("jsonpath='{.status.ipAddress}'=10.66.10.13", False),
        ("jsonpath={.status.none}", False),
        ("delete", False),
    ],
)
def test_what_one_can_wait_for(what: str, holds: bool) -> None:
    assert wanted(what)(machine(conditions=(condition("AgentReady"),))) is holds
    assert wanted(what)(None) is (what == "delete")


@pytest.mark.parametrize(
    "what", ["", "phase", "phase=", "Running", "jsonpath=.a", "jsonpath={.a[}"]
)
def test_what_one_cannot_wait_for(what: str) -> None:
    with pytest.raises(CommandError):
        wanted(what)


def test_it_returns_at_once_when_it_holds_already(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    result = gitvirt("wait", "vm/linux-vm", "--for=phase=Running")
    assert (result.code, result.out) == (0, f"{RESOURCE} condition met\n")
    gone = gitvirt("wait", "vm", "other", "--for=delete")
    assert (gone.code, gone.out) == (0, f"{RESOURCE.replace('linux-vm', 'other')} deleted\n")


def test_it_returns_when_it_comes_to_hold(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("linux-vm", "Pending"))
    later = threading.Timer(0.1, lambda: fleet.write(machine()))
    later.start()
    result = gitvirt("wait", "vm/linux-vm", "--for=phase=Running", "--timeout", "20s")
    later.join()
    assert result.code == 0


def test_the_timeout_is_an_error_that_says_how_it_stands(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("linux-vm", "Pending"))
    result = gitvirt("wait", "vm/linux-vm", "--for=phase=Running", "--timeout", "0.05")
    assert result.code == 1
    assert f"{RESOURCE} is in phase Pending, not phase=Running, after 0s" in result.err
    assert "is not there" in gitvirt("wait", "vm/x", "--for=phase=Running", "-t", "0.05").err


def test_a_revision_that_is_applied_or_contained_in_what_is(gitvirt: Gitvirt, fleet: Fleet) -> None:
    first = fleet.main
    second = put(fleet.root, {"README": "more\n"})
    fleet.agent(applied={"revision": second, "since": "2026-01-01T00:00:00Z"})
    for revision, commit in ((first, first), (second[:10], second), ("main", second)):
        result = gitvirt("wait", "--revision", revision)
        assert (result.code, result.out) == (0, f"{commit[:12]} applied\n")
    third = put(fleet.root, {"README": "most\n"})
    late = gitvirt("wait", "--revision", "main", "--timeout", "0.05")
    assert late.code == 1
    assert f"{third[:12]} is not applied after 0s, {second[:12]} is" in late.err
    assert "is it pushed?" in gitvirt("wait", "--revision", "none").err


@pytest.mark.parametrize(
    "argv", [[], ["vm/a"], ["--for=delete"], ["vm/a", "--for=delete", "--revision", "main"]]
)
def test_it_needs_one_thing_to_wait_for(gitvirt: Gitvirt, argv: list[str]) -> None:
    result = gitvirt("wait", *argv)
    assert result.code == 1
    assert "give KIND/NAME with --for, or --revision" in result.err


def test_a_repository_that_is_away_for_a_while_ends_no_wait(
    gitvirt: Gitvirt, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.write(machine("linux-vm", "Pending"))
    fetch = LocalRepository.fetch
    turns = iter(["there", "away", "there"])

    def sometimes(self: LocalRepository) -> Mapping[str, str]:
        if next(turns, "there") == "away":
            monkeypatch.setattr(LocalRepository, "fetch", fetch)
            fleet.write(machine())
            raise RepositoryError("RepositoryUnreachable", "no route to host")
        refs = fetch(self)
        (fleet.root / "refs/heads/touched").write_text(refs["refs/heads/main"] + "\n")
        return refs

    monkeypatch.setattr(LocalRepository, "fetch", sometimes)
    result = gitvirt("wait", "vm/linux-vm", "--for=phase=Running", "--timeout", "20s")
    assert result.code == 0
    assert result.err == "warning: no route to host; trying again\n"
