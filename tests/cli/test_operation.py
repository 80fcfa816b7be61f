from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.cli import operation
from agent.core import ledger
from agent.core.manifests import read_file
from agent.core.status import seconds
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import StaleTip
from agent.kinds.registry import CHECKS
from tests.cli.conftest import Gitvirt
from tests.fleets import CATALOGUE, Fleet, condition, machine, whole
from tests.gitrepo.git import git

NAME = r"linux-vm-[a-z0-9]{5}"


class Agent(threading.Thread):
    """Answers every operation with these statuses, one after the other."""

    def __init__(self, fleet: Fleet, *statuses: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self.fleet = fleet
        self.statuses = statuses
        self.ended = threading.Event()

    def run(self) -> None:
        answered: set[str] = set()
        while not self.ended.wait(0.005):
            for path, document in self.fleet.operations().items():
                if path not in answered:
                    answered.add(path)
                    self.answer(document)

    def answer(self, document: Mapping[str, Any]) -> None:
        metadata = document["metadata"]
        for status in self.statuses:
            name, namespace = metadata["name"], metadata["namespace"]
            made = whole(document["kind"], name, document["spec"], status, namespace=namespace)
            self.fleet.write(made)


Play = Callable[..., Agent]


@pytest.fixture
def agent(fleet: Fleet) -> Iterator[Play]:
    playing: list[Agent] = []

    def play(*statuses: Mapping[str, Any]) -> Agent:
        playing.append(Agent(fleet, *statuses))
        playing[-1].start()
        return playing[-1]

    yield play
    for each in playing:
        each.ended.set()
        each.join()


@pytest.fixture(autouse=True)
def machines(fleet: Fleet) -> None:
    fleet.write(machine(), machine("web.front"), machine(namespace="prod"))


@pytest.mark.promise("S123", "S128")
@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_verb_is_an_operation_of_its_type(gitvirt: Gitvirt, fleet: Fleet, verb: str) -> None:
    before = time.time()
    result = gitvirt(verb, "linux-vm", "--create-only", "--timeout", "2m")
    assert result.code == 0
    assert result.err == ""
    ((path, document),) = fleet.operations().items()
    name = document["metadata"]["name"]
    assert re.fullmatch(NAME, name)
    assert path == f"namespaces/default/{name}.yaml"
    assert result.out == f'VirtualMachineOperation "default/{name}" created.\n'
    assert document["spec"] == {"type": verb.capitalize(), "virtualMachineName": "linux-vm"}
    until = seconds(document["metadata"]["annotations"]["gitvirt.io/not-after"])
    assert before + 119 <= until <= time.time() + 120


@pytest.mark.promise("S122", "S124", "S125")
@pytest.mark.parametrize("argv", [["start"], ["stop"], ["stop", "-f"], ["restart", "--force"]])
def test_what_is_committed_is_a_valid_manifest(
    gitvirt: Gitvirt, fleet: Fleet, argv: list[str]
) -> None:
    gitvirt(argv[0], "linux-vm", "-c", *argv[1:])
    (document,) = fleet.operations().values()
    read = read_file(CATALOGUE, CHECKS, ledger.dump(document))
    assert read.problems == ()
    (found,) = read.manifests
    assert found.key.kind == "VirtualMachineOperation"
    assert bool(found.spec.get("force")) == bool(argv[1:])


@pytest.mark.promise("S249", "S254")
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["evict", "linux-vm"], {"type": "Evict"}),
        (["evict", "linux-vm", "--force"], {"type": "Evict", "force": True}),
        (["evict", "linux-vm", "--no-force"], {"type": "Evict", "force": False}),
        (["migrate", "-n", "prod", "linux-vm"], {"type": "Migrate"}),
        (
            ["evict", "linux-vm", "--target-node", "pt-2"],
            {"type": "Migrate", "migrate": {"nodeSelector": {"kubernetes.io/hostname": "pt-2"}}},
        ),
    ],
)
def test_a_machine_is_moved_by_an_operation(
    gitvirt: Gitvirt, fleet: Fleet, argv: list[str], expected: dict[str, Any]
) -> None:
    assert gitvirt(*argv, "-c").code == 0
    (document,) = fleet.operations().values()
    assert document["metadata"]["namespace"] == ("prod" if "prod" in argv else "default")
    assert document["spec"] == {"virtualMachineName": "linux-vm", **expected}
    read = read_file(CATALOGUE, CHECKS, ledger.dump(document))
    assert read.problems == ()


