"""What refers to what, as the schemas say it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.annotations import HTTP_SECRET
from agent.core.model import Key, Manifest
from agent.core.references import references
from agent.core.schema import Catalogue
from agent.kinds.registry import ORDER

CATALOGUE = Catalogue.load()


def named(
    kind: str, spec: dict[str, Any], namespace: str = "prod", secret: str = ""
) -> dict[str, bool]:
    """What an object names, and whether that is in use by it."""
    manifest = Manifest(Key(kind, namespace, "x"), {}, {HTTP_SECRET: secret}, {"spec": spec})
    return {str(target): ref.uses for ref, target in references(CATALOGUE, manifest)}


def test_a_machine_uses_its_class_and_devices_and_reads_secrets() -> None:
    spec = {
        "virtualMachineClassName": "host",
        "blockDeviceRefs": [
            {"kind": "VirtualDisk", "name": "root"},
            {"kind": "ClusterVirtualImage", "name": "cd"},
        ],
        "provisioning": {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "cloud"}},
        "virtualMachineIPAddressName": "ours",
        "gpus": [{"gpuClassName": "of a kind that is not served"}],
    }
    assert named("VirtualMachine", spec) == {
        "VirtualMachineClass host": True,
        "VirtualDisk prod/root": True,
        "ClusterVirtualImage cd": True,
        "Secret prod/cloud": False,
        "VirtualMachineIPAddress prod/ours": True,
    }


@pytest.mark.parametrize("empty", [{}, {"virtualMachineClassName": ""}, {"blockDeviceRefs": []}])
def test_what_names_nothing_refers_to_nothing(empty: dict[str, Any]) -> None:
    assert named("VirtualMachine", empty) == {}


def test_a_disk_has_a_source_and_a_class_and_uses_neither() -> None:
    spec = {
        "persistentVolumeClaim": {"storageClassName": "fast"},
        "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "base"}},
    }
    assert named("VirtualDisk", spec) == {
        "StorageClass fast": False,
        "VirtualImage prod/base": False,
    }


def test_an_image_of_the_cluster_names_an_object_with_its_namespace() -> None:
    ref = {"kind": "VirtualDisk", "name": "golden", "namespace": "lab"}
    found = named("ClusterVirtualImage", {"dataSource": {"objectRef": ref}}, "")
    assert found == {"VirtualDisk lab/golden": False}


def test_an_operation_names_its_machine() -> None:
    spec = {"type": "Stop", "virtualMachineName": "web"}
    assert named("VirtualMachineOperation", spec) == {"VirtualMachine prod/web": False}


@pytest.mark.parametrize(
    ("namespace", "text", "secret"),
    [
        ("prod", "login", "prod/login"),
        ("", "lab/login", "lab/login"),
        ("", "login", "default/login"),
    ],
)
def test_a_secret_for_a_download_is_named_by_an_annotation(
    namespace: str, text: str, secret: str
) -> None:
    kind = "VirtualImage" if namespace else "ClusterVirtualImage"
    assert named(kind, {}, namespace, secret=text) == {f"Secret {secret}": False}


def test_each_kind_that_is_referred_to_is_served_or_left_to_later() -> None:
    rules = (rule for kind in CATALOGUE.kinds.values() for _, rule in kind.fields())
    kinds = {rule.ref.kind for rule in rules if rule.ref is not None}
    assert kinds - {""} <= ORDER.keys() | CATALOGUE.later
