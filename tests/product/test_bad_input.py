"""Whatever stands in the repository: what runs goes on, and what holds is applied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dulwich.objects import Commit, ObjectID, Tree

from agent.gitrepo.repository import RepositoryError
from tests.rig import MAIN, OPERATIONS, Rig, disk, encoded, machine, manifest, operation

CLASS = manifest("VirtualMachineClass", "extra", {"cpu": {"type": "Host"}})
BOMB = "apiVersion: virtualization.deckhouse.io/v1alpha2\nkind: VirtualMachine\na: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"disk.yaml": disk(), "vm.yaml": machine()})
    rig.settle()
    assert rig.running()
    rig.verbs()
    return rig


def unharmed(rig: Rig) -> None:
    assert rig.running()
    assert {"shutdown", "destroy", "undefine", "start", "delete_volume"}.isdisjoint(rig.verbs())
    rig.start()
    rig.settle()
    assert rig.running()
    assert {"shutdown", "destroy", "undefine", "start", "delete_volume"}.isdisjoint(rig.verbs())


def twice() -> list[object]:
    return [machine(), machine(cpu={"cores": 3})]


@pytest.mark.parametrize(
    "content",
    [
        "][",
        {name: value for name, value in machine().items() if name != "apiVersion"},
        {name: value for name, value in machine().items() if name != "metadata"},
        b"\xff\xfe\x00",
        b"\x00" * 10,
        "- " * 5000 + "x",
        "[" * 20000,
        BOMB,
        "x" * (1024 * 1024 + 1),
        machine(cpu={"cores": 0}),
        machine(cpu={"cores": 17}),
        machine(cpu={"cores": "two"}),
        machine(memory={"size": "lots"}),
        machine(unknown=1),
        machine(runPolicy="Sometimes"),
        machine(disks=("root", "root")),
        twice(),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_manifest_leaves_the_last_good_one_in_force(on: Rig, content: object) -> None:
    on.push({"vm.yaml": content, "second.yaml": [disk("d2"), machine("second", disks=("d2",))]})
    summary = on.settle()
    assert summary.problems
    assert all(problem.message for problem in summary.problems)
    assert on.vm()["spec"]["cpu"]["cores"] == 1
    assert on.running("second")  # the good beside it is applied
    on.verbs()
    unharmed(on)
    assert on.vm()["spec"]["cpu"]["cores"] == 1
    on.push({"vm.yaml": machine(cpu={"cores": 2})})
    assert on.settle().problems == ()
    assert on.vm()["spec"]["cpu"]["cores"] == 2


def test_what_cannot_be_changed_stays_although_its_manifest_was_gone_for_a_while(on: Rig) -> None:
    on.push({"class.yaml": CLASS, "vm.yaml": machine(virtualMachineClassName="extra")})
    on.settle()
    on.push({"class.yaml": None, "disk.yaml": None})
    on.settle()
    other = disk()
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "golden"}}
    other["spec"]["dataSource"] = source
    model = {"cpu": {"type": "Model", "model": "Nehalem"}}
    on.push({"disk.yaml": other, "class.yaml": manifest("VirtualMachineClass", "extra", model)})
    problems = {problem.resource: problem for problem in on.settle().problems}
    assert problems.keys() == {"VirtualDisk default/root", "VirtualMachineClass extra"}
    assert all("cannot be changed" in problem.message for problem in problems.values())
    assert "dataSource" not in on.document("namespaces/default/virtualdisks/root.yaml")["spec"]
    found = on.document("cluster/virtualmachineclasses/extra.yaml")["spec"]
    assert found["cpu"] == {"type": "Host"}
    unharmed(on)


def test_a_manifest_takes_the_place_of_a_class_that_is_there_without_one(on: Rig) -> None:
    path = "cluster/virtualmachineclasses/host.yaml"
    cpu = {"type": "Model", "model": "Nehalem"}
    on.push({"class.yaml": manifest("VirtualMachineClass", "host", {"cpu": cpu})})
    assert on.settle().problems == ()
    assert on.document(path)["spec"]["cpu"] == cpu
    unharmed(on)
    on.push({"class.yaml": None})
    assert on.settle().problems == ()
    assert on.document(path)["spec"]["cpu"] == {"type": "Host"}
    unharmed(on)


def test_the_last_good_version_also_after_a_crash_of_everything(on: Rig) -> None:
    on.push({"vm.yaml": machine(cpu={"cores": 0})})
    on.settle()
    on.start()
    on.host.lose_host()
    on.settle()
    assert on.running()
    on.verbs()
    unharmed(on)


def test_the_problems_are_written_down(on: Rig) -> None:
    on.push({"vm.yaml": machine(cpu={"cores": 0}, memory={"size": "lots"})})
    on.settle()
    text = on.documents()["problems.yaml"].decode()
    assert "vm.yaml" in text
    assert "spec.cpu.cores" in text
    assert "spec.memory.size" in text


def test_a_broken_file_holds_all_deletions(on: Rig) -> None:
    on.push({"vm.yaml": None, "broken.yaml": "]["})
    summary = on.settle()
    assert any("broken.yaml" in problem.message for problem in summary.problems)
    unharmed(on)
    on.push({"broken.yaml": None})
    on.settle()
    assert on.host.read_domain(on.uuid()) is None


def test_an_empty_tree_deletes_nothing(on: Rig) -> None:
    on.push({"vm.yaml": None, "disk.yaml": None, "README.txt": "empty"})
    assert on.settle().problems
    unharmed(on)


def test_main_rewritten_without_history(on: Rig) -> None:
    on.repo.commit(
        MAIN,
        on.repo.fetch()[MAIN],
        {"x.yaml": b"", "README": b"new"},
        "start over",
        parentless=True,
    )
    assert on.settle().problems
    unharmed(on)


def gone(rig: Rig) -> None:
    rig.agent.reconciler.look_at_git()
    for _ in range(10):
        rig.step()
        rig.now += 10


def test_the_branch_is_gone_and_comes_back(on: Rig) -> None:
    tip = on.repo.refs.pop(MAIN)  # type: ignore[attr-defined]
    gone(on)
    assert "main" in on.agent.reconciler.summary().git_error
    on.host.crash(on.uuid())
    gone(on)
    assert on.running()  # still looked after
    assert {"shutdown", "destroy", "undefine"}.isdisjoint(on.verbs())
    on.repo.refs[MAIN] = tip  # type: ignore[attr-defined]
    assert on.settle().git_error == ""
    unharmed(on)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_repository_is_gone_and_comes_back(
    on: Rig, restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_options: object) -> None:
        raise RepositoryError("Unreachable", "no route to the repository")

    with monkeypatch.context() as patch:
        patch.setattr(on.repo, "fetch", away)
        patch.setattr(on.repo, "commit", away)
        if restarted:
            on.start()
        gone(on)
        assert "no route" in on.agent.reconciler.summary().git_error
        assert {"shutdown", "destroy", "undefine"}.isdisjoint(on.verbs())
        on.host.crash(on.uuid())
        gone(on)
        assert on.running() is not restarted  # an agent that never saw the ledger knows nothing
    on.settle()
    assert on.running()
    on.verbs()
    unharmed(on)


# -- deletions ----------------------------------------------------------------------------------


def fleet(rig: Rig, count: int = 6) -> None:
    files = {f"{n}.yaml": [disk(f"d{n}"), machine(f"v{n}", disks=(f"d{n}",))] for n in range(count)}
    rig.push({**files, "class.yaml": CLASS})
    rig.settle()
    assert all(rig.running(f"v{n}") for n in range(count))
    rig.verbs()


def test_a_mass_deletion_is_held_until_confirmed(rig: Rig) -> None:
    fleet(rig)
    rig.push({f"{n}.yaml": None for n in range(4)})
    summary = rig.settle()
    assert rig.verbs() == []
    message = next(each.message for each in summary.problems if "confirm" in each.message)
    code = message.split("gitvirt.io/confirm-deletion: ", 1)[1].split()[0]
    config = {
        "apiVersion": "deckhouse.io/v1alpha1",
        "kind": "ModuleConfig",
        "metadata": {
            "name": "virtualization",
            "annotations": {"gitvirt.io/confirm-deletion": "wrong"},
        },
        "spec": {"version": 1, "enabled": True, "settings": {}},
    }
    rig.push({"config.yaml": config})
    rig.settle()
    assert rig.verbs() == []
    config["metadata"]["annotations"]["gitvirt.io/confirm-deletion"] = code  # type: ignore[index]
    rig.push({"config.yaml": config})
    rig.settle()
    assert [rig.host.read_domain(rig.uuid(f"v{n}")) is None for n in range(6)] == [True] * 4 + [
        False
    ] * 2
    assert sum("_disk_" in name for name in rig.host.pools["gitvirt"]) == 6


def test_a_repository_without_manifests_deletes_nothing_until_confirmed(rig: Rig) -> None:
    fleet(rig, 2)
    rig.push({"0.yaml": None, "1.yaml": None, "class.yaml": None})
    problems = rig.settle().problems
    assert rig.verbs() == []
    assert len(problems) == 5
    (message,) = {each.message for each in problems}
    name, code = message.rpartition("annotation ")[2].split(": ")
    metadata = {"name": "virtualization", "annotations": {name: code}}
    settings = {"version": 1, "enabled": True, "settings": {}}
    config = {"apiVersion": "deckhouse.io/v1alpha1", "kind": "ModuleConfig"}
    rig.push({"config.yaml": {**config, "metadata": metadata, "spec": settings}})
    assert rig.settle().problems == ()
    assert not any("namespaces/default/virtualmachines" in path for path in rig.documents())


def test_a_few_deletions_need_no_confirmation(rig: Rig) -> None:
    fleet(rig)
    rig.push({f"{n}.yaml": None for n in range(2)})
    assert rig.settle().problems == ()
    assert rig.host.read_domain(rig.uuid("v0")) is None
    assert rig.running("v5")


def test_prune_disabled(rig: Rig) -> None:
    keep = {"annotations": {"gitvirt.io/prune": "disabled"}}
    rig.push({"vm.yaml": [disk(), machine(metadata=keep)], "class.yaml": CLASS})
    rig.settle()
    rig.verbs()
    rig.push({"vm.yaml": disk()})
    summary = rig.settle()
    assert "prune" in summary.problems[0].message
    unharmed(rig)


def test_a_move_of_a_manifest_to_another_file_is_no_deletion(on: Rig) -> None:
    on.push({"vm.yaml": None, "deep/folder/renamed.yaml": machine()})
    assert on.settle().problems == ()
    unharmed(on)


# -- what is no file ----------------------------------------------------------------------------


def with_entry(rig: Rig, name: bytes, mode: int, target: bytes) -> None:
    """Put a tree entry of this mode on main that a checkout would follow."""
    repository = rig.repo
    commit = repository.fetch()[MAIN]
    tree = Tree.from_raw_string(2, repository.objects[repository.tree_id(commit)][1])  # type: ignore[attr-defined]
    assert isinstance(tree, Tree)
    tree.add(name, mode, ObjectID(target))
    raw = repository.objects[commit][1].decode()  # type: ignore[attr-defined]
    old = raw.split("\n", 1)[0]
    data = raw.replace(old, f"tree {tree.id.decode()}").encode()
    made = Commit.from_raw_string(1, data)
    for each in (tree, made):
        repository.objects[each.id.decode()] = (each.type_num, each.as_raw_string())  # type: ignore[attr-defined]
    repository.refs[MAIN] = made.id.decode()  # type: ignore[attr-defined]


def symlink(rig: Rig, name: bytes = b"link.yaml") -> None:
    rig.push({"target": "/etc/passwd"})
    blob = next(
        file.blob for file in rig.repo.files(rig.repo.fetch()[MAIN]) if file.path == "target"
    )
    with_entry(rig, name, 0o120000, blob.encode())


def submodule(rig: Rig, name: bytes = b"module.yaml") -> None:
    with_entry(rig, name, 0o160000, b"1" * 40)


@pytest.mark.parametrize("name", [b"link.yaml", b"machines", b"README.md"])
@pytest.mark.parametrize("add", [symlink, submodule])
def test_symlinks_and_submodules_are_refused_and_hold_deletions(
    on: Rig, add: Callable[[Rig, bytes], None], name: bytes
) -> None:
    """Whatever their names: all that lies below is out of sight."""
    on.push({"vm.yaml": None})
    add(on, name)
    summary = on.settle()
    (problem,) = (each for each in summary.problems if each.file == name.decode())
    assert add.__name__ in problem.message
    unharmed(on)


@pytest.mark.parametrize("add", [symlink, submodule])
def test_a_symlink_or_submodule_that_is_hidden_is_nothing_of_ours(
    on: Rig, add: Callable[[Rig, bytes], None]
) -> None:
    add(on, b".vendor")
    assert on.settle().problems == ()
    on.push({"vm.yaml": None})
    add(on, b".vendor")
    on.settle()
    assert on.host.read_domain(on.uuid()) is None


# -- slips --------------------------------------------------------------------------------------

TEXT = encoded(machine()) or b""
SLIPS: dict[str, object] = {
    "virtualisation": TEXT.replace(b"virtualization.", b"virtualisation."),
    "no version": TEXT.replace(b"/v1alpha2", b""),
    "v1": {**machine(), "apiVersion": "v1"},
    "a space": TEXT.replace(b"/v1alpha2", b" /v1alpha2"),
    "VM": {**machine(), "kind": "VM"},
    "another kind": {**machine(), "kind": "VirtualDisk"},
    "no line between": TEXT + (encoded(disk("other")) or b""),
    "swallowed": (encoded(disk("other")) or b"") + TEXT,
    "swallowed by a stranger": (encoded({**disk("x"), "apiVersion": "a/v1", "kind": "B"}) or b"") + TEXT,
    "item": {"apiVersion": "v1", "kind": "List", "item": [machine()]},
    "Lst": {"apiVersion": "v1", "kind": "Lst", "items": [machine()]},
    "a null item": {"apiVersion": "v1", "kind": "List", "items": [None]},
    "no items": {"apiVersion": "v1", "kind": "List", "items": None},
    "below a key": {"vm": machine()},
    "in a list": "- " + TEXT.decode().replace("\n", "\n  ").rstrip(" "),
    "no name": TEXT.replace(b"  name: vm\n", b"  label: vm\n"),
    "two names": TEXT.replace(b"  name: vm\n", b"  name: x\n  name: vm\n"),
    "cut off": TEXT[: TEXT.index(b"metadata")],
    "the marker": machine(provisioning={"type": "UserData", "userData": "(sensitive)"}),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_a_document_stops_nothing_and_is_a_problem(on: Rig, slip: str) -> None:
    on.push({"vm.yaml": SLIPS[slip], "class.yaml": CLASS})
    summary = on.settle()
    assert any(problem.file == "vm.yaml" and problem.message for problem in summary.problems)
    unharmed(on)
    on.push({"vm.yaml": machine(cpu={"cores": 2})})
    assert on.settle().problems == ()
    assert on.vm()["spec"]["cpu"]["cores"] == 2
    on.push({"vm.yaml": None})
    on.settle()
    assert on.host.read_domain(on.uuid()) is None


def test_another_apis_machine_of_the_name_holds_until_it_is_confirmed(on: Rig) -> None:
    on.push({"vm.yaml": {**machine(), "apiVersion": "kubevirt.io/v1"}, "class.yaml": CLASS})
    (problem,) = on.settle().problems
    assert "vm.yaml:1 may be meant to be it" in problem.message
    unharmed(on)
    code = problem.message.partition("gitvirt.io/confirm-deletion: ")[2].split()[0]
    config = {
        "apiVersion": "deckhouse.io/v1alpha1",
        "kind": "ModuleConfig",
        "metadata": {
            "name": "virtualization",
            "annotations": {"gitvirt.io/confirm-deletion": code},
        },
        "spec": {"version": 1, "enabled": True, "settings": {}},
    }
    on.push({"config.yaml": config})
    assert on.settle().problems == ()
    assert on.host.read_domain(on.uuid()) is None


def test_a_deployment_of_the_name_holds_nothing(on: Rig) -> None:
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "vm"}}
    on.push({"vm.yaml": other, "class.yaml": CLASS})
    assert on.settle().problems == ()
    assert on.host.read_domain(on.uuid()) is None


@pytest.mark.parametrize("head", [{"kind": "VMOP"}, {"kind": "Vmop-"}, {"kind": None}])
def test_an_operation_with_a_slip_is_not_withdrawn(on: Rig, head: dict[str, str | None]) -> None:
    on.host.guest_obeys = False
    asked = operation("op", "vm", "Stop")
    on.push({"op.yaml": asked}, OPERATIONS)
    on.agent.reconciler.look_at_git()
    for _ in range(4):
        on.step()
    assert on.vmop("op")["status"]["phase"] == "InProgress"
    on.push({"op.yaml": {**asked, **head}}, OPERATIONS)
    on.agent.reconciler.look_at_git()
    for _ in range(4):
        on.step()
    assert on.vmop("op")["status"]["phase"] == "InProgress"
    assert "deletionTimestamp" not in on.vmop("op")["metadata"]


def test_a_kind_that_is_not_there_yet_is_no_problem(on: Rig) -> None:
    address = manifest("VirtualMachineIPAddress", "vm", {"type": "Auto"})
    on.push({"address.yaml": address})
    assert on.settle().problems == ()
    unharmed(on)
