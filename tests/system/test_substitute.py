"""A host dies, and its guest is started on another one with all that it has written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_moving import storage_class
from tests.system.fleet import Fleet
from tests.system.test_migration import guest, objects  # noqa: F401

LOST, HEIR = "pt-2", "pt-1"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet(2, shared=True)
    try:
        yield made
    finally:
        made.close()


def manifests(fleet: Fleet, image: bytes, *, cordoned: bool) -> dict[str, Any]:
    made = objects(fleet, image, "nfs")
    for each in made:
        if each["kind"] == "VirtualDisk":
            each["spec"]["persistentVolumeClaim"] = {"storageClassName": "nfs"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": HEIR}}
    return {
        "all.yaml": [storage_class("nfs", "nfs"), *made],
        "node.yaml": {**node, "spec": {"unschedulable": cordoned}},
    }


def said(fleet: Fleet, kind: str = "Running") -> str:
    listed = fleet.vm().get("conditions", [])
    return next((str(each.get("message")) for each in listed if each["type"] == kind), "")


def test_a_guest_is_started_elsewhere_once_its_host_is_off_and_never_runs_twice(
    fleet: Fleet,
    guest: bytes,  # noqa: F811
) -> None:
    fleet.push(manifests(fleet, guest, cordoned=True))
    fleet.start()
    fleet.wait_for(lambda: fleet.on() == [LOST], "a guest that runs")
    fleet.wait_for(lambda: len(fleet.ticks(LOST)) > 5, "a guest that counts")
    fleet.push(manifests(fleet, guest, cordoned=False))
    lost = fleet.machine(LOST)
    looked_at(fleet)
    assert len(lost.qemus()) == 1
    # somebody is wrong: its daemon is gone, and its guest runs on
    lost.lose_daemon()
    fleet.wait_for(lambda: "gitvirt node fence pt-2" in said(fleet), "what it waits for")
    assert "fenced" in fleet.gitvirt("node", "fence", LOST, "--yes")
    fleet.wait_for(lambda: 'Failed to get "write" lock' in said(fleet), "a start that is refused")
    assert fleet.on() == []  # the one that counts is on a host that nobody can ask
    assert len(lost.qemus()) == 1
    # now it is off
    lost.close()
    written, _ = fleet.ticks(LOST)[-1]
    fleet.wait_for(lambda: fleet.on() == [HEIR], f"a guest elsewhere: {said(fleet)}")
    fleet.wait_for(lambda: "began with" in fleet.console(HEIR), "a guest that has booted")
    found = re.search("began with ([0-9]+)", fleet.console(HEIR))
    assert found is not None
    assert int(found[1]) >= written
    fleet.wait_for(
        lambda: "in place of the one on node pt-2" in said(fleet, "Substitute"), "a word"
    )
    # it is back, with what it knew
    lost.boot()
    fleet.wait_for(lambda: list(fleet.states()) == [HEIR], f"an end of the old copy: {fleet.vm()}")
    fleet.wait_for(lambda: not said(fleet, "Substitute"), "its status")
    assert fleet.on() == [HEIR]
    assert fleet.vm()["home"] == HEIR
    fleet.wait_for(lambda: not left(fleet), f"an end of what it left: {left(fleet)}")
    before = len(fleet.ticks(HEIR))
    fleet.wait_for(lambda: len(fleet.ticks(HEIR)) > before, "a guest that goes on")


def left(fleet: Fleet) -> list[str]:
    """What its old host has of it still."""
    return [name for name in fleet.volumes(LOST) if "_seed_" in name or "_console_" in name]


def looked_at(fleet: Fleet) -> None:
    """What doctor says of both hosts, and of a slip in how they reach each other."""
    said = fleet.gitvirt("doctor")
    assert "ok       pt-1: peer: machines can go to pt-2" in said, said
    assert "ok       pt-2: peer: machines can go to pt-1" in said
    assert "travels unencrypted (tcp://10.99.7.2)" in said
    assert "ok       storage pool shared: pt-1, pt-2 have the same" in said
    config = fleet.folder / "config.yaml"
    right = config.read_text()
    config.write_text(right.replace("qemu+tcp://10.99.7.2/", "qemu+tcp://pt2.invalid/"))
    said = fleet.gitvirt("doctor")
    config.write_text(right)
    assert "problem  pt-1: peer: pt-2: cannot send a guest to qemu+tcp://pt2.invalid/system" in said
    assert "look at peer and migrate in the setting nodes.pt-2" in said
    assert "ok       pt-2: peer: machines can go to pt-1" in said
