"""Whoever or whatever has a running machine moved: it is an operation that does it, and the list of operations shows that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.migrating import Manner
from tests.product.test_evacuation import mark
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.product.test_placement import node
from tests.rig import condition, disk, machine


def replaced(rig: Fleet, name: str, **fields: Any) -> None:
    host = rig.hosts[name]
    host.disconnect()
    host.node = replace(host.node, **fields)
    host.reconnect()


def by_hand(rig: Fleet) -> None:
    rig.ask()


def drained(rig: Fleet) -> None:
    mark(rig)


def elsewhere(rig: Fleet) -> None:
    spec = machine(nodeSelector={"group": "blue"})
    rig.push({"vm.yaml": [spec, disk()], "nodes.yaml": [node("pt-2", group="blue")]})


def newer(rig: Fleet) -> None:
    for name in rig.hosts:
        replaced(rig, name, qemu_version="8.0.0")


def short(rig: Fleet) -> None:
    replaced(rig, "pt-1", memory=64 << 20)


CAUSES = {
    "move": by_hand,
    "evacuation-": drained,
    "nodeplacement-update-": elsewhere,
    "firmware-update-": newer,
    "evacuation-*": short,
}


@pytest.mark.promise("S229", "S234")
@pytest.mark.parametrize("prefix", CAUSES)
def test_every_move_is_begun_by_an_operation_of_type_evict(tmp_path: Path, prefix: str) -> None:
    rig = fleet(tmp_path, SHARED, 2)
    rig.manner = Manner(load_shifting=True)
    rig.agent = rig.start()
    rig.settle()
    cause: Callable[[Fleet], None] = CAUSES[prefix]
    cause(rig)
    rig.go(40)
    assert rig.on() == ["pt-2"]
    folder = "namespaces/default/virtualmachineoperations/"
    paths = [path for path in rig.documents() if path.startswith(folder)]
    (made,) = (rig.document(path) for path in paths)
    assert made["metadata"]["name"].startswith(prefix.removesuffix("*"))
    assert made["spec"]["type"] == "Evict"
    assert made["status"]["phase"] == "Completed"
    assert len(rig.hosts["pt-1"].orders) == 1


@pytest.mark.promise("S239")
def test_an_operation_is_pending_until_its_turn_comes(tmp_path: Path) -> None:
    rig = fleet(tmp_path, SHARED, 2)
    rig.push({"other.yaml": [machine("other", disks=("other",)), disk("other")]})
    rig.settle()
    if rig.on("other") != ["pt-1"]:
        rig.ask(name="first", vm="other")
        rig.settle()
    assert (rig.on(), rig.on("other")) == (["pt-1"], ["pt-1"])
    seen = []

    def look(stage: str) -> None:
        if stage == "incoming":
            for _ in range(4):
                rig.agent.reconciler.run()
                rig.step_others()
            for name in ("one", "two"):
                reason = condition(rig.vmop(name), "Completed")["reason"]
                seen.append((rig.vmop(name)["status"]["phase"], reason))

    rig.hosts["pt-1"].at_stage = look
    rig.ask(name="one", vm="other")
    rig.ask(name="two")
    rig.settle()
    assert seen[0][0] == "InProgress"
    assert seen[1] == ("Pending", "MigrationPending")
    assert (rig.on(), rig.on("other")) == (["pt-2"], ["pt-2"])
