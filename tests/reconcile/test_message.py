from __future__ import annotations

from typing import Any

import pytest

from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.reconcile.message import Event, Update, about, compose, joined, of_agent, updated
from tests.fleets import condition

VM = Key("VirtualMachine", "default", "linux-vm")
DISK = Key("VirtualDisk", "default", "linux-vm")
CATALOGUE = Catalogue.load()
CHANGE = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}


def status(*conditions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"phase": "Running", "conditions": list(conditions), "observedGeneration": 1} | fields


@pytest.mark.parametrize(
    ("before", "after", "facts"),
    [
        (status(), status(ipAddress="10.0.2.15"), ("10.0.2.15",)),
        (status(ipAddress="10.0.2.15"), status(), ("without an address",)),
        (
            status(condition("Running")),
            status(condition("Running", "False", "Ended by hand, started again.")),
            ("ended by hand, started again",),
        ),
        (
            status(),
            status(restartAwaitingChanges=[CHANGE]),
            ("cpu.cores: 1 → 2 waits for a restart",),
        ),
        (status(restartAwaitingChanges=[CHANGE]), status(), ("waits for no restart any more",)),
        (
            status(condition("BlockDevicesReady", "False", "VirtualDisk default/a is not there.")),
            status(condition("BlockDevicesReady")),
            ("block devices ready",),
        ),
        (
            status(),
            status(guestOSInfo={"prettyName": "Debian GNU/Linux 12"}),
            ("runs Debian GNU/Linux 12",),
        ),
        (status(progress="30%"), status(progress="40%"), ("40% done",)),
        (status(capacity="1Gi"), status(capacity="2Gi"), ("1Gi → 2Gi",)),
        (status(), status(capacity={"cpu": "2", "memory": "8Gi"}), ()),
        (
            status(capacity={"cpu": "2", "memory": "8Gi"}),
            status(capacity={"cpu": "2", "memory": "16Gi"}),
            ("memory 8Gi → 16Gi",),
        ),
        (status(), {**status(), "observedGeneration": 2}, ("changed by its manifest",)),
        (
            status(condition("DriftDetected", "True", "CPU changed by hand.")),
            status(),
            ("as its manifest says again",),
        ),
        (
            status(condition("AgentReady", "False", "No agent.")),
            status(condition("AgentReady")),
            ("the guest agent answers",),
        ),
        (status(condition("AgentReady")), status(condition("AgentReady", "False", "No.")), (
            "the guest agent is gone",
        )),
    ],
)  # fmt: skip
def test_what_is_new_is_told_in_facts_and_never_by_the_name_of_a_field(
    before: dict[str, Any], after: dict[str, Any], facts: tuple[str, ...]
) -> None:
    assert updated(before, after).facts == facts


def test_what_stands_there_from_the_start_is_no_news() -> None:
    first = status(
        condition("AgentReady", "False", "No agent."),
        condition("HardwareVirtualization", "False", "Slow."),
        condition("Running"),
        nodeName="host-a",
        versions={"qemu": "7.2.0"},
    )
    assert updated({}, first).facts == ()


def test_what_the_phase_tells_is_not_told_again() -> None:
    made = status(condition("Ready", "False", "The volume is being made."), phase="Provisioning")
    assert updated({}, made).facts == ()
    assert updated(made, status(condition("Ready"), phase="Ready")).facts == ()
    failed = status(condition("Completed", "False", "It is too late."), phase="Failed")
    assert updated({}, failed).facts == ("it is too late",)
    starting = status(condition("Running", "False", "Crashed, started again."), phase="Starting")
    assert updated(status(condition("Running")), starting).facts == ("crashed, started again",)


