from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.cli.command import CommandError
from agent.cli.wait import condition as wanted
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import RepositoryError
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine
from tests.gitrepo.git import git, put

RESOURCE = "virtualmachine.virtualization.deckhouse.io/linux-vm"


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ("phase=Running", True),
        ("phase=running", True),
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
    waited = "error: timed out after 0s waiting for phase=Running: "
    assert result.err.startswith(f"{waited}{RESOURCE} is in phase Pending")
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
    waited = f"timed out after 0s waiting for {third[:12]} to be applied"
    assert f"{waited}: the agent has applied {second[:12]}\n" in late.err
    assert "is it pushed?" in gitvirt("wait", "--revision", "none").err


def clone_of(fleet: Fleet, folder: Path) -> Path:
    git(folder, "clone", "-q", str(fleet.root), "clone")
    return folder / "clone"


def test_head_is_what_is_checked_out_where_one_stands(
    gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.agent()
    clone = clone_of(fleet, tmp_path)
    monkeypatch.chdir(clone)
    assert gitvirt("wait", "--revision", "HEAD").out == f"{fleet.main[:12]} applied\n"
    git(clone, "commit", "-q", "--allow-empty", "-m", "mine")
    head = git(clone, "rev-parse", "HEAD")
    for command in (["wait"], ["plan"], ["validate"]):
        unpushed = gitvirt(*command, "--revision", "HEAD")
        assert unpushed.code == 1
        assert f"no branch, tag or commit {head[:12]}, the HEAD of this clone" in unpushed.err
    git(clone, "push", "-q", "origin", "HEAD:main")
    late = gitvirt("wait", "--revision", "@", "--timeout", "0.05")
    assert f"timed out after 0s waiting for {head[:12]} to be applied" in late.err
    fleet.agent(applied={"revision": head, "since": "2026-01-01T00:00:00Z"})
    assert gitvirt("wait", "--revision", "HEAD").out == f"{head[:12]} applied\n"
    monkeypatch.chdir(tmp_path)
    nowhere = gitvirt("wait", "--revision", "HEAD")
    assert nowhere.code == 1
    assert "this folder lies in no clone" in nowhere.err


def test_a_commit_that_is_not_on_the_branch_is_not_waited_for(
    gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path
) -> None:
    fleet.agent()
    clone = clone_of(fleet, tmp_path)
    git(clone, "commit", "-q", "--allow-empty", "-m", "mine")
    git(clone, "push", "-q", "origin", "HEAD:side")
    head = git(clone, "rev-parse", "HEAD")
    result = gitvirt("wait", "--revision", "side", "--timeout", "1h")
    assert result.code == 1
    assert result.err.startswith(f"error: {head[:12]} is not on branch 'main'")
    git(clone, "push", "-q", "origin", "HEAD:production")
    git(fleet.root, "update-ref", "-d", "refs/heads/main")
    assert gitvirt("wait", "--revision", "side", "--timeout", "1h").code == 1
    late = gitvirt("wait", "--revision", "side", "--branch", "production", "--timeout", "0.05")
    assert "timed out" in late.err


def problem(file: str, resource: str, message: str, path: str = "spec") -> dict[str, object]:
    texts = {"resource": resource, "path": path, "message": message}
    return {"file": file, "line": 3 if file else 0, **texts}


def test_a_revision_applied_without_some_manifests_is_an_error_that_names_them(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    wrong = [problem(f"{name}.yaml", f"VirtualDisk default/{name}", "no") for name in "abcdef"]
    again = problem("a.yaml", "VirtualDisk default/a", "nor this", "metadata")
    fleet.write(files={"problems.yaml": [wrong[0], again, *wrong[1:]]})
    fleet.agent()
    result = gitvirt("wait", "--revision", "main")
    assert (result.code, result.out) == (1, f"{fleet.main[:12]} applied\n")
    assert result.err.splitlines() == [
        "error: 6 manifests do not hold:",
        "  a.yaml:3: VirtualDisk default/a: spec: no",
        "  a.yaml:3: VirtualDisk default/a: metadata: nor this",
        *(f"  {name}.yaml:3: VirtualDisk default/{name}: spec: no" for name in "bcd"),
        "  … and 2 more, see `gitvirt status`",
    ]
    fleet.write(files={"problems.yaml": wrong[:1]})
    assert gitvirt("wait", "--revision", "main").err.startswith("error: 1 manifest does not hold:")


def test_objects_that_are_kept_are_no_manifests_that_do_not_hold(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    fleet.write(files={"problems.yaml": [problem("", "VirtualDisk default/a", "is kept")]})
    fleet.agent()
    result = gitvirt("wait", "--revision", "main")
    assert (result.code, result.err) == (0, "note: VirtualDisk default/a: spec: is kept\n")


def test_a_name_without_a_kind_is_shown_with_one(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    result = gitvirt("wait", "linux-vm", "--for=phase=Running")
    assert result.code == 1
    assert result.err == "error: 'linux-vm' must be KIND/NAME: did you mean vm/linux-vm?\n"


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
