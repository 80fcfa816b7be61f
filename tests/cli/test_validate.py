from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from agent import cli
from tests.cli.conftest import Gitvirt
from tests.fleets import MACHINE, Fleet
from tests.gitrepo.git import put

GOOD = yaml.safe_dump(
    {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachine",
        "metadata": {"name": "linux-vm"},
        "spec": MACHINE,
    }
)
BAD = GOOD.replace("cores: 1", "cores: none")
FOREIGN = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    return made


def test_what_is_right_is_counted(gitvirt: Gitvirt, folder: Path) -> None:
    (folder / "vm.yaml").write_text(GOOD)
    result = gitvirt("validate", str(folder))
    assert (result.code, result.out, result.err) == (0, "1 manifest, no problems\n", "")


def test_a_problem_is_said_with_its_place(gitvirt: Gitvirt, folder: Path) -> None:
    (folder / "vm.yaml").write_text(BAD)
    line = BAD.splitlines().index("    cores: none") + 1
    result = gitvirt("validate", str(folder))
    assert result.code == 1
    assert result.lines[0].startswith(
        f"vm.yaml:{line}: VirtualMachine default/linux-vm: spec.cpu.cores: must be"
    )
    assert result.err == "1 problem; 0 manifests without problems\n"


def test_the_json_is_stable(gitvirt: Gitvirt, folder: Path) -> None:
    (folder / "vm.yaml").write_text(BAD)
    (folder / "web.yaml").write_text(FOREIGN)
    result = gitvirt("validate", str(folder), "-o", "json")
    assert result.code == 1
    value = json.loads(result.out)
    assert value.keys() == {"problems", "ignored", "notes"}
    (problem,) = value["problems"]
    assert problem.keys() == {"file", "line", "resource", "path", "message"}
    assert (problem["file"], problem["path"]) == ("vm.yaml", "spec.cpu.cores")
    assert [(each["file"], each["resource"]) for each in value["ignored"]] == [
        ("web.yaml", "Deployment web")
    ]


def test_notes_are_no_problems(gitvirt: Gitvirt, folder: Path) -> None:
    (folder / "vm.yaml").write_text(f"{GOOD}  usbDevices: [{{name: key}}]\n")
    (folder / "web.yaml").write_text(FOREIGN)
    result = gitvirt("validate", str(folder))
    assert result.code == 0
    assert (
        result.lines[0]
        == "note: web.yaml:1: Deployment web: is of the API group apps: not applied here"
    )
    assert result.lines[1].startswith(
        "note: vm.yaml:1: VirtualMachine default/linux-vm: spec.usbDevices"
    )
    assert "not support" in result.lines[1]


def test_what_hides_manifests_is_a_problem(gitvirt: Gitvirt, folder: Path, tmp_path: Path) -> None:
    (folder / "vm.yaml").write_text(GOOD)
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "README.md").symlink_to("vm.yaml")
    (folder / "cloned/.git").mkdir(parents=True)
    (folder / ".hidden").symlink_to(tmp_path / "elsewhere")
    (folder / ".git").symlink_to(tmp_path / "elsewhere")
    result = gitvirt("validate", str(folder))
    assert result.code == 1
    assert [line.partition(" and ")[0] for line in result.lines] == [
        "README.md: is a symlink",
        "cloned: is a submodule",
        "linked: is a symlink",
    ]


def test_a_kind_that_is_not_supported_yet_is_a_note(gitvirt: Gitvirt, folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD.replace("kind: VirtualMachine", "kind: VirtualMachinePool"))
    result = gitvirt("validate", str(folder))
    assert result.code == 0
    assert "VirtualMachinePool: this kind is not supported yet" in result.out
    whole = json.loads(gitvirt("validate", str(folder), "-o", "json").out)
    assert whole["problems"] == []
    assert [each["resource"] for each in whole["ignored"]] == ["VirtualMachinePool linux-vm"]


def test_a_slip_is_a_problem_that_says_what_was_meant(gitvirt: Gitvirt, folder: Path) -> None:
    (folder / "vm.yaml").write_text(GOOD.replace("virtualization", "virtualisation"))
    result = gitvirt("validate", str(folder))
    assert result.code == 1
    assert "did you mean virtualization.deckhouse.io/v1alpha2?" in result.lines[0]


def test_a_file_alone_and_the_folder_one_stands_in(
    gitvirt: Gitvirt, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "vms").mkdir()
    (folder / "vms/vm.yaml").write_text(GOOD)
    (folder / "bad.yaml").write_text(BAD)
    assert gitvirt("validate", str(folder / "vms/vm.yaml")).code == 0
    monkeypatch.chdir(folder)
    assert gitvirt("validate").code == 1
    assert gitvirt("validate", "--path", "vms").code == 0
    missing = gitvirt("validate", "nowhere")
    assert (missing.code, missing.err) == (1, "error: nowhere: there is no such file or folder\n")


def test_a_revision(gitvirt: Gitvirt, fleet: Fleet) -> None:
    commit = put(fleet.root, {"vms/vm.yaml": BAD, "other/vm.yaml": GOOD}, "refs/heads/topic")
    for revision in ("topic", commit, commit[:10]):
        result = gitvirt("validate", "--revision", revision, "--path", "vms")
        assert result.code == 1
        assert result.lines[0].startswith("vm.yaml:")
        assert gitvirt("validate", "--revision", revision, "--path", "other").code == 0
    unknown = gitvirt("validate", "--revision", "nothing")
    assert unknown.code == 1
    assert "no branch, tag or commit 'nothing'" in unknown.err


def test_the_examples_hold(gitvirt: Gitvirt) -> None:
    examples = Path(cli.__file__).parents[2] / "examples"
    result = gitvirt("validate", str(examples))
    assert result.code == 0, result.out
    assert not [line for line in result.lines if not line.startswith("note: ")][1:]
