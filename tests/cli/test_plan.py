from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core import ledger
from agent.core.model import BUILT_IN, Object
from agent.kinds.virtual_machine_class.builtin import CLASSES
from tests.cli.conftest import Gitvirt
from tests.fleets import CATALOGUE, CREATED, MACHINE, Fleet, machine, whole
from tests.gitrepo.git import bare, git, put

DISK = whole(
    "VirtualDisk",
    "root",
    {"persistentVolumeClaim": {"size": "1Gi"}},
    {"phase": "Ready", "capacity": "1Gi"},
)


(_MANIFEST,) = (each for each in CLASSES if each.key.name == "host")
HOST = ledger.document(
    CATALOGUE, ledger.Record(Object(_MANIFEST, "0-1", 1, CREATED, BUILT_IN), {"phase": "Ready"})
)


def vm(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachine",
        "metadata": {"name": "linux-vm"},
        "spec": {**MACHINE, **spec},
    }


def disk(name: str = "root") -> dict[str, Any]:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualDisk",
        "metadata": {"name": name},
        "spec": {"persistentVolumeClaim": {"size": "1Gi"}},
    }


def files(*documents: dict[str, Any]) -> dict[str, str]:
    return {f"{each['metadata']['name']}.yaml": yaml.safe_dump(each) for each in documents}


@pytest.fixture
def there(fleet: Fleet) -> Fleet:
    """A fleet of one running VM with its disk."""
    fleet.write(machine(), DISK, HOST)
    fleet.agent()
    return fleet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    return made


def fill(folder: Path, *documents: dict[str, Any]) -> str:
    for name, text in files(*documents).items():
        (folder / name).write_text(text)
    return str(folder)


def test_nothing_to_do(gitvirt: Gitvirt, there: Fleet, folder: Path) -> None:
    result = gitvirt("plan", fill(folder, vm(), disk()))
    assert (result.code, result.out, result.err) == (0, "No changes.\n", "")


def test_the_first_line_says_it_all(gitvirt: Gitvirt, there: Fleet, folder: Path) -> None:
    changed = vm(cpu={"cores": 2, "coreFraction": "100%"}, terminationGracePeriodSeconds=30)
    result = gitvirt("plan", fill(folder, changed, disk(), disk("data")))
    assert result.code == 2
    assert result.lines == [
        "1 to create, 1 to change, 1 needs a restart.",
        "",
        "+ VirtualDisk default/data",
        "    does        CreateVolume",
        "",
        "~ VirtualMachine default/linux-vm",
        "    immediate   terminationGracePeriodSeconds: 60 → 30",
        "    restart     cpu.cores: 1 → 2",
        "    because     a guest has the cores, and the share of them, that it was started with",
        "    does        DefineDomain",
    ]


@pytest.fixture
def clone(there: Fleet, tmp_path: Path) -> Path:
    """A clone of the fleet's repository, whose manifests lie below `fleet`."""
    put(there.root, {f"fleet/{name}": text for name, text in files(vm(), disk()).items()})
    there.agent(path="fleet")
    git(tmp_path, "clone", "-q", str(there.root), "clone")
    return tmp_path / "clone"


def test_anywhere_in_a_clone_all_of_its_manifests_are_planned(
    gitvirt: Gitvirt, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "elsewhere").mkdir()
    (clone / "fleet/below").mkdir()
    fill(clone / "fleet/below", disk("data"))
    for folder in ("", "fleet", "fleet/below", "elsewhere"):
        monkeypatch.chdir(clone / folder)
        result = gitvirt("plan")
        assert (result.code, result.lines[0]) == (2, "1 to create."), folder
    assert gitvirt("plan", "--path", "elsewhere").err.startswith(
        f"error: {clone}/elsewhere: there is no manifest"
    )
    assert gitvirt("plan", str(clone / "fleet")).lines[0] == "1 to create."


def test_a_part_of_a_clone_is_not_planned_as_the_whole(
    gitvirt: Gitvirt, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "fleet/below").mkdir()
    fill(clone / "fleet/below", disk("data"))
    monkeypatch.chdir(clone / "fleet")
    for part in (str(clone / "fleet/below"), "below", "..", str(clone)):
        result = gitvirt("plan", part)
        assert (result.code, result.out) == (1, ""), part
        assert f"in this clone they are {clone}/fleet" in result.err
        assert f"`gitvirt validate {part}`" in result.err