def test_the_agent_tells_of_itself_what_has_happened() -> None:
    calm = {"node": {"name": "host-a", "message": ""}, "applied": {"revision": "a" * 40}}
    lost = {**calm, "node": {"name": "host-a", "message": "No connection."}}
    assert of_agent(calm, lost) == ["node host-a: no connection"]
    assert of_agent(lost, calm) == ["node host-a: ready again"]
    several = {"nodes": [calm["node"], {"name": "host-b", "message": "No route."}]}
    assert of_agent(calm, several) == ["node host-b: no route"]
    assert of_agent(several, {"nodes": [lost["node"], {"name": "host-b", "message": ""}]}) == [
        "node host-a: no connection",
        "node host-b: ready again",
    ]
    new = {**calm, "attempted": {"revision": "b" * 40}}
    assert of_agent(calm, new) == [f"{'b' * 12} under way"]
    assert of_agent(new, {**new, "applied": new["attempted"]}) == [f"applied {'b' * 12}"]
    broken = {**calm, "repository": {"message": "branch main is not there"}}
    assert of_agent(calm, broken) == ["repository: branch main is not there"]
    assert of_agent(calm, {**calm, "version": "2"}) == []


def test_people_wait_for_conditions_and_not_for_details() -> None:
    assert not updated(status(), status(ipAddress="10.0.2.15")).telling
    trouble = status(condition("BlockDevicesReady", "False", "No disk."))
    assert updated(status(condition("BlockDevicesReady")), trouble).telling
    assert Event(VM, ("Starting", "Running")).telling
    assert not Event(VM, ("Running", "Running"), update=Update(("two words",))).telling
    assert Event(VM, ("Running", "Running"), gone=True).telling


def line(event: Event) -> str:
    return event.told(CATALOGUE.kinds[event.key.kind])


def label(key: Key) -> str:
    return CATALOGUE.kinds[key.kind].label(key)


def test_what_happened_to_one_object_between_two_commits_is_one_line() -> None:
    ended = Update(("ended by hand, started again",), telling=True)
    events = [
        Event(VM, ("Running", "Starting"), update=ended),
        Event(DISK, ("", "Ready")),
        Event(VM, ("Starting", "Running"), update=Update(("10.0.2.15",))),
    ]
    assert [line(each) for each in joined(events)] == [
        "linux-vm: ended by hand, started again, 10.0.2.15",
        "vd/linux-vm: Ready",
    ]
    assert line(joined(events[::2][:1])[0]) == (
        "linux-vm: Running → Starting, ended by hand, started again"
    )
    gone = [Event(VM, ("", "Running")), Event(VM, ("Running",), gone=True)]
    assert [line(each) for each in joined(gone)] == ["linux-vm: deleted"]


def test_each_object_finds_its_own_line_in_a_commit() -> None:
    long = Update(("a fact that is far too long for a subject of seventy-two signs, in fact",))
    other = Key("VirtualMachine", "prod", "linux-vm")
    message = compose(
        CATALOGUE,
        [
            Event(VM, ("Running", "Running"), update=long),
            Event(DISK, ("Provisioning", "Ready")),
            Event(other, ("Running", "Stopped")),
        ],
        "c0ffee",
    )
    subject, _, body = message.partition("\n")
    assert subject == "prod/linux-vm: Running → Stopped (+2 more)"
    assert about(label(VM), subject, body) == long.facts[0]
    assert about(label(DISK), subject, body) == "Provisioning → Ready"
    assert about(label(other), subject, body) == "Running → Stopped"
    assert body.endswith("\n\n[skip ci]\n\nSource-Revision: c0ffee\n")
    alone = compose(CATALOGUE, [Event(VM, ("Running", "Running"), update=long)], "")
    assert len(alone.splitlines()[0]) == 72
    assert about(label(VM), alone.splitlines()[0], alone) == long.facts[0]


def test_one_thing_that_happened_is_said_once() -> None:
    message = compose(CATALOGUE, [Event(VM, ("Starting", "Running"))], "")
    assert message == "linux-vm: Starting → Running\n\n[skip ci]\n"
    assert about(label(VM), "linux-vm: Starting → Running", "") == "Starting → Running"
    assert about(label(DISK), "an old commit", "") == "an old commit"


def test_texts_from_people_and_guests_stay_on_their_line() -> None:
    evil = status(guestOSInfo={"prettyName": "x\n- other: deleted\u202e"})
    (fact,) = updated(status(), evil).facts
    assert fact == "runs x\\n- other: deleted\\u202e"
