"""What is done now about a machine, from all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.actions import (
    DefineDomain,
    DeleteSeed,
    SetLiveMetadata,
    StartDomain,
    WriteSeed,
)
from agent.core.changes import Disposition
from agent.core.domain_text import DomainText
from agent.core.drift import DEFINITION, Drift, Edit
from agent.core.facts import Engine, View
from agent.core.host import RawDomain, RawVolume, version
from agent.core.identity import POOL
from agent.core.jobs import IDLE, Job
from agent.core.known import DOMAIN, VOLUME, VOLUMES_OF, WRITERS
from agent.core.metadata import DomainMetadata, Power, Recorded
from agent.core.model import Key, Manifest, Object
from agent.kinds.local import Place
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.deeds import Deeds, deeds
from agent.kinds.virtual_machine.definition import DomainFacts, read, render
from agent.kinds.virtual_machine.dependencies import Dependencies
from agent.kinds.virtual_machine.elements.disks import Disk, Disks
from agent.kinds.virtual_machine.growth import growth
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.location import Location
from agent.kinds.virtual_machine.networks import Cabling
from agent.kinds.virtual_machine.power import Running
from agent.kinds.virtual_machine.provisioning import Medium
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.situation import Situation
from tests.golden.case import CATALOGUE, NODE
from tests.kinds.virtual_machine.test_power import GONE_OFF, MEMORY, NEXT, NOW, ON

GRACE = 60
SPEC = {
    "runPolicy": power.MANUAL,
    "terminationGracePeriodSeconds": GRACE,
    "bootloader": "BIOS",
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [],
}
KEY = Key("VirtualMachine", "default", "vm")
VM = Object(Manifest(KEY, {}, {}, {"spec": SPEC}), "vm-uid", 1, "", "")
HOME = Place(NODE, "/pool")
NEEDS = Dependencies((), True, None, (), (), waiting=False)
HELD = replace(MEMORY, spec=SPEC, power=ON)
MEDIUM = Medium(sysprep=False, files={"user-data": b"#cloud-config"}, digest="new")
SEED = "default_seed_vm-uid_new.iso"
ROOT = Disk("/pool/root", "qcow2", "root", "disk", False, "scsi", 0, 0, 1)
SEEDED = replace(ROOT, path=f"/pool/{SEED}", serial="cloudinit", readonly=True, unit=1)


def facts(memory: DomainMetadata = HELD, *disks: Disk) -> DomainFacts:
    """A definition as it is read back, so that it counts as the same."""
    whole = replace(read(DomainText("<domain/>")), name="default.vm", uuid="uuid", metadata=memory)
    return replace(whole, disks=Disks(disks or (ROOT,)))


def situation(
    state: str = "running",
    reason: str = "booted",
    *,
    memory: DomainMetadata = HELD,
    disks: tuple[Disk, ...] = (ROOT,),
    active: DomainMetadata | None = HELD,
    **what: Any,
) -> Situation:
    """A machine whose domain is defined with that memory and those disks."""
    on = state not in ("shutoff", "crashed")
    raw = RawDomain("uuid", "default.vm", state, reason, "<domain><title>kept</title></domain>")
    raw = replace(raw, managed_save=what.pop("saved", False))
    running = replace(facts(), metadata=active)
    usual: dict[str, Any] = {
        "rules": CATALOGUE.kinds["VirtualMachine"],
        "vm": VM,
        "at": HOME,
        "where": Location(HOME),
        "uuid": "uuid",
        "fleet": "default",
        "now": NOW,
        "as_defined": True,
        "sealed": SPEC,
        "cabling": Cabling(KEY, "default", NODE, {}),
        "pools": (POOL,),
        "job": IDLE,
        "needs": NEEDS,
        "previous": {},
        "kept": "",
        "seen": Seen(raw, facts(memory, *disks), running if on else None),
        "running": Running("one" if on else "", raw),
    }
    return Situation(**(usual | what))


def decided(
    case: Situation, made: Intent | None = None, known: Mapping[Any, Any] | None = None
) -> Deeds:
    """The deeds where a machine is to be as it is defined, or as said."""
    engine = Engine({}, {})
    for (table, key), value in (known or {}).items():
        engine.put(table, key, value)
    made = made or Intent(case.seen.memory or HELD, case.seen.defined)
    view = View(engine, NOW)
    return deeds(case, made, growth(case, view), view)


def verbs(found: Deeds) -> list[str]:
    return [each.verb for each in found.actions]


def stopping(at: float, kind: str = "Stop", *, force: bool = False) -> DomainMetadata:
    entry = Recorded("op", kind, force=force, target="one", at=int(at))
    decided = NEXT if kind == "Restart" else replace(GONE_OFF, by="op")
    return replace(HELD, power=decided, operations=(entry,))


def pressed(ago: float) -> Job:
    return Job(done={"ShutdownDomain": NOW - ago})


PRESS = ["ShutdownDomain"]
CUT = ["DestroyDomain"]


@pytest.mark.parametrize(
    ("memory", "state", "job", "expected", "wake"),
    [
        (HELD, "running", IDLE, [], None),
        (stopping(NOW), "running", IDLE, PRESS, NOW + GRACE),
        (stopping(NOW - GRACE + 1), "running", IDLE, PRESS, NOW + 1),
        (stopping(NOW - GRACE), "running", IDLE, CUT, None),
        (stopping(NOW, force=True), "running", IDLE, CUT, None),
        (replace(HELD, power=Power(False, "policy", int(NOW), "one")), "running", IDLE, PRESS, NOW + GRACE),
        (replace(HELD, power=Power(False, "policy", int(NOW) - GRACE, "one")), "running", IDLE, CUT, None),
        # nobody is there to hear the button
        (stopping(NOW), "paused", IDLE, [], NOW + GRACE),
        (stopping(NOW - GRACE), "paused", IDLE, CUT, None),
        # it is pressed again after a while, and never less than once
        (stopping(NOW - 10), "running", pressed(1), [], NOW - 1 + power.PRESS_EVERY),
        (stopping(NOW - 10), "running", pressed(10), PRESS, NOW - 10 + GRACE),
        (stopping(NOW - 1), "running", pressed(1), [], NOW - 1 + power.PRESS_EVERY),
        (stopping(NOW - 1), "running", pressed(2), PRESS, NOW - 1 + GRACE),
        (stopping(NOW - 10), "running", pressed(power.PRESS_EVERY), PRESS, NOW - 10 + GRACE),
        (stopping(NOW - GRACE + 1), "running", pressed(1), [], NOW + 1),
    ],
)  # fmt: skip
def test_what_is_to_end_is_asked_to_and_then_made_to(
    memory: DomainMetadata, state: str, job: Job, expected: list[str], wake: float | None
) -> None:
    found = decided(situation(state, "user", memory=memory, job=job))
    assert verbs(found) == expected
    assert found.wake == wake
    assert found.waiting is (wake is not None)


@pytest.mark.parametrize(
    ("kind", "what", "expected"),
    [
        ("Stop", {}, CUT),
        ("Restart", {}, [*CUT, "StartDomain"]),
        ("Restart", {"needs": replace(NEEDS, ready=False)}, [*CUT, "StartDomain"]),
        ("Restart", {"needs": replace(NEEDS, ready=False), "as_defined": False}, CUT),
    ],
)
def test_what_is_cut_off_to_restart_starts_at_once_if_it_can(
    kind: str, what: dict[str, Any], expected: list[str]
) -> None:
    case = situation(memory=stopping(NOW, kind, force=True), **what)
    assert verbs(decided(case)) == expected


DELETED = replace(VM, deleted="2023-11-14T22:13:20Z")
DUE = replace(HELD, power=NEXT)
AGAIN = replace(HELD, power=replace(NEXT, by=power.BY_END))
OLD = {(VOLUMES_OF, ("node-1", "vm-uid")): ("default_seed_vm-uid_old.iso",)}


@pytest.mark.parametrize(
    ("memory", "what", "expected", "wake"),
    [
        (HELD, {}, ["DeleteSeed"], None),
        (DUE, {}, ["StartDomain"], None),
        (DUE, {"needs": replace(NEEDS, ready=False)}, ["DeleteSeed"], None),
        (AGAIN, {"needs": replace(NEEDS, ready=False)}, ["StartDomain"], None),
        (AGAIN, {"job": Job(starts=(NOW - 1,) * 3)}, [], NOW + 4),
        (DUE, {"vm": DELETED}, ["UndefineDomain", "DeleteConsoleLog"], None),
        (DUE, {"vm": DELETED, "kept": "Its disk lies elsewhere."}, [], None),
    ],
)
def test_what_is_off_starts_when_it_is_due_and_leaves_when_it_is_deleted(
    memory: DomainMetadata, what: dict[str, Any], expected: list[str], wake: float | None
) -> None:
    case = situation("shutoff", "shutdown", memory=memory, **what)
    found = decided(case, known=OLD)
    assert verbs(found) == expected
    assert found.wake == wake
    assert found.waiting is (wake is not None)
    # what is to be remembered is written first, and nothing is swept away in the same breath
    changed = replace(memory, labels={"app": "web"})
    written = verbs(decided(case, Intent(changed, facts(changed)), OLD))
    kept = [each for each in expected if each != "DeleteSeed"]
    assert written == (kept if "UndefineDomain" in expected else ["DefineDomain", *kept])


@pytest.mark.parametrize("memory", [DUE, replace(HELD, power=GONE_OFF)])
def test_what_has_no_domain_is_defined_and_started_if_it_is_to_be_on(
    memory: DomainMetadata,
) -> None:
    there = situation(memory=memory, running=None)
    case = replace(there, seen=Seen(None))
    found = decided(case, Intent(memory, facts(memory)))
    assert verbs(found) == ["DefineDomain", *["StartDomain"] * memory.power.on]
    assert decided(case, Intent(memory)) == Deeds()  # what it needs is not ready


def test_what_runs_without_a_definition_gets_one() -> None:
    there = situation()
    assert there.seen.raw is not None
    transient = replace(there.seen, raw=replace(there.seen.raw, inactive_xml=""), defined=None)
    (define,) = decided(replace(there, seen=transient), Intent(HELD, facts())).actions
    assert isinstance(define, DefineDomain)
    assert define.xml == render(facts())


def test_where_only_the_metadata_changes_the_rest_stays_as_it_stands() -> None:
    case = situation("shutoff", "shutdown")
    changed = replace(HELD, labels={"app": "web"})
    (define,) = decided(case, Intent(changed, facts(changed))).actions
    assert isinstance(define, DefineDomain)
    assert define.why == "metadata"
    assert "<title>kept</title>" in define.xml
    moved = replace(facts(changed), uuid="another")
    edit = Edit(DEFINITION, "cpu.cores", 1, 2, Disposition.IMMEDIATE)
    drifted = Intent(changed, moved, drift=Drift((edit,)))
    (define,) = decided(case, drifted).actions
    assert isinstance(define, DefineDomain)
    assert (define.why, define.xml) == ("cpu.cores 1 → 2", render(moved))


@pytest.mark.parametrize(
    ("bootloader", "nvram", "reset"),
    [
        ("BIOS", "", False),
        ("BIOS", "EFI", False),
        ("EFI", "", False),
        ("EFI", "EFI", False),
        ("EFI", "EFIWithSecureBoot", True),
    ],
)
@pytest.mark.parametrize("by", ["op", power.BY_END])
def test_a_start_says_what_it_is(bootloader: str, nvram: str, reset: bool, by: str) -> None:
    spec = {**SPEC, "bootloader": bootloader}
    memory = replace(HELD, spec=spec, nvram=nvram, power=replace(NEXT, by=by))
    other = RawDomain("another", "default.other", "shutoff", "shutdown", "<domain/>")
    shared = replace(ROOT, path="/pool/image", serial="image", readonly=True)
    known = {
        (WRITERS, (NODE.name, "root")): ("uuid", "another", "a-third"),
        (WRITERS, (NODE.name, "image")): ("reader",),
        (DOMAIN, (NODE.name, "another")): other,
    }
    case = situation("shutoff", "shutdown", memory=memory, disks=(ROOT, shared))
    (start,) = decided(case, known=known).actions
    assert isinstance(start, StartDomain)
    assert start.memory == 1 << 30
    assert start.reset_nvram is reset
    assert start.again is (by == power.BY_END)
    assert start.beside == (("node-1", "a-third", ""), ("node-1", "another", version(other)))


@pytest.mark.parametrize(
    ("active", "what", "instance"),
    [
        (HELD, {}, None),
        (replace(HELD, labels={"old": ""}), {}, "next"),
        (replace(HELD, annotations={"old": ""}), {}, "next"),
        (replace(HELD, spec={**SPEC, "terminationGracePeriodSeconds": 5}), {}, "next"),
        (None, {}, ""),  # what the running side holds is lost
        (None, {"vm": DELETED, "kept": "Its disk lies elsewhere."}, None),
        (None, {"reason": "starting-up", "state": "paused"}, None),
    ],
)
def test_the_running_side_is_told_what_changed_without_a_restart(
    active: DomainMetadata | None, what: dict[str, Any], instance: str | None
) -> None:
    found = decided(situation(active=active, **what))
    if instance is None:
        assert found.actions == ()
        return
    (told,) = found.actions
    assert isinstance(told, SetLiveMetadata)
    assert told.if_instance == instance


MIB = 1 << 20


@pytest.mark.parametrize(
    ("named", "size", "what", "written"),
    [
        (True, MIB, {}, False),
        (True, 3 * MIB, {}, False),
        (True, 0, {}, True),
        (True, MIB // 2, {}, True),
        (True, MIB + 1, {}, True),
        (True, None, {}, True),
        (False, MIB, {}, True),  # half of what it is to be, maybe
        (False, None, {}, True),
        (False, None, {"vm": DELETED, "kept": "Its disk lies elsewhere."}, False),
        (False, None, {"ready": False}, False),
        (False, None, {"medium": None}, False),
        (False, None, {"medium": replace(MEDIUM, files={})}, False),
    ],
)
def test_a_medium_is_stored_before_the_definition_that_names_it(
    named: bool, size: int | None, what: dict[str, Any], written: bool
) -> None:
    needs = replace(NEEDS, ready=what.get("ready", True), medium=what.get("medium", MEDIUM))
    disks = (ROOT, SEEDED) if named else (ROOT,)
    case = situation(vm=what.get("vm", VM), needs=needs, disks=disks, kept=what.get("kept", ""))
    volume = RawVolume(POOL, SEED, f"/pool/{SEED}", 0, size or 0) if size is not None else None
    changed = replace(HELD, labels={"app": "web"})
    made = Intent(changed, facts(changed, ROOT, SEEDED))
    found = decided(case, made, {(VOLUME, (NODE.name, POOL, SEED)): volume})
    first, *rest = found.actions
    assert isinstance(first, WriteSeed if written else DefineDomain)
    if written:
        assert isinstance(first, WriteSeed)
        assert (first.name, first.files) == (SEED, MEDIUM.files)
        assert isinstance(rest[0], DefineDomain)


@pytest.mark.parametrize(
    ("defined", "active", "saved", "swept"),
    [
        ((ROOT,), (ROOT,), False, True),
        ((ROOT, SEEDED), (ROOT,), False, False),
        ((ROOT,), (ROOT, SEEDED), False, False),
        ((ROOT,), None, False, True),
        ((ROOT,), None, True, False),
    ],
)
def test_a_medium_that_no_definition_uses_is_swept_away(
    defined: tuple[Disk, ...], active: tuple[Disk, ...] | None, saved: bool, swept: bool
) -> None:
    state = ("running", "booted") if active else ("shutoff", "shutdown")
    case = situation(*state, disks=defined, saved=saved)
    runs = facts(HELD, *active) if active else None
    case = replace(case, seen=replace(case.seen, active=runs))
    names = (SEED, "default_console_vm-uid.log")
    found = decided(case, known={(VOLUMES_OF, ("node-1", "vm-uid")): names})
    expected = (DeleteSeed(NODE.name, POOL, SEED, "uuid"),)
    assert found.actions == (expected if swept else ())
