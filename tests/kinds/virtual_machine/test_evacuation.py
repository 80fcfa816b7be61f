"""Operations by which a machine is sent away that is to leave its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.known import EXPORT, MISFIT, NODES, OBJECT, OPERATIONS, OWNED, PLACED, STATUS, Fact
from agent.core.model import Key, Manifest, Object, Owner
from agent.core.placement.tenants import Verdict
from agent.core.status import timestamp
from agent.kinds.node import NodeData
from agent.kinds.virtual_machine.evacuation import (
    ATTEMPT,
    NOTHING,
    Evacuation,
    about_leaving,
    evacuation,
)
from tests.kinds.deciding import NOW, view_of
from tests.kinds.virtual_machine.test_decide import NODE, VM
from tests.kinds.virtual_machine.test_deeds import KEY

Facts = dict[Fact, Any]
TWO: Facts = {(NODES, None): (NODE, "node-2"), (OBJECT, KEY): VM}
UNFIT = "node(s) didn't match Pod's node affinity/selector"
TAINTED = "node(s) had untolerated taint {gpu: yes}"
MOVES: Facts = {
    (PLACED, KEY): Verdict("node-2"),
    (STATUS, KEY): {"conditions": [{"type": "Migratable", "status": "True"}]},
}


def drained(since: str = "2030-01-01T00:00:00Z") -> Facts:
    return {(EXPORT, Key("Node", "", NODE)): NodeData(True, since, fenced=False)}


def misfit(why: str) -> Facts:
    return {(MISFIT, KEY): why}


def sent(facts: Mapping[Fact, Any], vm: Object = VM, now: float = NOW) -> Evacuation:
    return evacuation(vm, view_of({**TWO, **facts}, now), NODE)


def one(facts: Mapping[Fact, Any], now: float = NOW) -> Manifest:
    (made,) = sent(facts, now=now).makes
    return made


def there(manifest: Manifest, phase: str = "", end: float = 0.0, *, deleted: str = "") -> Facts:
    """The operation is in the ledger."""
    obj = Object(manifest, "uid", 1, timestamp(0), "", deleted, Owner(*KEY[::2], VM.uid))
    done = {"type": "Completed", "lastTransitionTime": timestamp(end)}
    return {
        (OBJECT, manifest.key): obj,
        (OWNED, KEY): (manifest.key,),
        (OPERATIONS, KEY): (manifest.key,),
        (STATUS, manifest.key): {"phase": phase, "conditions": [done]},
    }


@pytest.mark.parametrize(
    ("why", "prefix"),
    [
        (drained(), "evacuation-"),
        (misfit(TAINTED), "evacuation-"),
        (misfit(UNFIT), "nodeplacement-update-"),
    ],
)
def test_a_machine_that_is_to_leave_is_evicted_by_an_operation(why: Facts, prefix: str) -> None:
    made = one({**MOVES, **why})
    assert made.key.name.startswith(prefix)
    assert len(made.key.name) == len(prefix) + 5
    assert made.key.namespace == KEY.namespace
    assert made.spec == {"type": "Evict", "virtualMachineName": KEY.name}
    assert one({**MOVES, **why}) == made  # a repeated pass makes the same
    going = there(made, "InProgress")
    assert one({**MOVES, **why, **going}) == made
    assert sent({**MOVES, **why, **going}).drops == frozenset()


def test_another_drain_and_other_rules_make_another_operation() -> None:
    later = drained("2030-01-02T00:00:00Z")
    names = {one({**MOVES, **why}).key.name for why in (drained(), later, misfit(UNFIT))}
    other = replace(
        VM, manifest=replace(VM.manifest, content={"spec": {**VM.spec, "nodeSelector": {"a": "b"}}})
    )
    (made,) = sent({**MOVES, **misfit(UNFIT)}, other).makes
    assert len({*names, made.key.name}) == 4


@pytest.mark.parametrize(
    "facts",
    [
        {**MOVES},  # it may stay
        {**MOVES, **drained(), (NODES, None): (NODE,)},
        {**MOVES, **drained(), (PLACED, KEY): Verdict("", "0/2 nodes are available.")},
        {**MOVES, **drained(), (PLACED, KEY): None},
        {**MOVES, **drained(), (STATUS, KEY): {"conditions": [{"type": "Migratable", "status": "False"}]}},
        {**MOVES, **drained(), (STATUS, KEY): {}},
    ],
)  # fmt: skip
def test_no_operation_is_made_where_nothing_is_to_go_or_it_cannot(facts: Facts) -> None:
    assert sent(facts) == NOTHING


def test_a_machine_that_is_suspended_or_deleted_is_not_sent_away() -> None:
    suspended = replace(VM.manifest, annotations={"gitvirt.io/reconcile": "disabled"})
    for vm in (replace(VM, manifest=suspended), replace(VM, deleted=timestamp(NOW))):
        assert sent({**MOVES, **drained()}, vm) == NOTHING


def test_nobody_is_sent_away_whom_somebody_moves_already() -> None:
    key = Key("VirtualMachineOperation", KEY.namespace, "by-hand")
    spec = {"type": "Evict", "virtualMachineName": KEY.name}
    obj = Object(Manifest(key, {}, {}, {"spec": spec}), "uid", 1, timestamp(0), "")
    asked: Facts = {(OBJECT, key): obj, (OPERATIONS, KEY): (key,)}
    assert sent({**MOVES, **drained(), **asked}) == NOTHING
    over: Facts = {(STATUS, key): {"phase": "Completed"}}
    assert sent({**MOVES, **drained(), **asked, **over}).makes


@pytest.mark.parametrize("phase", ["Failed", "Completed", "Superseded"])
def test_what_did_not_help_is_tried_again_ever_more_seldom(phase: str) -> None:
    made = one({**MOVES, **drained()})
    facts = {**MOVES, **drained(), **there(made, phase, end=NOW)}
    waits = sent(facts, now=NOW + 1.0)
    assert (waits.makes, waits.wake) == ((), NOW + 2.0)
    again = one(facts, now=NOW + 2.0)
    assert again.annotations[ATTEMPT] == "1"
    assert again.key != made.key
    late = replace(made, annotations={ATTEMPT: "20"})
    named = sent({**MOVES, **drained(), **there(late, phase, end=NOW)})
    assert named.makes[0].annotations[ATTEMPT] == "0"  # its name is of another attempt
    by_rules = one({**MOVES, **misfit(UNFIT)})
    settles = sent({**MOVES, **misfit(UNFIT), **there(by_rules, phase, end=NOW)}, now=NOW + 59.0)
    assert settles.wake == NOW + 60.0


def test_an_operation_that_nobody_has_taken_up_goes_with_its_cause_and_one_under_way_stays() -> (
    None
):
    made = one({**MOVES, **drained()})
    for phase, gone in (("", True), ("Pending", True), ("InProgress", False), ("Failed", False)):
        left = sent({**MOVES, **there(made, phase, end=NOW)})
        assert (left.makes, left.drops) == ((), frozenset({made.key} if gone else ()))


def test_operations_that_have_ended_are_kept_for_a_day() -> None:
    made = one({**MOVES, **drained()})
    ended = there(made, "Completed", end=NOW)
    assert sent(ended).wake == NOW + 86400.0
    assert sent(ended, now=NOW + 86399.0).drops == frozenset()
    assert sent(ended, now=NOW + 86400.0).drops == {made.key}
    going = there(made, "Completed", end=NOW, deleted=timestamp(NOW))
    assert sent(going, now=NOW + 86400.0).drops == frozenset()


def test_why_it_is_to_leave_and_what_is_in_the_way_is_told() -> None:
    def told(facts: Facts) -> str:
        return about_leaving(VM, view_of({**TWO, **facts}), NODE)

    assert told({}) == ""
    assert told(drained()) == f"Node {NODE} is being drained."
    assert told(misfit(UNFIT)) == f"Node {NODE} does not fit it any more: {UNFIT}."
    stuck: Facts = {(PLACED, KEY): Verdict("", "0/2 nodes are available.")}
    assert told(drained() | stuck) == f"Node {NODE} is being drained. 0/2 nodes are available."
