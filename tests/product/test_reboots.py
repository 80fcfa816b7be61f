"""Reboots from inside the guest, and what waits for one."""

from __future__ import annotations

import pytest

from agent.kinds.virtual_machine.power import REBOOT_WINDOW
from agent.kinds.virtual_machine.spec import machine_spec
from tests.rig import Rig, disk, machine


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.verbs()
    return rig


def cores(rig: Rig) -> int:
    """Of the instance that runs."""
    return machine_spec(rig.memory(active=True).spec)["cpu"]["cores"]


def test_a_reboot_applies_what_waits(on: Rig) -> None:
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    on.settle()
    assert cores(on) == 1
    on.now += 1.0
    on.host.guest_reboot(on.uuid())
    on.settle()
    assert cores(on) == 2
    verbs = on.verbs()
    assert (verbs.count("destroy"), verbs.count("start")) == (1, 1)


@pytest.mark.parametrize("later", [0.5, REBOOT_WINDOW, 3600.0])
def test_a_reboot_applies_no_change_that_came_later(on: Rig, later: float) -> None:
    on.host.guest_reboot(on.uuid())
    on.settle()
    on.now += later
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    on.settle()
    assert cores(on) == 1
    assert {"destroy", "shutdown", "start"}.isdisjoint(on.verbs())
    on.now += 1.0
    on.host.guest_reboot(on.uuid())
    on.settle()
    assert cores(on) == 2


def test_a_deleted_machine_takes_its_console_log_along(on: Rig) -> None:
    uid = on.vm()["metadata"]["uid"]
    log = f"default_console_{uid}.log"
    on.host.create_volume("gitvirt", f"<volume><name>{log}</name><capacity>0</capacity></volume>")
    on.push({"vm.yaml": [disk()]})
    on.settle()
    assert log not in on.host.pools["gitvirt"]
