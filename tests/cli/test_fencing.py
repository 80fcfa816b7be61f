"""`gitvirt node fence`: what it says of a lost node, and where it refuses to."""

from __future__ import annotations

import time

import pytest

from agent.core.nodes import removed
from agent.core.status import seconds
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, machine, whole

PATH = "nodes/host-b.yaml"
LATER = "2100-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def known(fleet: Fleet) -> None:
    """host-b is lost."""
    ready = {"name": "host-a", "ready": True, "message": ""}
    fleet.agent(node=None, nodes=[ready, {"name": "host-b", "ready": False, "message": "gone"}])
    fleet.write(
        machine("linux-vm", status={"nodeName": "host-b", "home": "host-b"}),
        lost("2026-01-01T00:00:00Z"),
    )


def lost(since: str) -> dict[str, object]:
    told = {"type": "Ready", "status": "False", "reason": "NotReady", "lastTransitionTime": since}
    return whole("Node", "host-b", {}, {"conditions": [{**told, "message": "gone"}]}, namespace="")


def said(fleet: Fleet) -> str:
    found: str = fleet.operations()[PATH]["metadata"]["annotations"]["gitvirt.io/fenced"]
    return found


def test_it_says_whose_machines_are_meant_and_nothing_unasked(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    ended = gitvirt("node", "fence", "host-b")
    assert (ended.code, fleet.operations()) == (1, {})
    assert ended.lines[:2] == [
        "Machines of node host-b:",
        "  VirtualMachine default/linux-vm (Running)",
    ]
    assert "say --yes" in ended.err


def test_it_is_said_and_taken_back(gitvirt: Gitvirt, fleet: Fleet) -> None:
    before = int(time.time())
    assert gitvirt("node", "fence", "host-b", "--yes").lines[-1] == "node/host-b fenced"
    assert seconds(said(fleet)) >= before
    back = gitvirt("node", "fence", "host-b", "--withdraw")
    assert back.out == "node/host-b not fenced any more\n"
    assert fleet.operations() == {}
    assert gitvirt("node", "fence", "host-b", "--withdraw").out == "node/host-b was not fenced\n"


def test_what_else_is_said_of_the_node_stays(gitvirt: Gitvirt, fleet: Fleet) -> None:
    gitvirt("cordon", "host-b")
    gitvirt("node", "fence", "host-b", "--yes")
    assert fleet.operations()[PATH]["spec"] == {"unschedulable": True}
    gitvirt("node", "fence", "host-b", "--withdraw")
    assert fleet.operations()[PATH]["spec"] == {"unschedulable": True}


def test_a_clock_that_is_behind_costs_nothing(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(lost(LATER))
    gitvirt("node", "fence", "host-b", "--yes")
    assert said(fleet) == LATER


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fence", "host-a"), "node host-a is Ready: the agent reaches it. `gitvirt drain host-a`"),
        (("fence", "host-x"), "there is no node 'host-x'; known are host-a, host-b"),
        (("forget", "host-b", "--withdraw"), "--withdraw goes with `gitvirt node fence`"),
    ],
)
def test_of_others_it_is_not_said(
    gitvirt: Gitvirt, fleet: Fleet, words: tuple[str, ...], message: str
) -> None:
    ended = gitvirt("node", *words, "--yes")
    assert (ended.code, fleet.operations()) == (1, {})
    assert message in ended.err


def test_one_of_no_setting_is_forgotten_instead(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.agent(node=None, nodes=[removed("host-b")])
    ended = gitvirt("node", "fence", "host-b", "--yes")
    assert (ended.code, fleet.operations()) == (1, {})
    assert "`gitvirt node forget host-b`" in ended.err
