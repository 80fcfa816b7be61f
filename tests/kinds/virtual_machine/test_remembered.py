"""What runs, as far as the ledger says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import DISABLED, SUSPEND
from agent.core.domain_xml import parse
from agent.core.identity import domain_uuid
from agent.core.ledger import Record
from agent.core.metadata import from_domain
from agent.core.model import Json, Key, Manifest
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.remembered import domain, has_domain, running
from agent.kinds.virtual_machine.spec import machine_spec
from tests.golden.case import CATALOGUE
from tests.kinds.deciding import FLEET, NOW, made
from tests.kinds.virtual_machine.test_deeds import KEY
from tests.kinds.virtual_machine.test_intent import SPEC

RULES = CATALOGUE.kinds["VirtualMachine"]
DISK = Key("VirtualDisk", "default", "root")
OPERATION = Key("VirtualMachineOperation", "default", "op")
PODS = {"virtualMachinePods": [{"active": True}]}
ONE_CORE = {**SPEC, "cpu": {**machine_spec(SPEC)["cpu"], "cores": 1}}


def vm(
    status: Mapping[str, Json] | None = None,
    spec: Mapping[str, Json] = SPEC,
    deleted: str = "",
    *,
    suspended: bool = False,
    key: Key = KEY,
) -> Record:
    annotations = {SUSPEND: DISABLED} if suspended else {}
    there = {"phase": "Running", **PODS} if status is None else status
    return Record(made(key, spec, deleted, other="x", **annotations), there)


def operation(phase: str, name: str = KEY.name) -> Record:
    return Record(made(OPERATION, {"virtualMachineName": name}), {"phase": phase} if phase else {})


def left(*records: Record, wanted: Manifest | None = None) -> dict[Key, Record]:
    manifests = {wanted.key: wanted} if wanted else {}
    return running({each.obj.key: each for each in records}, manifests, RULES)


@pytest.mark.parametrize(
    ("record", "there"),
    [
        (vm(), True),
        (vm({"phase": "Running"}), False),
        (vm({"phase": "Running", "virtualMachinePods": []}), False),
        (vm(deleted="2023-11-14T22:13:20Z"), False),
        (vm(key=DISK), False),
    ],
)
def test_a_machine_has_a_domain_once_it_has_an_instance(record: Record, there: bool) -> None:
    assert has_domain(record) is there
    assert (record.obj.key in left(record)) is (there or record.obj.key == DISK)


@pytest.mark.parametrize(
    ("phase", "policy"),
    [
        ("Running", power.ALWAYS_ON),
        ("Starting", power.ALWAYS_ON),
        ("Stopped", power.MANUAL),
        ("Pending", power.ALWAYS_OFF),
        ("Terminating", power.ALWAYS_OFF),
    ],
)
@pytest.mark.parametrize("suspended", [True, False])
def test_a_machine_is_on_or_off_as_it_is_now(phase: str, policy: str, suspended: bool) -> None:
    (found,) = left(vm({"phase": phase, **PODS}, suspended=suspended)).values()
    assert found.obj.spec == {**SPEC, "runPolicy": policy}
    assert found.obj.manifest.annotations == {"other": "x"}


@pytest.mark.parametrize(
    ("phase", "machine", "suspended", "counts"),
    [
        ("", KEY.name, False, True),
        ("Pending", KEY.name, False, True),
        ("Pending", KEY.name, True, False),
        ("", KEY.name, True, False),
        ("Completed", KEY.name, True, True),
        ("Pending", "other", True, True),
    ],
)
def test_an_operation_on_a_suspended_machine_waits(
    phase: str, machine: str, suspended: bool, counts: bool
) -> None:
    found = left(vm(suspended=suspended), operation(phase, machine))
    assert (OPERATION in found) is counts


def told(data: str, kind: str = "UserData") -> dict[str, Any]:
    return {"provisioning": {"type": kind, "userData": data}}


WANTED = vm(spec={**SPEC, **told("new")}).obj.manifest


@pytest.mark.parametrize(
    ("recorded", "wanted", "expected"),
    [
        (None, WANTED, SPEC),
        ({}, WANTED, SPEC),
        (ONE_CORE, None, ONE_CORE),
        (ONE_CORE, WANTED, ONE_CORE),
        ({name: ONE_CORE[name] for name in ONE_CORE if name != "bootloader"}, None, ONE_CORE),
        # what is hidden is what is wanted, if that is of the same sort
        ({**ONE_CORE, **told("hidden")}, WANTED, {**ONE_CORE, **told("new")}),
        ({**ONE_CORE, **told("hidden")}, None, {**ONE_CORE, **told("hidden")}),
        ({**ONE_CORE, **told("x", "SysprepRef")}, WANTED, {**ONE_CORE, **told("x", "SysprepRef")}),
        ({**ONE_CORE, **told("hidden")}, vm().obj.manifest, {**ONE_CORE, **told("hidden")}),
    ],
)
def test_what_runs_was_made_from_what_the_ledger_says(
    recorded: Any, wanted: Manifest | None, expected: Mapping[str, Json]
) -> None:
    status = {"phase": "Running", **PODS, **({} if recorded is None else {"runningSpec": recorded})}
    (found,) = left(vm(status), wanted=wanted).values()
    assert found.obj.spec == {**expected, "runPolicy": power.ALWAYS_ON}


@pytest.mark.parametrize(
    ("phase", "on"), [("Running", True), ("Stopped", False), ("Pending", False)]
)
def test_a_domain_that_is_known_from_the_ledger_alone_remembers_what_it_was(
    phase: str, on: bool
) -> None:
    record = vm({"phase": phase, **PODS})
    record = replace(
        record, obj=replace(record.obj, manifest=replace(record.obj.manifest, labels={"a": "b"}))
    )
    found = domain(record, RULES, FLEET, NOW)
    assert (found.uuid, found.name) == (domain_uuid(FLEET, KEY), "default.vm")
    assert (found.state, found.active) == ("running" if on else "shutoff", on)
    memory = from_domain(parse(found.inactive_xml))
    assert memory is not None
    assert found.active_xml == (found.inactive_xml if on else "")
    assert (memory.power.on, memory.power.instance) == (on, memory.instance if on else "")
    assert (memory.fleet, memory.uid, memory.generation) == (FLEET, "uid-vm", 2)
    assert (memory.spec, memory.labels, memory.annotations) == (SPEC, {"a": "b"}, {"other": "x"})
