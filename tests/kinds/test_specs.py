"""What rules read of a spec is what the schema says: names, types, enums, and what is always there."""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest

from agent.core.model import Key, Manifest
from agent.core.placement.rules import FIELDS
from agent.core.schema import Catalogue
from agent.kinds.registry import RECORDS
from agent.kinds.storage_class.spec import StorageClassSpec
from agent.kinds.virtual_disk.spec import DiskSpec
from agent.kinds.virtual_disk.validation import _SIZE
from agent.kinds.virtual_disk_snapshot.spec import SnapshotSpec
from agent.kinds.virtual_image.spec import ImageSpec, NamespacedImageSpec
from agent.kinds.virtual_image.validation import _IMAGE, _URL
from agent.kinds.virtual_machine.changes import NETWORKS
from agent.kinds.virtual_machine.defaults import CLASS
from agent.kinds.virtual_machine.expected import DISK_FIELDS
from agent.kinds.virtual_machine.spec import MachineSpec
from agent.kinds.virtual_machine_block_device_attachment.spec import AttachmentSpec
from agent.kinds.virtual_machine_class.spec import ClassSpec
from agent.kinds.virtual_machine_ip_address.spec import AddressSpec
from agent.kinds.virtual_machine_mac_address.spec import MacAddressSpec
from agent.kinds.virtual_machine_operation.spec import OperationSpec
from agent.kinds.virtual_machine_snapshot.spec import MachineSnapshotSpec
from agent.kinds.virtual_machine_snapshot_operation.spec import SnapshotOperationSpec

VIEWS: Mapping[str, type] = {
    "VirtualMachine": MachineSpec,
    "VirtualMachineClass": ClassSpec,
    "VirtualMachineOperation": OperationSpec,
    "VirtualMachineSnapshot": MachineSnapshotSpec,
    "VirtualMachineSnapshotOperation": SnapshotOperationSpec,
    "VirtualDisk": DiskSpec,
    "VirtualDiskSnapshot": SnapshotSpec,
    "VirtualImage": NamespacedImageSpec,
    "ClusterVirtualImage": ImageSpec,
    "StorageClass": StorageClassSpec,
    "VirtualMachineBlockDeviceAttachment": AttachmentSpec,
    "VirtualMachineIPAddress": AddressSpec,
    "VirtualMachineMACAddress": MacAddressSpec,
}
CATALOGUE = Catalogue.load()
KINDS = Path(__file__).parents[2] / "agent" / "kinds"
PLAIN = {"string": str, "integer": int, "boolean": bool, "null": type(None)}


def spec_of(kind: str) -> Mapping[str, Any]:
    """A kind of Kubernetes' own may have its fields beside its name."""
    schema: Mapping[str, Any] = CATALOGUE.kinds[kind].schema
    spec: Mapping[str, Any] = schema["properties"].get("spec", schema)
    return spec


def alternatives(hint: Any) -> set[Any]:
    return set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}


def differences(
    hint: Any, schema: Mapping[str, Any], path: str, completed: set[str]
) -> Iterator[str]:
    """What a type says otherwise than the schema, as sentences that begin with the field."""
    if "enum" in schema:
        if get_origin(hint) is not Literal or set(get_args(hint)) != set(schema["enum"]):
            yield f"{path} must be Literal{schema['enum']}"
    elif is_typeddict(hint):
        yield from fields(hint, schema, path, completed)
    elif get_origin(hint) is Mapping:
        if schema.get("type", "object") != "object":
            yield f"{path} is no mapping in the schema, but {schema['type']}"
    elif get_origin(hint) is Sequence:
        if schema["type"] == "array":
            yield from differences(get_args(hint)[0], schema["items"], f"{path}[]", completed)
        else:
            yield f"{path} is no list in the schema, but {schema['type']}"
    else:
        said = schema.get("type", "object")
        said = [said] if isinstance(said, str) else said
        if alternatives(hint) != {PLAIN.get(name) for name in said}:
            yield f"{path} is {' or '.join(said)} in the schema"


def fields(view: Any, schema: Mapping[str, Any], path: str, completed: set[str]) -> Iterator[str]:
    known = schema.get("properties", {})
    for name, hint in get_type_hints(view, include_extras=True).items():
        at = f"{path}.{name}"
        if name not in known:
            yield f"{at} is no field of the schema"
            continue
        always = name in schema.get("required", ()) or "default" in known[name] or at in completed
        optional = get_origin(hint) is NotRequired
        if always is optional:
            yield f"{at} must be {'without NotRequired' if always else 'NotRequired'}"
        inner = get_args(hint)[0] if optional else hint
        yield from differences(inner, known[name], at, completed)


def smallest(schema: Mapping[str, Any]) -> Any:
    """A value with only what the schema requires."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        needed = schema.get("required", ())
        return {name: smallest(schema["properties"][name]) for name in needed}
    return {"array": [], "integer": 1, "boolean": False}.get(kind, "1Gi")


def paths(value: Any, path: str) -> Iterator[str]:
    yield path
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from paths(item, f"{path}.{name}")


def completed_by(kind: str) -> set[str]:
    """Fields that an accepted object has by what stands elsewhere than in the schema."""
    least = Manifest(Key(kind, "default", "least"), {}, {}, {"spec": smallest(spec_of(kind))})
    whole = RECORDS[kind].complete(least, {}, {})
    return set(paths(whole.spec, "spec")) - set(paths(least.spec, "spec"))


@pytest.mark.parametrize("kind", sorted(VIEWS))
def test_what_rules_read_is_what_the_schema_says(kind: str) -> None:
    file = f"agent/kinds/{VIEWS[kind].__module__.split('.')[-2]}/spec.py"
    found = [*fields(VIEWS[kind], spec_of(kind), "spec", completed_by(kind))]
    assert not found, f"{file} and the schema of {kind} differ: {'; '.join(found)}"


def test_every_view_is_compared() -> None:
    compared = {view.__module__ for view in VIEWS.values()}
    there = {f"agent.kinds.{file.parent.name}.spec" for file in KINDS.glob("*/spec.py")}
    assert compared == there
    for module in there:
        said = vars(importlib.import_module(module))
        own = {view for view in said.values() if is_typeddict(view) and view.__module__ == module}
        assert {view for view in own if view.__name__.endswith("Spec")} <= set(VIEWS.values())


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(("VirtualMachine", ("spec", name)) for name in (*DISK_FIELDS, *FIELDS, CLASS, NETWORKS)),
        ("VirtualDisk", _SIZE),
        *(
            (kind, path)
            for kind in ("VirtualImage", "ClusterVirtualImage")
            for path in (_URL, _IMAGE)
        ),
    ],
)
def test_a_field_that_rules_name_by_a_text_is_there(kind: str, path: tuple[str, ...]) -> None:
    """The type checker knows a misspelt one in a view of a spec, and none in a text."""
    assert path in dict(CATALOGUE.kinds[kind].fields())