def test_a_clone_is_known_by_its_commits_too(
    gitvirt: Gitvirt, clone: Path, there: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(clone, "remote", "set-url", "origin", "https://forge.test/fleet.git")
    monkeypatch.chdir(clone / "fleet")
    assert gitvirt("plan").out == "No changes.\n"
    put(there.root, {f"fleet/{name}": text for name, text in files(vm(), disk()).items()})
    assert gitvirt("plan").out == "No changes.\n"  # it is behind


def test_a_folder_that_is_no_clone_is_planned_only_where_it_is_named(
    gitvirt: Gitvirt, there: Fleet, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = gitvirt("plan", fill(folder, vm(), disk(), disk("data")))
    assert (named.code, named.lines[0]) == (2, "1 to create.")
    monkeypatch.chdir(folder)
    for more in ((), ("--path", ".")):
        result = gitvirt("plan", *more)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith(f"error: {folder} lies in no clone of {there.root}: name")
    assert gitvirt("plan", ".").lines[0] == "1 to create."
    stranger = bare(tmp_path / "stranger.git")
    put(stranger, files(disk("foreign")))
    git(tmp_path, "clone", "-q", str(stranger), "strange")
    monkeypatch.chdir(tmp_path / "strange")
    assert "lies in no clone of" in gitvirt("plan").err
    missing = gitvirt("plan", "nowhere")
    assert (missing.code, missing.err) == (1, "error: nowhere: there is no such folder\n")


def test_what_is_surely_not_all_manifests_is_no_plan_of_deletion(
    gitvirt: Gitvirt, there: Fleet, folder: Path
) -> None:
    bare = gitvirt("plan", str(folder))
    assert (bare.code, bare.out) == (1, "")
    assert bare.err.startswith(f"error: {folder}: there is no manifest in it")
    single = gitvirt("plan", fill(folder, vm()) + "/linux-vm.yaml")
    assert (single.code, single.out) == (1, "")
    assert single.err.startswith("error: PATH must be a folder")
    assert f"`gitvirt validate {folder}/linux-vm.yaml`" in single.err
    absent = gitvirt("plan", "--path", "nosuch", "--revision", "main")
    assert (absent.code, absent.out) == (1, "")
    assert absent.err.startswith("error: main has no folder 'nosuch'")


def test_a_commit_may_empty_its_folder(gitvirt: Gitvirt, there: Fleet) -> None:
    diverged(there, {"README": "manifests\n"}, {"vms/README": "none left\n"})
    result = gitvirt("plan", "--path", "vms", "--revision", "topic")
    assert (result.code, result.err) == (2, "")
    assert "linux-vm" in result.out


def test_a_revision(gitvirt: Gitvirt, there: Fleet, folder: Path) -> None:
    git(there.root, "update-ref", "refs/heads/topic", "main")
    commit = put(there.root, files(vm(), disk(), disk("data")), "refs/heads/topic")
    for revision in ("topic", commit, commit[:10]):
        result = gitvirt("plan", "--revision", revision)
        assert (result.code, result.lines[0]) == (2, "1 to create.")
    both = gitvirt("plan", "--revision", "topic", str(folder))
    assert (both.code, both.err) == (1, "error: give a PATH or a --revision, not both\n")
    unknown = gitvirt("plan", "--revision", "nothing")
    assert unknown.code == 1
    assert "no branch, tag or commit 'nothing'" in unknown.err


def diverged(fleet: Fleet, main: dict[str, str], topic: dict[str, str]) -> None:
    """A branch `topic` and a main that has gone on since."""
    git(fleet.root, "update-ref", "refs/heads/topic", git(fleet.root, "rev-parse", "main"))
    put(fleet.root, topic, "refs/heads/topic")
    put(fleet.root, main)


def test_a_branch_that_is_behind_is_planned_as_its_merge(gitvirt: Gitvirt, there: Fleet) -> None:
    both = files(vm(), disk())
    put(there.root, both)
    late = vm()
    late["metadata"]["labels"] = {"a": "b"}
    topic = {**both, **files(vm(memory={"size": "2Gi"}), disk("mine"))}
    diverged(there, {**both, **files(late, disk("late"))}, topic)
    result = gitvirt("plan", "--revision", "topic")
    assert (result.code, result.err) == (2, "")
    assert result.lines[0] == "2 to create, 1 to change, 1 needs a restart."
    assert "    restart     memory.size: 1Gi → 2Gi" in result.lines
    assert "    immediate   metadata.labels.a: + b" in result.lines


def test_a_branch_that_does_not_merge_says_so(gitvirt: Gitvirt, there: Fleet) -> None:
    both = files(vm(), disk(), disk("gone"))
    put(there.root, both)
    edited = disk("gone")
    edited["metadata"]["labels"] = {"a": "b"}
    topic = {**both, **files(vm(memory={"size": "2Gi"}))}
    del topic["gone.yaml"]
    diverged(there, {**both, **files(vm(memory={"size": "3Gi"}), edited)}, topic)
    result = gitvirt("plan", "--revision", "topic")
    assert result.code == 1
    assert "problem: linux-vm.yaml: does not merge: its lines are changed here and" in result.out
    assert "problem: gone.yaml: does not merge: it is removed here and changed on" in result.out
    assert "memory.size: 1Gi → 2Gi" in result.out


def test_a_renamed_file_takes_the_changes_of_main_along(gitvirt: Gitvirt, there: Fleet) -> None:
    both = files(vm(), disk())
    put(there.root, both)
    topic = {"moved/linux-vm.yaml": both["linux-vm.yaml"], "root.yaml": both["root.yaml"]}
    diverged(there, {**both, **files(vm(memory={"size": "2Gi"}))}, topic)
    result = gitvirt("plan", "--revision", "topic")
    assert (result.code, result.lines[0]) == (2, "1 to change, 1 needs a restart.")
    assert "    restart     memory.size: 1Gi → 2Gi" in result.lines


def test_going_back_is_planned_as_it_is_and_says_so(gitvirt: Gitvirt, there: Fleet) -> None:
    old = put(there.root, files(vm(), disk()))
    put(there.root, files(vm(memory={"size": "2Gi"}), disk()))
    result = gitvirt("plan", "--revision", old)
    assert (result.code, result.out) == (0, "No changes.\n")
    assert result.err == (
        f"note: {old} is a part of main already: this is what going back to it would do\n"
    )
    assert gitvirt("plan", "--revision", "main").err == ""


def test_a_branch_without_common_history_says_so(gitvirt: Gitvirt, there: Fleet) -> None:
    put(there.root, files(vm(), disk()), "refs/heads/alone")
    result = gitvirt("plan", "--revision", "alone")
    assert (result.code, result.out) == (1, "")
    assert "shares no recent history" in result.err


def test_problems_are_told_and_are_an_error(gitvirt: Gitvirt, there: Fleet, folder: Path) -> None:
    result = gitvirt("plan", fill(folder, vm(cpu={"cores": "many"}), disk()))
    assert result.code == 1
    assert result.lines[0] == "1 problem."
    assert result.lines[2].startswith("problem: linux-vm.yaml:")
    assert "spec.cpu.cores: must be" in result.lines[2]


def test_markdown(gitvirt: Gitvirt, there: Fleet, folder: Path) -> None:
    evil = disk("data")
    evil["metadata"]["annotations"] = {"a": "1"}
    known = vm()
    known["metadata"]["annotations"] = {"note": "<img src=x> [a](http://b) @all `c`\n# d"}
    result = gitvirt("plan", fill(folder, known, disk(), evil), "-o", "markdown")
    assert result.code == 2
    assert result.lines[0] == "### Plan: 1 to create, 1 to change"
    assert "- **create** VirtualDisk default/data" in result.lines
    for sign in ("<img", "[a](", "@all", "`c`", "://", "\n# d"):
        assert sign not in result.out
    calm = gitvirt("plan", fill(folder, vm(), disk(), disk("data")), "-o", "markdown")
    assert "linux-vm" not in calm.out


def test_json_is_stable(gitvirt: Gitvirt, there: Fleet, folder: Path) -> None:
    changed = vm(memory={"size": "2Gi"})
    result = gitvirt("plan", fill(folder, changed), "-o", "json")
    assert result.code == 2
    value = json.loads(result.out)
    assert value.keys() == {"revision", "changes", "problems"}
    disk_item, vm_item = value["changes"]
    assert (disk_item["kind"], disk_item["operation"]) == ("VirtualDisk", "delete")
    assert vm_item == {
        "kind": "VirtualMachine",
        "namespace": "default",
        "name": "linux-vm",
        "operation": "change",
        "immediate": [],
        "restart": [
            {
                "currentValue": "1Gi",
                "desiredValue": "2Gi",
                "operation": "replace",
                "path": "memory.size",
            }
        ],
        "restartsByItself": False,
        "nextStart": [],
        "drift": [],
        "reported": [],
        "actions": vm_item["actions"],
        "reason": vm_item["reason"],
    }


def test_another_format_is_an_error(gitvirt: Gitvirt, there: Fleet) -> None:
    result = gitvirt("plan", "-o", "xml")
    assert (result.code, result.out) == (1, "")
    assert "use text, markdown, json" in result.err


def test_what_was_held_is_no_deletion(gitvirt: Gitvirt, fleet: Fleet, folder: Path) -> None:
    names = ("a", "b", "c", "d")
    fleet.write(*(whole("VirtualDisk", name, DISK["spec"], DISK["status"]) for name in names))
    result = gitvirt("plan", fill(folder, disk("a")))
    assert result.code == 2
    assert result.lines[0] == "3 held."
    assert "= VirtualDisk default/b is kept" in result.lines
    assert "gitvirt.io/confirm-deletion" in result.out


def test_live_reads_the_host(
    gitvirt: Gitvirt, there: Fleet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger speaks of a machine that the host has never seen."""
    there.write(whole("VirtualDisk", "root", DISK["spec"], {"phase": "Provisioning"}))
    (folder.parent / "host.xml").write_text("<node></node>")
    monkeypatch.setenv("GITVIRT_CONNECT", f"test://{folder.parent}/host.xml")
    manifests = fill(folder, vm(), disk())
    assert gitvirt("plan", manifests).out == "No changes.\n"
    result = gitvirt("plan", manifests, "--live")
    assert result.code == 2
    assert result.lines[0] == "1 to act on, 1 blocked."
    assert (
        "VirtualMachineClass host is not ready" in result.out
    )  # of CPUs the test driver knows nothing
    assert "    does        CreateVolume" in result.lines
    monkeypatch.setenv("GITVIRT_CONNECT", "test:///nowhere/host.xml")
    assert gitvirt("plan", manifests).code == 0
    away = gitvirt("plan", manifests, "--live")
    assert (away.code, away.out) == (1, "")
    assert away.err.startswith("error: ")
