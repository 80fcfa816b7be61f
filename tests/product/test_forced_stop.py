"""What is to end at once ends, whatever else of the machine fails: a QEMU that answers nothing keeps nobody from ending it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.host import HostError
from tests.rig import Rig, disk, machine, operation


def hanging(rig: Rig, verb: str) -> None:
    def effect(each: str, phase: str) -> None:
        if (each, phase) == (verb, "before"):
            raise HostError("NotResponding", "QEMU does not answer")

    rig.host.on_effect = effect


def work(rig: Rig) -> None:
    rig.agent.reconciler.look_at_git()
    for _ in range(20):
        rig.now += min(rig.step(), 60.0)


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine(terminationGracePeriodSeconds=5)]})
    rig.settle()
    return rig


@pytest.mark.parametrize("more", [{"force": True}, {}])
def test_a_stop_ends_a_machine_whose_metadata_cannot_be_written(
    on: Rig, more: dict[str, Any]
) -> None:
    on.host.guest_obeys = False
    hanging(on, "set_live_metadata")
    labelled = machine(metadata={"labels": {"a": "b"}}, terminationGracePeriodSeconds=5)
    on.push({"vm.yaml": [disk(), labelled], "op.yaml": operation("stop", "vm", "Stop", **more)})
    work(on)
    assert not on.running()
    assert on.vmop("stop")["status"]["phase"] == "Completed"


@pytest.mark.parametrize("more", [{"force": True}, {}])
def test_a_stop_ends_a_machine_that_cannot_be_resumed(on: Rig, more: dict[str, Any]) -> None:
    on.host.guest_obeys = False
    hanging(on, "resume")
    on.host._set(on.uuid(), "paused", "ioerror")
    work(on)
    assert on.running()
    on.push({"op.yaml": operation("stop", "vm", "Stop", **more)})
    work(on)
    assert not on.running()
    assert on.vmop("stop")["status"]["phase"] == "Completed"


def test_a_machine_that_answers_nothing_is_deleted(on: Rig) -> None:
    hanging(on, "set_live_metadata")
    on.push({"vm.yaml": [disk(), machine(metadata={"labels": {"a": "b"}})]})
    work(on)
    on.host.guest_obeys = False
    on.push({"vm.yaml": [disk()]})
    work(on)
    assert not on.running()