def test_a_restore_says_to_what_and_how(gitvirt: Gitvirt, fleet: Fleet) -> None:
    assert gitvirt("restore", "linux-vm", "-c").code == 1
    assert fleet.operations() == {}
    assert gitvirt("restore", "linux-vm", "--snapshot", "then", "-c").code == 0
    assert gitvirt("restore", "linux-vm", "--snapshot", "then", "--mode=DryRun", "-c").code == 0
    read = [read_file(CATALOGUE, CHECKS, ledger.dump(each)) for each in fleet.operations().values()]
    assert [each.problems for each in read] == [(), ()]
    specs = [manifest.spec for each in read for manifest in each.manifests]
    common = {"type": "Restore", "virtualMachineName": "linux-vm"}
    for mode in ("Strict", "DryRun"):
        how = {"mode": mode, "virtualMachineSnapshotName": "then"}
        assert {**common, "restore": how} in specs


def test_an_undo_says_of_what(gitvirt: Gitvirt, fleet: Fleet) -> None:
    assert gitvirt("restore", "linux-vm", "--undo", "back", "--snapshot", "then", "-c").code == 1
    assert gitvirt("restore", "linux-vm", "--undo", "back", "-c").code == 0
    (document,) = fleet.operations().values()
    assert document["metadata"]["annotations"]["gitvirt.io/undo"] == "back"
    assert read_file(CATALOGUE, CHECKS, ledger.dump(document)).problems == ()


def test_a_dry_run_prints_what_would_become_of_each_object(gitvirt: Gitvirt, agent: Play) -> None:
    root = {"kind": "VirtualDisk", "name": "root", "message": "A new one is made."}
    agent({"phase": "Completed", "resources": [root]})
    result = gitvirt("restore", "linux-vm", "--snapshot=s", "--mode=DryRun", "-t", "20s")
    assert (result.code, result.err) == (0, "")
    assert result.out == "VirtualDisk root: A new one is made.\n"


def test_a_clone_names_the_machine_its_disks_and_the_rest(gitvirt: Gitvirt, fleet: Fleet) -> None:
    refs = [{"kind": "VirtualDisk", "name": name} for name in ("linux-vm-root", "data")]
    fleet.write(machine(spec={"blockDeviceRefs": [*refs, {"kind": "VirtualImage", "name": "iso"}]}))
    assert gitvirt("clone", "linux-vm", "-c").code == 1
    assert gitvirt("clone", "linux-vm", "copy", "--mode=BestEffort", "-c").code == 0
    assert gitvirt("clone", "linux-vm", "copy", "--snapshot=then", "-c").code == 0
    read = [read_file(CATALOGUE, CHECKS, ledger.dump(each)) for each in fleet.operations().values()]
    assert [each.problems for each in read] == [(), ()]
    found = {manifest.key.kind: manifest.spec for each in read for manifest in each.manifests}
    names = {("VirtualMachine", "linux-vm"): "copy", ("VirtualDisk", "linux-vm-root"): "copy-root"}
    names |= {("VirtualDisk", "data"): "copy-data"}
    how = {
        "nameReplacement": [
            {"from": {"kind": kind, "name": name}, "to": to} for (kind, name), to in names.items()
        ],
        "customization": {"namePrefix": "copy-"},
    }
    assert found["VirtualMachineOperation"] == {
        "type": "Clone",
        "virtualMachineName": "linux-vm",
        "clone": {"mode": "BestEffort", **how},
    }
    assert found["VirtualMachineSnapshotOperation"] == {
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": "then",
        "createVirtualMachine": {"mode": "Strict", **how},
    }


def test_a_clone_whose_name_cannot_be_is_not_asked_for(gitvirt: Gitvirt, fleet: Fleet) -> None:
    result = gitvirt("clone", "linux-vm", "x" * 60, "-c")
    assert (result.code, fleet.operations()) == (1, {})
    assert "must be a name of 1 to 59 lower-case letters" in result.err


def test_a_clone_is_waited_for_until_its_branch_is_there(gitvirt: Gitvirt, agent: Play) -> None:
    branch = {"name": "clone/default/copy"}
    agent({"phase": "InProgress"}, {"phase": "InProgress", "branch": branch})
    result = gitvirt("clone", "linux-vm", "copy", "-t", "20s")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("Merge branch clone/default/copy, and it is made.\n")


def test_only_what_ends_a_machine_can_be_forced(gitvirt: Gitvirt, fleet: Fleet) -> None:
    assert gitvirt("start", "linux-vm", "--force").code == 1
    assert fleet.operations() == {}


