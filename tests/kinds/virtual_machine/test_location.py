"""Where a machine is, and what is done where nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.facts import Decision
from agent.core.identity import POOL
from agent.core.jobs import Job
from agent.core.known import (
    ATTACHED,
    DOMAIN,
    DOMAIN_AT,
    ELSEWHERE,
    EXPORT,
    IMAGE_AT,
    JOB,
    NODES,
    PLACED,
    POOL_PATH,
    STATUS,
    UNREACHABLE,
    Fact,
)
from agent.core.known import NODE as NODE_FACT
from agent.core.model import Condition, Key
from agent.core.nodes import HOME
from agent.core.placement.tenants import Verdict
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_machine.location import BOTH, TWICE, Location, location
from agent.kinds.virtual_machine.report import torn, unreachable, unread
from agent.kinds.virtual_machine_class import ClassData, GuestCpu
from tests.golden.case import NODE as RAW_NODE
from tests.kinds.deciding import PATH, condition, place_of, said, view_of
from tests.kinds.virtual_machine.test_decide import (
    CLASS,
    DATA,
    DELETED,
    MOVED,
    NODE,
    PATHS,
    ROOT,
    THERE,
    UUID,
    VM,
    attached,
    decide,
    domain,
    elsewhere,
)
from tests.kinds.virtual_machine.test_deeds import KEY

OTHER = replace(RAW_NODE, name="node-2")
HERE, THERE_TOO = place_of(), place_of(OTHER)
TWO: Mapping[Fact, Any] = {
    **THERE,
    (NODES, None): (NODE, OTHER.name),
    (NODE_FACT, OTHER.name): OTHER,
    (POOL_PATH, (OTHER.name, POOL)): PATH,
    (EXPORT, CLASS): ClassData({name: GuestCpu("host-model") for name in (NODE, OTHER.name)}, ()),
}
AWAY = "Node node-2 cannot be read: It is off."
GONE: dict[Fact, Any] = {(UNREACHABLE, OTHER.name): "It is off."}
LOST = (OTHER.name,)
NEVER: dict[Fact, Any] = {(NODE_FACT, OTHER.name): None}
BUSY: dict[Fact, Any] = {(JOB, KEY): Job(busy=("DefineDomain",))}
UNPLACED = "Could not schedule the virtual machine:"
HAS_RUN = {"virtualMachinePods": [{"active": True}]}
ON_TWO = {HOME: OTHER.name}


def there(*names: str) -> dict[Fact, Any]:
    return {(DOMAIN_AT, UUID): names}


def status(**what: Any) -> dict[Fact, Any]:
    return {(STATUS, KEY): what}


def placed(name: str = "") -> dict[Fact, Any]:
    """A verdict; without a name no node takes it."""
    return {(PLACED, KEY): Verdict(name, "" if name else "No.")}


def lies(*names: str) -> dict[Fact, Any]:
    return {(EXPORT, ROOT): DiskData(dict.fromkeys(names, PATHS[ROOT]), 1 << 30)}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # one that is new goes where it is placed
        ({}, Location(None, asks=True)),
        (placed(NODE), Location(HERE, NODE, asks=True)),
        (placed(OTHER.name), Location(THERE_TOO, OTHER.name, asks=True)),
        (placed(), Location(None, "", f"{UNPLACED} No.", asks=True)),
        (placed() | lies(OTHER.name), Location(None, "", f"{UNPLACED} No.", asks=True)),
        (status(**ON_TWO), Location(THERE_TOO, OTHER.name, asks=True)),
        (status(**ON_TWO) | placed(NODE), Location(HERE, NODE, asks=True)),
        (status(**ON_TWO) | placed(NODE) | BUSY, Location(THERE_TOO, OTHER.name, asks=True)),
        (status(**ON_TWO) | placed() | lies(OTHER.name), Location(THERE_TOO, OTHER.name, asks=True)),
        (status(**ON_TWO) | placed() | lies(NODE), Location(None, "", f"{UNPLACED} No.", asks=True)),
        # one that is somewhere belongs there
        (there(OTHER.name), Location(THERE_TOO, OTHER.name)),
        (there(NODE) | status(**ON_TWO), Location(HERE, NODE)),
        (there(NODE, OTHER.name), Location(None, "node-1,node-2", BOTH.format("node-1 and node-2"), twice=True)),
        # what nobody can read may have its domain
        (status(**ON_TWO) | GONE, Location(None, OTHER.name, AWAY, lost=LOST)),
        (there(NODE) | status(**ON_TWO) | GONE, Location(None, OTHER.name, AWAY, lost=LOST)),
        (there(NODE) | GONE, Location(HERE, NODE)),
        (status(**HAS_RUN) | GONE, Location(None, "", AWAY)),
        (status(**HAS_RUN) | placed(NODE), Location(HERE, NODE, asks=True)),
        (there(NODE) | status(**HAS_RUN) | GONE, Location(HERE, NODE)),
        (GONE | placed(NODE), Location(HERE, NODE, asks=True)),
        (NEVER, Location(None, "", "Node node-2 has not been read yet.")),
        (status(**{HOME: NODE}) | NEVER, Location(HERE, NODE, asks=True)),
        (status(**{HOME: "node-1,node-2"}), Location(HERE, NODE, asks=True)),
        (status(**{HOME: "node-1,node-2"}) | GONE, Location(None, "node-1,node-2", AWAY, lost=LOST)),
    ],
)  # fmt: skip
def test_a_machine_is_where_its_domain_is_or_is_to_be(
    facts: Mapping[Fact, Any], expected: Location
) -> None:
    assert location(VM, UUID, view_of({**TWO, **facts})) == expected


def test_with_one_node_none_is_chosen_for_good() -> None:
    for facts in ({}, there(NODE)):
        assert location(VM, UUID, view_of({**THERE, **facts})) == Location(HERE)


def on_both(**what: Any) -> Decision:
    return decide(what.pop("vm", VM), {**TWO, **what.pop("facts", {})})


@pytest.mark.parametrize(
    ("facts", "home"),
    [
        (placed(NODE), NODE),  # it is written down before anything is made there
        (domain(), NODE),
        (status(**ON_TWO), OTHER.name),
    ],
)
def test_the_node_of_a_machine_is_written_down_where_there_are_several(
    facts: Mapping[Fact, Any], home: str
) -> None:
    assert said(on_both(facts=facts))[HOME] == home
    image = Key("VirtualImage", "default", "image")
    refs = [{"kind": image.kind, "name": image.name}]
    content = {"spec": {**VM.spec, "blockDeviceRefs": refs}}
    vm = replace(VM, manifest=replace(VM.manifest, content=content))
    assert on_both(vm=vm, facts=facts).publish[IMAGE_AT, (image, KEY)] == home
    assert (IMAGE_AT, (image, KEY)) not in decide(vm, domain()).publish


def test_nothing_is_written_down_of_where_a_machine_is_that_cannot_be_made() -> None:
    assert on_both().status is None  # nobody has been asked yet
    assert HOME not in said(on_both(facts=placed()))
    assert HOME not in said(decide())
    assert HOME not in said(decide(facts=domain()))


def test_what_a_machine_may_have_open_stays_so_while_nobody_can_tell() -> None:
    before = {"phase": "Running", "blockDeviceRefs": [{"kind": DATA.kind, "name": DATA.name}]}
    left = on_both(facts={**status(**before, **ON_TWO), **GONE})
    assert left.actions == ()
    assert left.publish == attached(ROOT, DATA)
    raw = domain(moved=MOVED)[DOMAIN, (NODE, UUID)]
    torn_apart = {**there(NODE, OTHER.name), (DOMAIN, (NODE, UUID)): raw}
    found = on_both(facts={**torn_apart, **status(**before)})
    assert found.publish == attached(ROOT, DATA) | elsewhere(ROOT)
    assert condition(found, "Running").reason == "DomainOnSeveralNodes"
    assert found.actions == ()
    unknown = {**torn_apart, (POOL_PATH, (NODE, POOL)): None}
    assert not any(fact[0] is ELSEWHERE for fact in on_both(facts=unknown).publish)


def test_a_domain_that_cannot_be_read_keeps_its_disks() -> None:
    facts = domain()
    raw = replace(facts[DOMAIN, (NODE, UUID)], unread=True)
    before = {"phase": "Running", "blockDeviceRefs": [{"kind": DATA.kind, "name": DATA.name}]}
    found = decide(facts={**facts, (DOMAIN, (NODE, UUID)): raw, **status(**before)})
    assert (found.actions, found.ok) == ((), False)
    assert found.publish == attached(ROOT, DATA)
    assert condition(found, "Running").reason == "NotResponding"


OLD = Condition("BlockDevicesReady", "True", "BlockDevicesReady")
KNOWN = {
    "phase": "Running",
    "conditions": [
        {"type": "Running", "status": "True", "reason": "Running", "message": ""},
        {"type": OLD.type, "status": OLD.status, "reason": OLD.reason, "message": ""},
    ],
}


@pytest.mark.parametrize(("vm", "phase"), [(VM, "Running"), (DELETED, "Terminating")])
def test_of_a_machine_that_nobody_can_see_what_was_known_stays(vm: Any, phase: str) -> None:
    lost = unreachable(vm, KNOWN, AWAY)
    assert (condition(lost, "Running").status, lost.waiting, lost.ok) == ("Unknown", False, False)
    assert condition(lost, OLD.type) == OLD
    both = torn(vm, KNOWN, "node-1,node-2", "It may run twice.", TWICE)
    assert (said(both)["phase"], said(both)[HOME], both.ok) == (phase, "node-1,node-2", False)
    assert condition(both, "Running").message == "It may run twice."
    assert condition(both, OLD.type) == OLD
    mute = unread(vm, KNOWN, {})
    assert (said(mute)["phase"], mute.ok) == (phase, False)


@pytest.mark.parametrize(("vm", "phase"), [(VM, "Pending"), (DELETED, "Terminating")])
def test_of_a_machine_that_nobody_has_seen_there_is_little_to_say(vm: Any, phase: str) -> None:
    lost = unreachable(vm, {}, AWAY)
    assert (said(lost)["phase"], lost.waiting, lost.ok) == (phase, False, False)
    assert condition(lost, "Running").message == AWAY
    assert said(torn(vm, {}, "", "x", TWICE))["phase"] == phase
    assert said(unread(vm, {}, {}))["phase"] == phase


def test_a_machine_that_is_being_made_keeps_its_node_and_its_disks() -> None:
    """Whoever places it may think better of it meanwhile."""
    wish = replace(
        VM,
        manifest=replace(
            VM.manifest,
            content={"spec": {**VM.spec, "nodeSelector": {"a": "b"}, "runPolicy": "AlwaysOn"}},
        ),
    )
    for facts in (BUSY, BUSY | placed(), BUSY | placed(NODE)):
        made = decide(wish, {**THERE, **facts})
        assert made.publish[ATTACHED, (ROOT, KEY)] is True
