"""Machines that run on an older QEMU than their nodes have by now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.migrating import Manner
from agent.core.schema import Catalogue
from agent.core.tables import table, text
from agent.places import Pools
from tests.product.test_evacuation import own
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation

KIND, PREFIX = "FirmwareUpToDate", "firmware-update-"


def install(rig: Rig, *names: str, to: str = "8.0.0") -> None:
    """Other packages are installed, and libvirtd is started anew."""
    for name in names:
        host = rig.hosts[name]
        host.disconnect()
        host.node = replace(host.node, qemu_version=to)
        host.reconnect()


def upgrade(rig: Rig, *names: str, to: str = "8.0.0") -> None:
    install(rig, *names, to=to)
    rig.settle()


@pytest.fixture
def three(tmp_path: Path) -> Fleet:
    return fleet(tmp_path, SHARED)


@pytest.mark.promise("S44")
def test_a_machine_says_that_it_runs_on_an_older_version_until_it_is_restarted(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    assert condition(rig.vm(), KIND) == {}
    upgrade(rig, "node-1")
    said = condition(rig.vm(), KIND)
    assert (said["status"], said["reason"]) == ("False", "FirmwareOutOfDate")
    assert "runs on QEMU 7.2.0, and node node-1 has 8.0.0" in said["message"]
    assert rig.vm()["status"]["versions"]["qemu"] == "7.2.0"
    docs = rig.documents()
    rig.now += 1000
    rig.settle()
    assert rig.documents() == docs
    rig.agent = rig.start()
    rig.settle()
    assert condition(rig.vm(), KIND)["reason"] == "FirmwareOutOfDate"
    rig.push({"again.yaml": operation("again", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    assert condition(rig.vm(), KIND) == {}
    assert rig.vm()["status"]["versions"]["qemu"] == "8.0.0"


def test_an_older_version_than_it_runs_on_is_none_that_it_lacks(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    upgrade(rig, "node-1", to="6.0.0")
    assert condition(rig.vm(), KIND) == {}


@pytest.mark.promise("S230", "S235", "S246")
def test_a_machine_moves_by_itself_to_a_node_with_a_newer_version(three: Fleet) -> None:
    before = three.remembered("pt-1", active=True).instance
    upgrade(three, "pt-1", "pt-3")
    assert three.on() == ["pt-3"]
    (made,) = own(three, prefix=PREFIX)
    name = made["metadata"]["name"].removeprefix(PREFIX)
    assert len(name) == 5
    assert set(name) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert made["spec"] == {"type": "Evict", "virtualMachineName": "vm"}
    assert made["status"]["phase"] == "Completed"
    assert "runs on QEMU 7.2.0" in made["metadata"]["annotations"]["gitvirt.io/because"]
    kind = Catalogue.load().kinds["VirtualMachineOperation"]
    row = text(table(kind, [made], now=three.now)).splitlines()
    assert row[0].split() == ["NAME", "PHASE", "TYPE", "VIRTUALMACHINE", "AGE"]
    assert row[1].split()[:4] == [f"{PREFIX}{name}", "Completed", "Evict", "vm"]
    assert three.remembered("pt-3", active=True).instance == before
    assert condition(three.vm(), KIND) == {}
    assert three.vm()["status"]["versions"]["qemu"] == "8.0.0"
    three.now += 2 * 86400
    three.settle()
    assert three.on() == ["pt-3"]
    assert own(three, prefix=PREFIX) == []


def test_a_machine_is_sent_once_for_a_version_however_that_ends(three: Fleet) -> None:
    three.hosts["pt-1"].migration_fails = "the link is down"
    install(three, "pt-1", "pt-2", "pt-3")
    three.go(60, 10.0)
    (made,) = own(three, prefix=PREFIX)
    assert made["status"]["phase"] == "Failed"
    three.hosts["pt-1"].migration_fails = ""
    for _ in range(3):
        three.now += 86400
        three.agent = three.start()
        three.settle()
    assert three.on() == ["pt-1"]
    assert condition(three.vm(), KIND)["status"] == "False"
    assert own(three, prefix=PREFIX) == []
    upgrade(three, "pt-1", "pt-2", to="9.0.0")
    assert three.on() == ["pt-2"]


@pytest.mark.parametrize("why", ["no other", "off by the settings", "only an older one"])
def test_a_machine_stays_where_nobody_wants_it_moved(tmp_path: Path, why: str) -> None:
    rig = fleet(tmp_path, SHARED, 2)
    if why == "off by the settings":
        rig.manner = Manner(firmware_updates=False)
        rig.agent = rig.start()
        rig.settle()
    upgrade(rig, *(rig.hosts if why == "off by the settings" else ["pt-1"]))
    assert rig.on() == ["pt-1"]
    assert own(rig, prefix=PREFIX) == []
    told = condition(rig.vm(), KIND)
    assert told["status"] == "False"
    assert "restart" in told["message"]


@pytest.mark.parametrize("kills", range(1, 24, 3))
def test_a_kill_at_any_pass_makes_no_second_operation(tmp_path: Path, kills: int) -> None:
    rig = fleet(tmp_path, Pools(), 2)
    install(rig, *rig.hosts)
    for _ in range(kills):
        rig.step()
        rig.now += 1
    rig.agent = rig.start()
    rig.settle()
    assert rig.on() == ["pt-2"]
    assert len(own(rig, prefix=PREFIX)) == 1