@pytest.mark.parametrize(
    ("argv", "namespace", "name"),
    [
        (["linux-vm"], "default", "linux-vm"),
        (["vm/linux-vm"], "default", "linux-vm"),
        (["linux-vm.prod"], "prod", "linux-vm"),
        (["linux-vm", "-n", "prod"], "prod", "linux-vm"),
        (["web.front"], "default", "web.front"),
        (["web.front.default", "-n", "prod"], "default", "web.front"),
    ],
)
def test_how_a_machine_is_named(
    gitvirt: Gitvirt, fleet: Fleet, argv: list[str], namespace: str, name: str
) -> None:
    assert gitvirt("stop", *argv, "-c").code == 0
    (document,) = fleet.operations().values()
    assert document["metadata"]["namespace"] == namespace
    assert document["spec"]["virtualMachineName"] == name


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("other", "there is no VirtualMachine 'other' in namespace default; `gitvirt get vm -A`"),
        ("other.prod", "'other.prod' in namespace default or 'other' in namespace prod"),
        ("vd/root", "is no virtual machine"),
        ("../../x", "is no virtual machine"),
        ("vm/..", "there is no VirtualMachine '..'"),
    ],
)
def test_a_machine_that_is_not_there_is_refused_at_once(
    gitvirt: Gitvirt, fleet: Fleet, word: str, said: str
) -> None:
    result = gitvirt("restart", word)
    assert result.code == 1
    assert said in result.err
    assert fleet.operations() == {}


def test_it_returns_when_the_agent_has_begun(gitvirt: Gitvirt, agent: Play) -> None:
    agent({"phase": "InProgress"})
    result = gitvirt("restart", "linux-vm", "-t", "20s")
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(
        r'VirtualMachine "default/linux-vm" restarting\. '
        rf'VirtualMachineOperation "default/{NAME}" in progress\.\n',
        result.out,
    )


def test_with_wait_it_returns_when_all_is_done(gitvirt: Gitvirt, agent: Play) -> None:
    agent({"phase": "Pending"}, {"phase": "InProgress"}, {"phase": "Completed"})
    result = gitvirt("stop", "linux-vm", "--wait", "-t", "20s")
    assert result.code == 0
    assert re.fullmatch(
        r'VirtualMachine "default/linux-vm" stopped\. '
        rf'VirtualMachineOperation "default/{NAME}" completed\.',
        result.lines[-1],
    )


def test_a_failed_operation_says_why(gitvirt: Gitvirt, agent: Play) -> None:
    why = {**condition("Completed", "False", "A stopped one."), "reason": "NotApplicable"}
    agent({"phase": "Failed", "conditions": [why]})
    result = gitvirt("restart", "linux-vm", "-t", "20s")
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(
        rf'error: VirtualMachineOperation "default/{NAME}" failed: NotApplicable: A stopped one\.\n',
        result.err,
    )


def test_nobody_answers(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.beat(time.time() - 600)
    result = gitvirt("restart", "linux-vm", "-t", "0.05")
    assert result.code == 1
    warning, error = result.err.splitlines()
    assert warning.startswith("warning: the agent was last seen 10m ago")
    assert "was not taken up within 0s, and will not be any more" in error


def test_one_that_takes_too_long_goes_on(gitvirt: Gitvirt, agent: Play) -> None:
    why = {**condition("Completed", "False", "The disk is open elsewhere."), "reason": "Waiting"}
    agent({"phase": "InProgress", "conditions": [why]})
    result = gitvirt("restart", "linux-vm", "--wait", "-t", "1s")
    assert result.code == 1
    assert "in progress." in result.out
    assert result.err.endswith(
        " is not completed after 1s and goes on: Waiting: The disk is open elsewhere.\n"
    )


def test_two_at_once_lose_nothing(
    gitvirt: Gitvirt, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = LocalRepository.commit
    raced = iter([True, True])

    def racing(self: LocalRepository, ref: str, *arguments: Any, **more: Any) -> str:
        if ref == "refs/heads/operations" and next(raced, False):
            tip = self.fetch().get(ref)
            commit(self, ref, tip, {f"other-{tip}.yaml": b"x"}, "somebody else")
        return commit(self, ref, *arguments, **more)

    monkeypatch.setattr(LocalRepository, "commit", racing)
    assert gitvirt("stop", "linux-vm", "-c").code == 0
    names = sorted(fleet.operations())
    assert len(names) == 3
    assert sum(name.startswith("other-") for name in names) == 2


def test_a_branch_that_never_stands_still_is_given_up(
    gitvirt: Gitvirt, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(self: LocalRepository, ref: str, *_: object, **__: object) -> str:
        raise StaleTip(ref)

    monkeypatch.setattr(LocalRepository, "commit", stale)
    result = gitvirt("stop", "linux-vm", "-c")
    assert result.code == 1
    assert "moves too often" in result.err


def test_the_longest_name_still_fits() -> None:
    name = operation.name_for("a" * 250 + ".bc")
    assert len(name) <= 253
    assert re.fullmatch(r"a+-[a-z0-9]{5}", name)


def test_the_commit_is_by_whom_git_says(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    home = Path(os.environ["HOME"])
    (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    assert gitvirt("restart", "linux-vm", "--create-only").code == 0
    who = git(fleet.root, "log", "-1", "--format=%an <%ae>, %cn", "operations")
    assert who == "Ada <ada@example.org>, gitvirt"
