"""What a definition should be, and what in it was changed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import DRIFT, REPORT
from agent.core.drift import DEFINITION, INSTANCE
from agent.core.model import Json, Object
from agent.kinds.virtual_machine.definition import DomainFacts
from agent.kinds.virtual_machine.elements.disks import Disks
from agent.kinds.virtual_machine.expected import drift, expected, medium_device, with_edits
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import BlockDeviceRef, machine_spec
from agent.kinds.virtual_machine.wanted import Device
from agent.kinds.virtual_machine_class import GuestCpu
from tests.kinds.virtual_machine.test_deeds import MEDIUM, ROOT, SEED, SEEDED, facts, situation
from tests.kinds.virtual_machine.test_intent import READY, SPEC, case, known, machine
from tests.kinds.virtual_machine.test_power import running

SYSPREP = replace(MEDIUM, sysprep=True)
UNKNOWN = replace(MEDIUM, files={})
PATH = f"/pool/{SEED}"
OLD = replace(SEEDED, path="/pool/default_seed_vm-uid_old.iso")
PARAVIRTUAL = {"enableParavirtualization": True}
PLAIN = {"enableParavirtualization": False}


@pytest.mark.parametrize(
    ("medium", "spec", "disks", "path", "readonly", "cdrom"),
    [
        (None, PARAVIRTUAL, (ROOT, OLD), None, False, False),
        (MEDIUM, PARAVIRTUAL, (ROOT,), PATH, True, False),
        (MEDIUM, PARAVIRTUAL, (ROOT, OLD), PATH, True, False),
        (MEDIUM, PARAVIRTUAL, None, PATH, True, False),
        (MEDIUM, PLAIN, (ROOT,), PATH, False, False),
        (SYSPREP, PARAVIRTUAL, (ROOT,), PATH, True, True),
        (SYSPREP, PLAIN, (ROOT,), PATH, True, True),
        # one that cannot be made again stays
        (UNKNOWN, PARAVIRTUAL, (ROOT, OLD), OLD.path, True, False),
        (UNKNOWN, PARAVIRTUAL, (ROOT,), None, True, False),
        (UNKNOWN, PARAVIRTUAL, None, None, True, False),
    ],
)
def test_a_guest_gets_the_medium_that_is_there(
    medium: Any, spec: Mapping[str, Json], disks: Any, path: str | None, readonly: bool, cdrom: bool
) -> None:
    there = situation(needs=replace(READY, medium=medium))
    there = replace(there, seen=Seen(None, facts(*disks_of(disks)) if disks else None))
    found = medium_device(there, machine_spec(spec))
    serial = "sysprep" if cdrom else "cloudinit"
    wanted = Device(path or "", "raw", serial, readonly=readonly, cdrom=cdrom, medium=True)
    assert found == (wanted if path else None)


def disks_of(disks: Any) -> tuple[Any, ...]:
    return (known(), *disks)


def with_spec(spec: Mapping[str, Json], **annotations: str) -> Object:
    vm = machine(**annotations)
    content = {"spec": {**vm.spec, **spec}}
    return replace(vm, manifest=replace(vm.manifest, content=content))


def pushed(
    before: Mapping[str, Json] | None = None,
    after: Mapping[str, Json] | None = None,
    *,
    report: bool = False,
    **what: Any,
) -> Situation:
    """A machine that is defined as a manifest said before, with another one since."""
    old, new = {**SPEC, **(before or {})}, {**SPEC, **(after or {})}
    annotations = {DRIFT: REPORT} if report else {}
    there = case(known(old), vm=with_spec(old), sealed=old, **what)
    return replace(there, vm=with_spec(new, **annotations), sealed=new)


def edited(there: Situation, where: str, **parts: Any) -> Situation:
    """With these elements of what is defined or runs changed by hand."""
    name = "defined" if where == DEFINITION else "active"
    seen = there.seen
    changed = replace(getattr(seen, name), **parts)
    return replace(there, seen=replace(seen, **{name: changed}))


def told(there: Situation) -> list[tuple[str, str, str]]:
    found = drift(there, expected(there, known(there.sealed)))
    return [(each.where, each.path, each.disposition.name) for each in found.edits]


DEFINED: DomainFacts | None = pushed().seen.defined
assert DEFINED is not None
MEMORY = replace(DEFINED.memory, size=1)
CPU = replace(DEFINED.cpu, cores_per_socket=7)
HAND = {"memory": MEMORY}
SIZE = (DEFINITION, "memory.size", "IMMEDIATE")
BOOTED = Disks(tuple(replace(disk, boot=3) for disk in DEFINED.disks.disks))
ORDER = (DEFINITION, "disk root: bootOrder", "IMMEDIATE")
RUNS = (INSTANCE, "memory.size", "RESTART")
RUNS_ORDER = (INSTANCE, "disk root: bootOrder", "RESTART")
NOTHING: list[Any] = []
MORE = {"memory": {"size": "2Gi"}}
OTHER_DISKS = {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": "other"}]}
OTHER_CLASS = {"virtualMachineClassName": "generic"}
OTHER_BUS = {"enableParavirtualization": False}
REF: BlockDeviceRef = {"kind": "VirtualDisk", "name": "root"}
NAMED = (REF, READY.devices[0], 1 << 30)
NEEDS = replace(READY, listed=(NAMED,))


@pytest.mark.parametrize(
    ("there", "parts", "expected_edits"),
    [
        (pushed(needs=NEEDS), {}, NOTHING),
        (pushed(needs=NEEDS), HAND, [SIZE]),
        (pushed(needs=NEEDS), {"disks": BOOTED}, [ORDER]),
        # what somebody asked for is none, and what he did not ask for is one all the same
        (pushed(MORE), {}, NOTHING),
        (pushed(MORE), HAND, NOTHING),
        (pushed(MORE, needs=NEEDS), {"disks": BOOTED}, [ORDER]),
        (pushed(OTHER_DISKS, needs=NEEDS), HAND | {"disks": BOOTED}, [SIZE]),
        (pushed(OTHER_BUS, needs=NEEDS), HAND | {"disks": BOOTED}, [SIZE]),
        # metadata that is gone hides nothing
        (
            pushed(),
            {"metadata": None, **HAND},
            [(DEFINITION, "readable metadata", "IMMEDIATE"), SIZE],
        ),
        # a block job moves disks by itself
        (pushed(block_job=True), HAND, NOTHING),
        # what the manifest says is to be left is told, and what is gone altogether is not left
        (pushed(report=True), HAND, [(*SIZE[:2], "NONE")]),
    ],
)
def test_what_nobody_asked_for_in_a_definition_was_changed_by_hand(
    there: Situation, parts: dict[str, Any], expected_edits: Any
) -> None:
    found = [each for each in told(edited(there, DEFINITION, **parts)) if each[0] == DEFINITION]
    assert found == expected_edits


def test_another_class_changes_the_cpu() -> None:
    other = GuestCpu("maximum")
    there = edited(pushed(OTHER_CLASS), DEFINITION, cpu=replace(CPU, mode="maximum"))
    assert [each for each in told(there) if each[0] == DEFINITION] == NOTHING
    same = replace(pushed(), needs=replace(READY, cpu=other))
    assert any(each[1].startswith("cpu") for each in told(same))


@pytest.mark.parametrize(
    ("medium", "disks", "edits"),
    [
        (MEDIUM, (OLD,), NOTHING),  # its Secret was changed, not the domain
        (MEDIUM, (SEEDED,), [ORDER]),
        (MEDIUM, (), NOTHING),
        (UNKNOWN, (OLD,), [ORDER]),
        (None, (), [ORDER]),
    ],
)
def test_a_newer_medium_is_no_change_by_hand(medium: Any, disks: Any, edits: Any) -> None:
    there = pushed(needs=replace(NEEDS, medium=medium))
    boots = BOOTED.disks[:1]
    seeds = tuple(replace(each, unit=16, boot=0, format="raw") for each in disks)
    found = told(edited(there, DEFINITION, disks=Disks((*boots, *seeds))))
    assert [each for each in found if each[0] == DEFINITION] == edits


@pytest.mark.parametrize(
    ("raw", "expected_edits"), [(True, [(DEFINITION, "definition", "IMMEDIATE")]), (False, NOTHING)]
)
def test_a_definition_that_is_gone_is_told(raw: bool, expected_edits: Any) -> None:
    there = pushed()
    shown = Seen(there.seen.raw if raw else None)
    assert told(replace(there, seen=shown)) == expected_edits


@pytest.mark.parametrize(
    ("there", "what"),
    [
        (replace(pushed(), seen=Seen(pushed().seen.raw)), "definition removed"),
        (edited(pushed(), DEFINITION, metadata=None), "readable metadata removed"),
        (edited(pushed(), INSTANCE, metadata=None), "readable metadata removed"),
    ],
)
def test_what_is_gone_is_told_as_removed(there: Situation, what: str) -> None:
    found = drift(there, expected(there, known(there.sealed)))
    assert [str(each) for each in found.edits] == [what]


ACTIVE = pushed(needs=NEEDS)
MOVED = Disks(tuple(replace(disk, path="/pool/elsewhere") for disk in DEFINED.disks.disks))
EXTRA = Disks((*DEFINED.disks.disks, replace(ROOT, serial="extra", unit=9)))
RESTARTS = replace(running(), raw=replace(running().raw, state="paused", reason="starting-up"))


@pytest.mark.parametrize(
    ("there", "parts", "expected_edits"),
    [
        (ACTIVE, {}, NOTHING),
        (ACTIVE, HAND, [RUNS]),
        (ACTIVE, {"disks": BOOTED}, [RUNS_ORDER]),
        (ACTIVE, {"disks": MOVED}, NOTHING),
        (ACTIVE, {"disks": EXTRA}, [(INSTANCE, "disk extra", "RESTART")]),
        (ACTIVE, {"metadata": None, **HAND}, [(INSTANCE, "readable metadata", "IMMEDIATE")]),
        (ACTIVE, {"metadata": known({}), **HAND}, NOTHING),
        # a spec with other disks says nothing of those that it should have
        (ACTIVE, {"metadata": known({**SPEC, **OTHER_DISKS}), **HAND, "disks": BOOTED}, [RUNS]),
        (replace(ACTIVE, running=RESTARTS), HAND, NOTHING),
        (replace(ACTIVE, running=None), HAND, NOTHING),
    ],
)
def test_what_runs_otherwise_than_it_was_started_was_changed_by_hand(
    there: Situation, parts: dict[str, Any], expected_edits: Any
) -> None:
    assert told(edited(there, INSTANCE, **parts)) == expected_edits


def test_what_is_off_was_not_changed_while_it_ran() -> None:
    assert told(replace(ACTIVE, seen=replace(ACTIVE.seen, active=None))) == NOTHING


@pytest.mark.parametrize(("size", "left"), [(1, True), (2, False)])
@pytest.mark.parametrize("report", [True, False])
def test_what_is_left_in_the_definition_no_restart_undoes(
    size: int, left: bool, report: bool
) -> None:
    there = edited(pushed(report=report), DEFINITION, memory=MEMORY)
    there = edited(there, INSTANCE, memory=replace(MEMORY, size=size))
    (_, found) = told(there)
    assert found == (INSTANCE, "memory.size", "NONE" if left and report else "RESTART")


@pytest.mark.parametrize("saved", [True, False])
def test_a_saved_state_is_told(saved: bool) -> None:
    there = pushed(state="shutoff", reason="shutdown", saved=saved)
    found = drift(there, expected(there, known()))
    assert [each.startswith("It has a saved state") for each in found.reported] == [True] * saved


def test_a_definition_that_is_to_be_left_changes_by_what_was_asked_for() -> None:
    there = edited(pushed(MORE, report=True), DEFINITION, cpu=CPU)
    wanted = expected(there, known())
    found = with_edits(there, wanted)
    assert (found.memory, found.cpu) == (wanted.memory, CPU)
    assert found.metadata == wanted.metadata
    gone = replace(there, seen=replace(there.seen, defined=None))
    assert with_edits(gone, wanted) == wanted
