"""Machines that leave a node that is short of memory, where the settings say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.migrating import Manner
from tests.product.test_evacuation import mark, own
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.rig import condition, disk, machine

GIB = 1 << 30


def memory(rig: Fleet, name: str, size: int) -> None:
    """Its memory is another one by now."""
    host = rig.hosts[name]
    host.disconnect()
    host.node = replace(host.node, memory=size)
    host.reconnect()


def two(folder: Path, *, wanted: bool = True) -> Fleet:
    """Two machines of a GiB each on pt-1, which has room for both, and then no more."""
    rig = fleet(folder, SHARED, 3)
    rig.manner = Manner(load_shifting=wanted)
    rig.agent = rig.start()
    only = {"kubernetes.io/hostname": "pt-1"}
    rig.push(
        {
            "vm.yaml": [machine(memory={"size": "1Gi"}, nodeSelector=only), disk()],
            "other.yaml": [
                machine("other", disks=("other",), memory={"size": "1Gi"}, nodeSelector=only),
                disk("other"),
            ],
        }
    )
    rig.settle()
    rig.push(
        {
            "vm.yaml": [machine(memory={"size": "1Gi"}), disk()],
            "other.yaml": [
                machine("other", disks=("other",), memory={"size": "1Gi"}),
                disk("other"),
            ],
        }
    )
    rig.settle()
    assert (rig.on(), rig.on("other")) == (["pt-1"], ["pt-1"])
    return rig


@pytest.mark.promise("S231", "S236")
def test_a_machine_leaves_a_node_that_is_short_of_memory(tmp_path: Path) -> None:
    rig = two(tmp_path)
    assert own(rig) == []
    memory(rig, "pt-1", 2 * GIB)
    rig.settle()
    homes = sorted((*rig.on(), *rig.on("other")))
    assert homes[0] == "pt-1"
    assert homes[1] in ("pt-2", "pt-3")
    (made,) = own(rig)
    assert made["spec"]["type"] == "Evict"
    assert made["status"]["phase"] == "Completed"
    because = made["metadata"]["annotations"]["gitvirt.io/because"]
    assert because == f"Node pt-1 is short of memory, and node {homes[1]} is not."
    docs = rig.documents()
    rig.now += 3000
    rig.settle()
    assert rig.documents() == docs


def test_it_stays_where_nobody_wants_that(tmp_path: Path) -> None:
    rig = two(tmp_path, wanted=False)
    memory(rig, "pt-1", 2 * GIB)
    rig.settle()
    assert (rig.on(), rig.on("other")) == (["pt-1"], ["pt-1"])
    assert own(rig) == []


def test_it_stays_where_all_are_short(tmp_path: Path) -> None:
    rig = two(tmp_path)
    for name in rig.hosts:
        memory(rig, name, 2 * GIB if name == "pt-1" else GIB)
    rig.settle()
    assert (rig.on(), rig.on("other")) == (["pt-1"], ["pt-1"])
    assert own(rig) == []


def test_it_says_meanwhile_why_it_goes(tmp_path: Path) -> None:
    rig = two(tmp_path)
    said: list[dict[str, Any]] = []

    def look(what: str) -> None:
        if what == "incoming":
            for _ in range(4):
                rig.agent.reconciler.run()
                rig.step_others()
            said.extend(condition(rig.vm(each), "Migrating") for each in ("vm", "other"))

    rig.hosts["pt-1"].at_stage = look
    memory(rig, "pt-1", 2 * GIB)
    rig.settle()
    (goes,) = filter(None, said)
    assert "short of memory" in goes["message"]


def test_nobody_goes_twice_within_ten_minutes(tmp_path: Path) -> None:
    rig = two(tmp_path)
    memory(rig, "pt-1", 2 * GIB)
    rig.settle()
    (moved,) = (each for each in ("vm", "other") if rig.on(each) != ["pt-1"])
    (home,) = rig.on(moved)
    memory(rig, home, GIB // 2)
    rig.go(59, 10.0)
    assert rig.on(moved) == [home]
    rig.go(30, 10.0)
    assert rig.on(moved) not in ([home], ["pt-1"])


@pytest.mark.parametrize("kills", range(1, 24, 3))
def test_a_kill_at_any_pass_moves_nobody_twice(tmp_path: Path, kills: int) -> None:
    rig = two(tmp_path)
    memory(rig, "pt-1", 2 * GIB)
    for _ in range(kills):
        rig.step()
        rig.now += 1
    rig.agent = rig.start()
    rig.settle()
    homes = [*rig.on(), *rig.on("other")]
    assert len(homes) == 2
    assert homes.count("pt-1") == 1
    assert len(own(rig)) == 1


def test_a_drained_node_takes_nobody_in(tmp_path: Path) -> None:
    rig = two(tmp_path)
    mark(rig, name="pt-2")
    memory(rig, "pt-1", 2 * GIB)
    rig.settle()
    assert sorted((*rig.on(), *rig.on("other"))) == ["pt-1", "pt-3"]
