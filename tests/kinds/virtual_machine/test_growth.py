"""Which disks of a running machine grow, and what is said of those that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.actions import GrowDisk
from agent.core.annotations import DISABLED, SUSPEND
from agent.core.backup import NAMESPACE, Mark, mark_xml
from agent.core.identity import POOL
from agent.core.jobs import Failure, Job
from agent.core.known import EXPORT, GROWS, Fact
from agent.core.model import Key
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_machine.growth import growth
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.situation import Situation
from tests.golden.case import NODE
from tests.kinds.deciding import view_of
from tests.kinds.virtual_machine.test_deeds import HELD, SPEC, VM, decided, facts, situation
from tests.kinds.virtual_machine.test_power import NOW

GIB = 1 << 30
A, B = (Key("VirtualDisk", "default", name) for name in "ab")
REFS = [{"kind": "VirtualDisk", "name": name} for name in "ab"]
RUNS = replace(HELD, spec={**SPEC, "blockDeviceRefs": REFS})
FACTS: dict[Fact, Any] = {
    (EXPORT, A): DiskData({}, GIB, POOL, "a.qcow2"),
    (EXPORT, B): DiskData({}, GIB, "vms", "b.qcow2"),
    (GROWS, B): 2 * GIB,
}
GROW = GrowDisk(NODE.name, "uuid", "one", "vms", "b.qcow2", 2 * GIB)


def case(state: str = "running", reason: str = "booted", **what: Any) -> Situation:
    return situation(state, reason, **({"active": RUNS} | what))


@pytest.mark.parametrize(("state", "reason"), [("running", "booted"), ("paused", "user")])
def test_what_asks_to_grow_and_is_open_grows(state: str, reason: str) -> None:
    found = growth(case(state, reason), view_of(FACTS))
    assert (found.actions, found.told) == ((GROW,), {B: ""})
    made = Intent(RUNS, facts(RUNS))
    settled = case(state, reason, memory=RUNS, sealed=RUNS.spec)
    assert decided(settled, made, FACTS).actions == (GROW,)


@pytest.mark.parametrize(
    "what",
    [
        {"state": "shutoff"},
        {"state": "paused", "reason": "starting-up"},
        {"active": None},
        {"active": HELD},
        {"running": None},
        {"vm": replace(VM, deleted="now")},
    ],
)
def test_nothing_is_said_where_nothing_can_be_asked(what: dict[str, Any]) -> None:
    found = growth(case(**what), view_of(FACTS))
    assert (found.actions, found.told) == ((), {})


def suspended() -> Any:
    return replace(VM, manifest=replace(VM.manifest, annotations={SUSPEND: DISABLED}))


def test_the_disks_of_a_suspended_machine_stay_as_they_are() -> None:
    found = growth(case(vm=suspended()), view_of(FACTS))
    assert found.actions == ()
    assert "is suspended" in found.told[B]


@pytest.mark.parametrize(
    ("name", "retry_at", "told", "left"),
    [
        ("b.qcow2", NOW + 1, "No room.", ()),
        ("b.qcow2", NOW, "No room.", (GROW,)),
        ("a.qcow2", NOW + 1, "", (GROW,)),
    ],
)
def test_what_failed_is_told_and_waits_for_its_turn(
    name: str, retry_at: float, told: str, left: tuple[GrowDisk, ...]
) -> None:
    about = {name: Failure("HypervisorError", "No room")}
    job = Job(failed="GrowDisk", about=about, generation=1, retry_at=retry_at)
    settled = case(memory=RUNS, sealed=RUNS.spec, job=job)
    assert growth(settled, view_of(FACTS)).told == {B: told}
    found = decided(settled, Intent(RUNS, facts(RUNS)), FACTS)
    assert (found.actions, found.wake) == (left, None if left else retry_at)


def test_a_copy_of_its_disks_is_waited_for() -> None:
    usual = case()
    copied = replace(usual, seen=replace(usual.seen, block_job=True))
    assert "copies or merges" in growth(copied, view_of(FACTS)).told[B]
    assert usual.seen.raw is not None
    mark = mark_xml(Mark("snap", NOW, frozen=False, begun=True, consistent=True))
    mark = mark.replace("<backup", f'<backup xmlns="{NAMESPACE}"')
    marked = replace(usual.seen.raw, active_xml=f"<domain><metadata>{mark}</metadata></domain>")
    kept = replace(usual, seen=replace(usual.seen, raw=marked))
    assert "snapshot of VirtualMachine default/vm" in growth(kept, view_of(FACTS)).told[B]
    assert growth(kept, view_of(FACTS)).actions == ()
