"""What a document is by its head."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.model import Json, Key, Meant
from agent.core.recognition import (
    Foreign,
    Wrong,
    at,
    group_of,
    key_of,
    label,
    name_of,
    namespace_of,
    recognise,
)
from agent.core.schema import Catalogue, Kind

CATALOGUE = Catalogue.load()
OWN = "virtualization.deckhouse.io/v1alpha2"
BODY = {"metadata": {"name": "x", "namespace": "lab"}, "spec": {}}


def head(version: Json = OWN, kind: Json = "VirtualMachine", **more: Json) -> dict[str, Json]:
    return {"apiVersion": version, "kind": kind, **(more or BODY)}


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        (OWN, "VirtualMachine"),
        ("virtualization.deckhouse.io/v1alpha3", "VirtualMachineClass"),
        ("v1", "Secret"),
        ("v1", "Node"),
        ("storage.k8s.io/v1", "StorageClass"),
    ],
)
def test_a_kind_of_ours_is_known_by_its_name_and_api(version: str, kind: str) -> None:
    assert recognise(CATALOGUE, head(version, kind)) is CATALOGUE.kinds[kind]


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ({"kind": "Kustomization"}, "is a kustomization"),
        ({"apiVersion": "kustomize.config.k8s.io/v1"}, "is a kustomization"),
        ({"resources": []}, "is a kustomization"),
        ({"namePrefix": "a", "apiVersion": "x"}, "is a kustomization"),
        ({"sops": {}}, "is encrypted with SOPS"),
        ({"name": "x", "version": "1", "apiVersion": "v2"}, "is a Helm chart"),
        ({"name": "x", "version": "1"}, "is no Kubernetes object"),
        ({"apiVersion": 1}, "is no Kubernetes object"),
        ({"kind": "pipeline"}, "is no Kubernetes object"),
        ({}, "is no Kubernetes object"),
    ],
)
def test_what_is_none_of_ours_is_told_as_what_it_is(value: dict[str, Json], note: str) -> None:
    found = recognise(CATALOGUE, value)
    assert isinstance(found, Foreign)
    assert note in found.note
    assert found.meant is None


@pytest.mark.parametrize(
    ("value", "path", "words", "kind"),
    [
        ({"apiVersion": "v1", "kind": "List"}, "items", "must be a list", ""),
        ({"apiVersion": "kustomize.config", **BODY}, "kind", "must name a kind", ""),
        ({"apiVersion": ["kustomize./"], "kind": "X", **BODY}, "apiVersion", "must name the API", ""),
        ({"apiVersion": "v1"}, "kind", "must name a kind", ""),
        ({"apiVersion": None}, "kind", "must name a kind", ""),
        ({"kind": None}, "kind", "must name a kind", ""),
        ({"apiVersion": 1, "kind": None}, "kind", "must name a kind", ""),
        ({"metadata": {}}, "kind", "must name a kind", ""),
        ({"spec": {}}, "kind", "must name a kind", ""),
        (BODY, "kind", "must name a kind", ""),
        (head(kind=""), "kind", "must name a kind", ""),
        (head(kind=["VirtualMachine"]), "kind", "must name a kind", ""),
        (head("", "Thing"), "apiVersion", "must name the API", ""),
        (head(None, "Thing"), "apiVersion", "must name the API", ""),
        ({"apiVersion": "v1", "kind": "Thing"}, "metadata", "is required", ""),
        (head(None), "apiVersion", f"must be {OWN} for a VirtualMachine, not null", "VirtualMachine"),
        (head("v1"), "apiVersion", f"must be {OWN} for a VirtualMachine, not", "VirtualMachine"),
        (head("v1alpha2"), "apiVersion", 'not "v1alpha2"', "VirtualMachine"),
        (head(f"{OWN}/"), "apiVersion", f"did you mean {OWN}?", "VirtualMachine"),
        (head(f".{OWN}"), "apiVersion", f"did you mean {OWN}?", "VirtualMachine"),
        (head("virtualisation.deckhouse.io/v1"), "apiVersion", "did you mean", "VirtualMachine"),
        (head("storage.k8s.io/v1"), "apiVersion", 'not "storage.k8s.io/v1"', "VirtualMachine"),
        (head("v1alpha1", "Secret"), "apiVersion", "must be v1 for a Secret", "Secret"),
        (head(kind="vm"), "kind", "did you mean VirtualMachine?", "VirtualMachine"),
        (head(kind="VirtualMachin"), "kind", "did you mean VirtualMachine?", "VirtualMachine"),
        (head(kind="USBDevise"), "kind", "did you mean USBDevice?", ""),
        (head(kind="Spaceship"), "kind", 'not "Spaceship"; known are ClusterVirtualImage, Mod', ""),
        (head("virtualisation.deckhouse.io/v1", "Thing"), "apiVersion", "did you mean", ""),
        (head("v1", "Secrte"), "kind", "did you mean Secret?", ""),
        (head("v1", "VirtualMachin"), "kind", "did you mean VirtualMachine?", ""),
        (head("v1", "Lst"), "kind", "did you mean List?", ""),
        (head("storage.k8s.io/v1", "StorageClas"), "kind", "did you mean StorageClass?", ""),
    ],
)  # fmt: skip
def test_what_may_be_one_of_ours_is_a_problem(
    value: dict[str, Json], path: str, words: str, kind: str
) -> None:
    found = recognise(CATALOGUE, value)
    assert isinstance(found, Wrong)
    assert ".".join(map(str, found.path)) == path
    assert words in found.message
    assert found.kind is CATALOGUE.kinds.get(kind)


@pytest.mark.parametrize(
    ("value", "note", "meant"),
    [
        (head("kubevirt.io/v1"), "is of the API group kubevirt.io", Meant("VirtualMachine", "lab", "x")),
        (head("sub.virtualization.deckhouse.io/v1"), "is of the API group sub.", Meant("VirtualMachine", "lab", "x")),
        (head("other.io/v1", "StorageClass"), "is of the API group other.io", Meant("StorageClass", None, "x")),
        (head("other.io/v1", metadata={}), "is of the API group other.io", Meant("VirtualMachine", None, None)),
        (head("bitnami.com/v1", "SealedSecret"), "is an encrypted Secret", Meant("Secret", "lab", "x")),
        (head(kind="USBDevice"), "is a USBDevice: this kind is not supported yet", None),
        (head(kind="VirtualMachineRestore"), "VirtualMachineSnapshotOperation of type CreateVirtualMachine", None),
        (head("v1", "ConfigMap"), "is v1 ConfigMap: not applied here", None),
        (head("storage.k8s.io/v1", "CSINode"), "is storage.k8s.io/v1 CSINode", None),
        (head("storage.k8s.io/v1", "VirtualMachin"), "is storage.k8s.io/v1 VirtualMachin", None),
        (head("apps/v1", "Deployment"), "is of the API group apps", None),
        (head("other.io/v1", "VirtualMachin"), "is of the API group other.io", None),
        (head("a b.io/v1", "Thing"), "is of the API group of another kind", None),
        (head(f"{'x' * 101}.io/v1", "Thing"), "is of the API group of another kind", None),
        (head("sub.virtualization.deckhouse.io/v1", "Thing"), "is of the API group sub.", None),
        (head("batch", "Thing"), "is batch Thing: not applied here", None),
    ],
)  # fmt: skip
def test_what_is_clearly_of_another_api_is_a_note(
    value: dict[str, Json], note: str, meant: Meant | None
) -> None:
    found = recognise(CATALOGUE, value)
    assert isinstance(found, Foreign)
    assert note in found.note
    assert found.meant == meant


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("virtualization", Kind),
        (None, Kind),
        (5, Kind),
        ("", Wrong),
        ("virtualisation", Wrong),
        ("Virtualization", Wrong),
        ("ingress-nginx", Foreign),
    ],
)
def test_of_the_modules_one_is_ours(name: Json, expected: type) -> None:
    value = head("deckhouse.io/v1alpha1", "ModuleConfig", metadata={"name": name})
    assert isinstance(recognise(CATALOGUE, value), expected)


# -- which object -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "group"), [("v1", ""), ("a.io/v1", "a.io"), ("a.io/v1/", "a.io/v1"), ("", "")]
)
def test_a_group_stands_before_the_version(version: str, group: str) -> None:
    assert group_of(version) == group


def test_what_is_not_there_is_null() -> None:
    assert at({"a": {"b": 1}}, "a", "b") == 1
    assert at({"a": [1]}, "a", "b") is None
    assert at(None, "a") is None


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("x", True),
        ("x.y-0", True),
        (253 * "x", True),
        (254 * "x", False),
        ("X", False),
        ("x\n", False),
        ("", False),
        (5, False),
        (None, False),
    ],
)
def test_a_name_is_one_that_an_object_can_have(name: Json, good: bool) -> None:
    assert name_of({"metadata": {"name": name}}) == (name if good else None)


@pytest.mark.parametrize(
    ("namespace", "good"),
    [
        ("x", True),
        (63 * "x", True),
        (64 * "x", False),
        ("x.y", False),
        ("X", False),
        (5, False),
        (None, False),
    ],
)
def test_a_namespace_is_one_that_can_be(namespace: Json, good: bool) -> None:
    assert namespace_of({"metadata": {"namespace": namespace}}) == (namespace if good else None)


@pytest.mark.parametrize(
    ("kind", "metadata", "expected"),
    [
        ("VirtualDisk", {"name": "x", "namespace": "lab"}, Key("VirtualDisk", "lab", "x")),
        ("VirtualDisk", {"name": "x"}, Key("VirtualDisk", "default", "x")),
        ("VirtualDisk", {"name": "x", "namespace": "A"}, None),
        ("VirtualDisk", {"name": "X", "namespace": "lab"}, None),
        ("StorageClass", {"name": "x", "namespace": "A"}, Key("StorageClass", "", "x")),
        ("StorageClass", {}, None),
        ("", {"name": "x", "namespace": "lab"}, None),
    ],
)
def test_a_key_is_as_much_as_one_can_tell(
    kind: str, metadata: dict[str, Any], expected: Key | None
) -> None:
    assert key_of(CATALOGUE.kinds.get(kind), {"metadata": metadata}) == expected


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("Thing", "x", "Thing x"),
        (63 * "a", "x", f"{63 * 'a'} x"),
        (64 * "a", "x", "x"),
        ("a b", "x", "x"),
        (5, "x", "x"),
        ("Thing", "X", "Thing"),
        (None, None, ""),
    ],
)
def test_a_label_holds_plain_words_only(kind: Json, name: Json, expected: str) -> None:
    assert label({"kind": kind, "metadata": {"name": name}}) == expected
