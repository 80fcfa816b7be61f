"""Secrets are found nowhere but in the manifest, and on the medium that the guest reads."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest

from agent.core.actions import DefineDomain, WriteSeed
from agent.kinds.virtual_machine.spec import machine_spec
from tests.memory_repository import MemoryRepository
from tests.rig import MAIN, OPERATIONS, Rig, disk, machine, operation

MARKER = "correct-horse-battery-staple"
OTHER = "tr0ub4dor-and-3"
THIRD = "hunter2-hunter2-hunter2"


def user_data(secret: str) -> dict[str, Any]:
    return {
        "provisioning": {"type": "UserData", "userData": f"#cloud-config\npassword: {secret}\n"}
    }


def secret(value: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "credentials"},
        "type": "Opaque",
        "data": {"password": base64.b64encode(value.encode()).decode()},
    }


def traces(value: str) -> tuple[str, ...]:
    return value, base64.b64encode(value.encode()).decode()


@pytest.fixture
def story(rig: Rig, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.DEBUG)
    rig.push({"vm.yaml": [disk(), machine(**user_data(MARKER)), secret(THIRD)]})
    rig.settle()
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 2}, **user_data(OTHER)), secret(THIRD)]})
    rig.settle()
    rig.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    rig.push({"vm.yaml": [disk(), machine(**user_data(MARKER)), secret(OTHER)]})
    rig.settle()
    return rig


def clean(text: str) -> None:
    for value in (MARKER, OTHER, THIRD):
        for trace in traces(value):
            assert trace not in text


def test_they_are_in_no_ref_but_main(story: Rig) -> None:
    for ref, tip in story.repo.fetch().items():
        if ref == MAIN:
            continue
        for commit in story.repo.log(tip):
            clean(commit.subject + commit.body)
            for file in story.repo.files(commit.id):
                clean(story.repo.read(file.blob).decode())


def test_they_are_in_no_log(story: Rig, caplog: pytest.LogCaptureFixture) -> None:
    records = [*caplog.get_records("setup"), *caplog.records]
    assert records
    for record in records:
        clean(record.getMessage() + str(record.args) + (record.exc_text or ""))


def test_they_are_in_no_definition(story: Rig) -> None:
    for raw in story.host._domains.values():
        assert "sealed:" in raw.inactive_xml
        clean(raw.inactive_xml + raw.active_xml)


def test_they_are_in_no_name_of_a_volume_and_on_no_other_medium(story: Rig) -> None:
    found = [
        name
        for name, volume in story.host.pools["gitvirt"].items()
        if MARKER.encode() in volume.content or OTHER.encode() in volume.content
    ]
    assert found
    assert all("_seed_" in name for name in found)
    clean(" ".join(story.host.pools["gitvirt"]))


def test_they_are_in_no_file_of_the_agent(story: Rig, tmp_path: Path) -> None:
    for path in tmp_path.rglob("*"):
        if path.is_file():
            clean(path.read_bytes().decode(errors="replace"))


def test_actions_do_not_show_them() -> None:
    files = {"user-data": f"password: {MARKER}".encode()}
    seed = WriteSeed("node", "pool", "name", "id", "vm", sysprep=False, files=files)
    assert MARKER not in repr(seed)
    assert "<domain" not in repr(DefineDomain("node", "uuid", "", "<domain/>"))


def test_a_change_of_one_is_told_without_it(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine(**user_data(MARKER))]})
    rig.settle()
    rig.push({"vm.yaml": [disk(), machine(**user_data(OTHER))]})
    rig.settle()
    assert rig.vm()["status"]["restartAwaitingChanges"] == [
        {
            "currentValue": "(sensitive)",
            "desiredValue": "(sensitive)",
            "operation": "replace",
            "path": "provisioning.userData",
        }
    ]
    assert rig.vm()["spec"]["provisioning"]["userData"] == "(sensitive)"
    assert rig.vm()["status"]["runningSpec"]["provisioning"]["userData"] == "(sensitive)"
    rig.push({"vm.yaml": [disk(), machine(**user_data(MARKER))]})
    rig.settle()
    assert "restartAwaitingChanges" not in rig.vm()["status"]


@pytest.mark.parametrize("place", ["spec", "provisioning", "userData"])
def test_one_in_the_wrong_place_is_not_quoted(rig: Rig, place: str) -> None:
    wrong = machine()
    text = f"#cloud-config\npassword: {MARKER}\n"
    match place:
        case "spec":
            wrong["spec"] = text
        case "provisioning":
            wrong["spec"]["provisioning"] = text
        case _:
            wrong["spec"]["provisioning"] = {"type": "UserData", "userData": [text]}
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.push({"vm.yaml": [disk(), wrong]})
    (problem,) = rig.settle().problems
    assert problem.path.endswith(place)
    for content in rig.documents().values():
        clean(content.decode())


def test_the_digest_cannot_be_compared_between_machines(rig: Rig) -> None:
    same = user_data(MARKER)
    rig.push(
        {"vm.yaml": [disk(), machine(**same), disk("d2"), machine("two", disks=("d2",), **same)]}
    )
    rig.settle()
    specs = (machine_spec(rig.memory(name).spec) for name in ("vm", "two"))
    digests = {spec["provisioning"]["userData"] for spec in specs}
    assert len(digests) == 2


def test_user_data_is_there_again_after_a_restart_of_the_agent(story: Rig) -> None:
    """The ledger holds a marker only; the source commit has the text."""
    seeds = {name for name in story.host.pools["gitvirt"] if "_seed_" in name}
    for name in seeds:
        del story.host.pools["gitvirt"][name]
    story.push({"vm.yaml": "]["})  # the manifest itself is broken by now
    story.start()
    story.host.crash(story.uuid())
    story.settle()
    story.push({"op2.yaml": operation("op2", "vm", "Restart")}, OPERATIONS)
    story.settle()
    assert story.running()
    assert story.vm()["spec"]["provisioning"]["userData"] == "(sensitive)"


def test_what_wraps_base64_is_let_through_on_the_way_to_the_guest(rig: Rig) -> None:
    """As the Kubernetes API does with what `base64` prints."""
    text = "#cloud-config\n# " + "long " * 40 + "\n"
    wrapped = base64.encodebytes(text.encode()).decode()
    assert wrapped.count("\n") > 1
    cloud_init = {
        **secret(""),
        "type": "provisioning.virtualization.deckhouse.io/cloud-init",
        "data": {"userData": wrapped},
    }
    chosen = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "credentials"}}
    rig.push({"vm.yaml": [disk(), machine(provisioning=chosen), cloud_init]})
    rig.settle()
    assert rig.running()
    (seed,) = [each for name, each in rig.host.pools["gitvirt"].items() if "_seed_" in name]
    assert text.encode() in seed.content


def test_a_ledger_is_read_though_the_commits_are_gone_that_its_secrets_stand_in(rig: Rig) -> None:
    """History was rewritten, and Git has cleared away what it was."""
    files = {"vm.yaml": [disk(), machine(**user_data(MARKER)), secret(THIRD)]}
    first = rig.push(files)
    rig.settle()
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[MAIN]
    second = rig.push({**files, "more.yaml": disk("more")})
    rig.repo.lose(first)
    rig.start()
    summary = rig.settle()
    assert summary.git_error == ""
    assert rig.running()
    sources = {rig.vm()["metadata"]["annotations"]["gitvirt.io/source"]}
    assert sources == {f"{second}:vm.yaml"}
