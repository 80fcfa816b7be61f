"""Plans where changes wait for a restart already: a plan against the ledger works out what runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plans import planned
from tests.product.test_fields import ANSWERS, FROM_SECRET, SURROUNDINGS, USER_DATA, VECTORS
from tests.rig import Rig, disk, machine

KINDS: dict[str, dict[str, Any] | None] = {
    "text": USER_DATA,
    "secret": FROM_SECRET,
    "answers": ANSWERS,
    "nothing": None,
}


def push(rig: Rig, **spec: Any) -> dict[str, Any]:
    files = {"vm.yaml": machine(**spec), "rest.yaml": SURROUNDINGS}
    rig.push(files)
    rig.settle()
    return files


def told(given: dict[str, Any] | None) -> dict[str, Any]:
    return {"provisioning": given} if given else {}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_another_kind_of_provisioning_waits(rig: Rig, before: str, after: str, live: bool) -> None:
    push(rig, **told(KINDS[before]))
    push(rig, **told(KINDS[after]))
    assert planned(rig, live=live).report.empty
    labelled = machine(metadata={"labels": {"a": "b"}}, **told(KINDS[after]))
    item = planned(rig, {"vm.yaml": labelled}, live=live)["vm"]
    assert [change.path for change in item.immediate] == ["metadata.labels.a"]
    assert (item.restart, item.actions) == ([], ["DefineDomain"])
    if before != after:
        item = planned(rig, {"vm.yaml": machine(**told(KINDS[before]))}, live=live)["vm"]
        assert [change.path for change in item.immediate] == ["provisioning"]
        assert item.restart == []


@pytest.mark.parametrize(("before", "after"), [(before, after) for before, after, _ in VECTORS])
def test_other_devices_wait(rig: Rig, before: str, after: str) -> None:
    def refs(names: str) -> dict[str, Any]:
        return {
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name} for name in names.split()]
        }

    rig.push({"disks.yaml": [disk(name) for name in sorted(set(f"{before} {after}".split()))]})
    push(rig, **refs(before))
    push(rig, **refs(after))
    assert planned(rig).report.empty
    found = planned(rig, {"vm.yaml": machine(**refs(before))}).report.items
    assert [item.restart for item in found] == [[]] * (before != after)
