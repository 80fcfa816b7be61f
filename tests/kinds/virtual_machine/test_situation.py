"""What a decision about a machine looks at, and whose domain is none of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import DRIFT, REPORT
from agent.core.changes import SENSITIVE
from agent.core.host import RawDomain
from agent.core.known import EXPORT, STATUS, Fact
from agent.core.metadata import DomainMetadata
from agent.core.model import Object
from agent.kinds.virtual_machine.location import Location
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.situation import Situation, foreign, situation
from agent.kinds.virtual_machine.spec import machine_spec
from tests.golden.case import CATALOGUE
from tests.kinds.deciding import FLEET, place_of, view_of
from tests.kinds.virtual_machine.test_decide import DATA, GONE, THERE, UUID, VM, with_disks
from tests.kinds.virtual_machine.test_deeds import DELETED, KEY, facts
from tests.kinds.virtual_machine.test_deeds import situation as usual
from tests.kinds.virtual_machine.test_files import ROOT as LYING
from tests.kinds.virtual_machine.test_intent import known, machine

RULES = CATALOGUE.kinds["VirtualMachine"]
RAW = RawDomain(UUID, "default.vm", "running", "booted", "<domain/>")
RENAMED = replace(RAW, name="by-hand")
OTHERS = known(fleet="another")
LISTED = {(STATUS, KEY): {"virtualMachinePods": [{"active": True}]}}


@pytest.mark.parametrize(
    ("raw", "memory", "runs", "taken", "more", "why"),
    [
        (None, None, None, None, {}, ""),
        (None, None, None, "another", {}, "that gitvirt did not make"),
        (RAW, known(), known(), "another", {}, "that gitvirt did not make"),
        (RAW, known(), known(), UUID, {}, ""),
        (RAW, known(), None, UUID, {}, ""),
        (RAW, None, known(), UUID, {}, ""),
        (RAW, OTHERS, known(), UUID, {}, "belongs to fleet another"),
        (RAW, None, OTHERS, UUID, {}, "belongs to fleet another"),
        (RAW, None, None, UUID, {}, "carries no metadata"),
        (RAW, None, None, UUID, LISTED, ""),  # somebody has removed it
        (RENAMED, known(), known(), None, {}, "was renamed to by-hand"),
        (RENAMED, OTHERS, None, None, LISTED, "belongs to fleet another"),
    ],
)
def test_a_domain_that_is_not_the_machines_is_told_of(
    raw: RawDomain | None,
    memory: DomainMetadata | None,
    runs: DomainMetadata | None,
    taken: str | None,
    more: Mapping[Fact, Any],
    why: str,
) -> None:
    shown = Seen(raw, replace(facts(), metadata=memory), replace(facts(), metadata=runs))
    found = foreign(VM, shown, taken, UUID, view_of({**THERE, **more}))
    assert why in found
    assert bool(found) is bool(why)


def gathered(vm: Object = VM, shown: Seen | None = None, more: Any = None) -> Situation:
    view = view_of({**THERE, **(more or {})})
    return situation(RULES, vm, view, Location(place_of()), UUID, shown or Seen(None))


def defined(memory: DomainMetadata | None) -> Seen:
    return Seen(RAW, replace(facts(), metadata=memory))


ON_DATA = known(with_disks(DATA))


@pytest.mark.parametrize(
    ("shown", "more", "can"),
    [
        (Seen(None), {}, True),
        (Seen(None), GONE, False),
        (defined(ON_DATA), GONE, True),
        (defined(ON_DATA), GONE | {(EXPORT, DATA): None}, False),
        (defined(known()), GONE, False),
        (defined(known({})), GONE, False),
        (defined(None), GONE, False),
    ],
)
def test_a_domain_could_start_as_it_is_defined_with_the_disks_of_then(
    shown: Seen, more: dict[Fact, Any], can: bool
) -> None:
    assert gathered(shown=shown, more=more).as_defined is can


def told(data: str) -> dict[str, Any]:
    return {"provisioning": {"type": "UserData", "userData": data}}


def with_data(data: str) -> Object:
    content = {"spec": {**VM.spec, **told(data)}}
    return replace(VM, manifest=replace(VM.manifest, content=content))


@pytest.mark.parametrize(
    ("data", "memory", "kept"),
    [
        ("#cloud-config", known({**VM.spec, **told("digest")}), False),
        (SENSITIVE, known({**VM.spec, **told("digest")}), True),
        (SENSITIVE, known(VM.spec), False),
        (SENSITIVE, None, False),
    ],
)
def test_where_only_a_marker_of_a_secret_is_left_the_domain_knows_which_it_was(
    data: str, memory: DomainMetadata | None, kept: bool
) -> None:
    sealed = gathered(with_data(data), defined(memory)).sealed
    assert (sealed["provisioning"] == told("digest")["provisioning"]) is kept
    assert machine_spec(sealed)["provisioning"]["userData"] != data


def test_what_runs_is_named_by_what_it_was_started_with() -> None:
    runs = Seen(RAW, facts(), facts(known(instance="one")))
    assert gathered(shown=runs).running is not None
    for shown, instance in ((runs, "one"), (replace(runs, active=None), "")):
        found = gathered(shown=shown).running
        assert found is not None
        assert found.instance == instance
    assert gathered().running is None
    assert (gathered().fleet, gathered().previous) == (FLEET, {})


MOVED = replace(LYING, path="/pool/by-hand")


@pytest.mark.parametrize(
    ("vm", "disk", "kept", "leaving"),
    [
        (VM, MOVED, False, False),
        (replace(VM, deleted=DELETED.deleted), MOVED, True, False),
        (replace(VM, deleted=DELETED.deleted), LYING, False, True),
    ],
)
def test_a_deletion_waits_while_only_the_domain_knows_where_a_disk_lies(
    vm: Object, disk: Any, kept: bool, leaving: bool
) -> None:
    found = gathered(vm, Seen(RAW, facts(known(), disk)))
    assert (bool(found.kept), found.leaving, found.deleted) == (kept, leaving, bool(vm.deleted))


@pytest.mark.parametrize(
    ("annotations", "report"), [({}, False), ({DRIFT: REPORT}, True), ({DRIFT: "other"}, False)]
)
def test_what_was_changed_by_hand_is_left_where_the_manifest_says_so(
    annotations: dict[str, str], report: bool
) -> None:
    assert usual(vm=machine(**annotations)).report_only is report


@pytest.mark.parametrize("saved", [True, False])
def test_a_saved_state_is_of_the_domain(saved: bool) -> None:
    assert usual(saved=saved).saved is saved
    assert not replace(usual(saved=saved), seen=Seen(None)).saved
