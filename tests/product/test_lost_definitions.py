"""A domain that was undefined by hand while it runs: it is defined again whatever else is the matter, since nothing can be written down without a definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": machine(), "disk.yaml": disk(), "other.yaml": disk("other")})
    rig.settle()
    assert rig.running()
    rig.verbs()
    return rig


def without_metadata(root: etree._Element) -> None:
    for element in root.findall("metadata"):
        root.remove(element)


def undefine(rig: Rig) -> None:
    """As virsh does: the running domain becomes transient, and vanishes once it is off."""
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    rig.host._put(replace(raw, inactive_xml=""))
    rig.host._tell(rig.uuid(), "lifecycle")


def test_a_deleted_machine_stops_all_the_same(on: Rig) -> None:
    undefine(on)
    on.push({"vm.yaml": None})
    on.settle()
    assert on.host.read_domain(on.uuid()) is None
    assert "namespaces/default/virtualmachines/vm.yaml" not in on.documents()


@pytest.mark.parametrize("metadata", ["kept", "removed"])
def test_a_machine_that_could_not_start_again_is_defined_as_it_runs(on: Rig, metadata: str) -> None:
    before = on.host.read_domain(on.uuid())
    assert before is not None
    if metadata == "removed":
        on.host.edit(on.uuid(), without_metadata, live=True)
    undefine(on)
    on.push({"disk.yaml": None, "vm.yaml": machine(cpu={"cores": 2}, runPolicy="Manual")})
    on.settle()
    after = on.host.read_domain(on.uuid())
    assert after is not None
    assert after.active
    assert ">1</vcpu>" in after.inactive_xml
    assert on.memory().uid == on.memory(active=True).uid == on.vm()["metadata"]["uid"]
    on.push({"op.yaml": operation("op", "vm", "Stop")}, OPERATIONS)
    on.settle()
    assert not on.running()
    assert on.vmop("op")["status"]["phase"] == "Completed"


def test_it_is_defined_again_where_drift_is_only_reported(on: Rig) -> None:
    annotated: dict[str, Any] = {"annotations": {"gitvirt.io/drift": "report"}}
    on.push({"vm.yaml": machine(metadata=annotated)})
    on.settle()
    undefine(on)
    on.settle()
    assert on.memory().uid == on.vm()["metadata"]["uid"]
    assert condition(on.vm(), "DriftDetected") == {}
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    assert on.running()
    assert on.vmop("op")["status"]["phase"] == "Completed"


def test_a_change_waits_also_where_nobody_knows_what_runs(on: Rig) -> None:
    """The definition is the best guess, and not what is wanted since."""
    on.host.edit(on.uuid(), without_metadata, live=True)
    on.push({"vm.yaml": machine(cpu={"cores": 2}, runPolicy="Manual")})
    on.settle()
    (change,) = on.vm()["status"]["restartAwaitingChanges"]
    assert (change["path"], change["currentValue"]) == ("cpu.cores", 1)
    assert on.memory(active=True).spec["runPolicy"] == "Manual"
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    assert "restartAwaitingChanges" not in on.vm()["status"]


def test_a_stopped_machine_whose_domain_was_undefined_stays_off(on: Rig) -> None:
    on.host.guest_poweroff(on.uuid())
    on.settle()
    on.host.undefine(on.uuid())
    on.settle()
    assert on.host.read_domain(on.uuid()) is not None
    assert not on.running()
    assert on.vm()["status"]["phase"] == "Stopped"
