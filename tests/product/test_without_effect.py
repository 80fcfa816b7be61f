"""What a manifest asks for and does not get: said by validate, in its JSON, and in the status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.core import overview
from agent.core.schema import Catalogue
from tests.rig import Rig, condition, disk, encoded, machine, manifest


def other(group: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, **content}


def in_class(size: str, name: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"size": size, "storageClassName": name}}


WITHOUT_EFFECT = {
    "namespaces/default/virtualmachines/vm.yaml": (
        machine(usbDevices=[{"name": "stick"}]),
        "spec.usbDevices",
    ),
    "cluster/storageclasses/fast.yaml": (
        other("storage.k8s.io/v1", "StorageClass", "fast", provisioner="a", parameters={"x": "y"}),
        "parameters.x",
    ),
}


@pytest.mark.parametrize("path", WITHOUT_EFFECT)
def test_what_has_no_effect_says_so_in_validate_and_in_the_status(
    rig: Rig, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, field = WITHOUT_EFFECT[path]
    file = tmp_path / "one.yaml"
    file.write_bytes(encoded(document) or b"")
    assert main(["validate", str(file)]) == 0
    assert f": {field}: " in capsys.readouterr().out
    assert main(["validate", str(file), "-o", "json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert note["path"] == field
    assert note["resource"].endswith(document["metadata"]["name"])
    rig.push({"a.yaml": [disk(), document]})
    rig.settle()
    assert field in condition(rig.document(path), "FieldsSupported")["message"]


def test_what_is_there_by_default_is_no_wish(rig: Rig) -> None:
    plain = other("storage.k8s.io/v1", "StorageClass", "plain", provisioner="a")
    rig.push({"a.yaml": [disk(), machine(), plain]})
    rig.settle()
    assert condition(rig.vm(), "FieldsSupported") == {}
    assert "status" not in rig.document("cluster/storageclasses/plain.yaml")


def test_a_machine_is_not_migratable_and_nobody_is_bothered_with_it(rig: Rig) -> None:
    rig.push({"a.yaml": [disk(), machine()]})
    rig.settle()
    found = condition(rig.vm(), "Migratable")
    assert (found["status"], found["reason"]) == ("False", "VirtualMachineNonMigratable")
    assert found["message"]
    concerns = [
        message
        for each in overview.concerns(Catalogue.load(), [rig.vm()])
        for message in each.messages
    ]
    assert [message for message in concerns if "igrat" in message] == []


KINDS = {
    "namespaces/default/virtualdisks/data.yaml": (
        manifest("VirtualDisk", "data", in_class("1Gi", "fast")),
        "StorageClassNotReady",
    ),
    "namespaces/default/virtualimages/image.yaml": (
        manifest(
            "VirtualImage",
            "image",
            {
                "storage": "PersistentVolumeClaim",
                "persistentVolumeClaim": {"storageClassName": "fast"},
                "dataSource": {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/a.qcow2"}},
            },
        ),
        "StorageClassNotFound",
    ),
}


@pytest.mark.parametrize("path", KINDS)
def test_a_storage_class_that_is_not_there_is_a_condition(rig: Rig, path: str) -> None:
    document, reason = KINDS[path]
    rig.push({"a.yaml": document})
    rig.agent.reconciler.look_at_git()
    for _ in range(5):
        rig.step()
    found = condition(rig.document(path), "StorageClassReady")
    assert (found["status"], found["reason"]) == ("False", reason)
    assert "StorageClass fast is not there" in found["message"]
    there = other("storage.k8s.io/v1", "StorageClass", "fast", provisioner="a")
    rig.push({"class.yaml": there})
    rig.agent.reconciler.look_at_git()
    for _ in range(5):
        rig.step()
    assert condition(rig.document(path), "StorageClassReady")["status"] == "True"
