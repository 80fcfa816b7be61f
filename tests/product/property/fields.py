"""Objects on the status branch beside what was pushed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.quantity import to_bytes
from tests.product.property.manifests import DEFAULT

Document = dict[str, Any]

DEFAULTS: Document = {
    "runPolicy": DEFAULT,
    "disruptions": {"restartApprovalMode": "Manual"},
    "terminationGracePeriodSeconds": 60,
    "liveMigrationPolicy": "PreferSafe",
    "bootloader": "BIOS",
    "osType": "Generic",
    "enableParavirtualization": True,
}
SOURCE = "gitvirt.io/source"


def annotations_of(document: Document) -> dict[str, str]:
    """Those that people have set."""
    found: dict[str, str] = document["metadata"].get("annotations", {})
    return {name: value for name, value in found.items() if name != SOURCE}


def disks_of(spec: Document) -> list[Document]:
    return [ref for ref in spec["blockDeviceRefs"] if ref["kind"] == "VirtualDisk"]


def accepted(spec: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """True if a complete spec is what a manifest asks for."""
    for field, value in spec.items():
        asked = wanted.get(field, DEFAULTS.get(field))
        if asked is None or not _covers(value, asked, field):
            return False
    return wanted.keys() <= spec.keys()


def _covers(value: Any, asked: Any, field: str) -> bool:
    if field == "userData":
        return bool(value == "(sensitive)")
    if isinstance(asked, Mapping):
        inside = DEFAULTS.get(field, {}) if isinstance(DEFAULTS.get(field), dict) else {}
        return isinstance(value, Mapping) and all(
            _covers(value.get(name), each, name) for name, each in {**inside, **asked}.items()
        )
    if isinstance(asked, list):
        return (
            isinstance(value, list)
            and len(value) == len(asked)
            and all(_covers(one, other, "") for one, other in zip(value, asked, strict=True))
        )
    return bool(value == asked)


def same(one: Any, other: Any) -> bool:
    """Two values of a field that mean the same."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() == other.keys() == {"size"}:
            return to_bytes(one["size"]) == to_bytes(other["size"])
        return one.keys() == other.keys() and all(
            name == "userData" or same(one[name], other[name]) for name in one
        )
    return bool(one == other)
