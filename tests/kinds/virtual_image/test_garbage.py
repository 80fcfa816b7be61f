"""Image data that somebody was made to have."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.identity import image_volume
from agent.core.ledger import Record
from agent.core.model import Json, Key
from agent.kinds.registry import needed
from tests.kinds.deciding import FLEET, made

DIGEST = "5" * 64
FACTS = {"digest": DIGEST, "format": "iso"}
NAME = image_volume(FLEET, DIGEST, "iso")
HTTP = {"dataSource": {"type": "HTTP"}}


def record(kind: str, spec: dict[str, Any], **status: Json) -> Record:
    return Record(made(Key(kind, "lab", "x"), spec), status)


@pytest.mark.parametrize(
    ("each", "names"),
    [
        (record("VirtualImage", HTTP, phase="Ready", **FACTS), {NAME}),
        (record("ClusterVirtualImage", HTTP, **FACTS), {NAME}),
        (record("VirtualDisk", HTTP, **{"import": FACTS}), {NAME}),
        (record("VirtualDisk", HTTP, phase="Ready", **FACTS), set()),
        (record("VirtualImage", HTTP, phase="Ready", **{"import": FACTS}), set()),
        (record("VirtualImage", HTTP, phase="Failed"), set()),
        (record("VirtualImage", HTTP), None),
        (record("VirtualImage", HTTP, phase="Pending"), None),
        (record("VirtualDisk", HTTP, phase="Provisioning", **{"import": {}}), None),
        (record("VirtualDisk", {}), set()),
        (record("VirtualDisk", {"dataSource": {"type": "ObjectRef"}}), set()),
        (record("VirtualMachine", HTTP), set()),
    ],
)
def test_what_an_object_was_made_to_have_is_needed(each: Record, names: set[str] | None) -> None:
    other = record("VirtualImage", HTTP, digest="6" * 64, format="raw")
    expected = None if names is None else {*names, image_volume(FLEET, "6" * 64, "raw")}
    for records in ([each, other], [other, each]):
        assert needed(FLEET, records) == expected
