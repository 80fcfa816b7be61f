"""Three hosts, of which one is emptied while its guest counts and is reached at its address."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_moving import storage_class
from tests.rig import machine, manifest, settings
from tests.system.fleet import GUESTS, Fleet
from tests.system.test_migration import guest, objects  # noqa: F401

HOST = "kubernetes.io/hostname"
WATCHED = re.compile(r"vm +([A-Z][a-z]+) +(pt-[123]) +([0-9.]+) +[0-9]+[a-z0-9]*\n")
Line = tuple[str, str, str]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet(3, shared=True)
    try:
        yield made
    finally:
        made.close()


def node(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def beside(app: str, *, apart: bool) -> dict[str, Any]:
    """An affinity: on a host with machines of that label, or on one without them."""
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": HOST}
    kind = "virtualMachineAndPodAntiAffinity" if apart else "virtualMachineAndPodAffinity"
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def counting(fleet: Fleet, guest: bytes, **spec: Any) -> list[dict[str, Any]]:  # noqa: F811
    """The machine that counts, all of it in the folder in common."""
    made = objects(fleet, guest, "nfs")
    for each in made:
        if each["kind"] == "VirtualDisk":
            each["spec"]["persistentVolumeClaim"] = {"storageClassName": "nfs"}
    made[-1]["spec"] |= spec
    made[-1]["metadata"]["labels"] = {"app": "counts"}
    return made


def other(**spec: Any) -> list[dict[str, Any]]:
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "guest"}}
    claim = {"storageClassName": "nfs"}
    disk = manifest("VirtualDisk", "other", {"dataSource": source, "persistentVolumeClaim": claim})
    small: dict[str, Any] = {"virtualMachineClassName": "generic", "memory": {"size": "128Mi"}}
    return [disk, machine("other", disks=("other",), **small, **spec)]


@contextmanager
def watching(fleet: Fleet) -> Iterator[Path]:
    """The lines of `gitvirt get vm vm -w`, as they come."""
    said = fleet.folder / "watched"
    with said.open("wb") as file:
        command = [sys.executable, "-m", "agent", "get", "vm", "vm", "-w"]
        watcher = subprocess.Popen(command, env=fleet.environment, stdout=file)
        try:
            yield said
        finally:
            watcher.kill()
            watcher.wait()


def lines(said: Path) -> list[Line]:
    """Phase, node and address of each line that differs from the one before."""
    found: list[Line] = WATCHED.findall(said.read_text())
    return [each for each, _ in groupby(found)]


def own(fleet: Fleet) -> list[str]:
    """Operations that the agent has made for the machine, those that have come to a good end."""
    listed = fleet.gitvirt("get", "vmop", "--no-headers")
    return re.findall(r"^(\S+) +Completed +Evict +vm ", listed, re.MULTILINE)


@pytest.mark.promise("S250", "S252", "S253", "S258")
def test_a_host_is_emptied_and_used_again_while_its_guest_counts(
    fleet: Fleet,
    guest: bytes,  # noqa: F811
) -> None:
    base = [settings(GUESTS), storage_class("nfs", "nfs")]
    nodes = [node("pt-1", group="green"), node("pt-2", group="blue"), node("pt-3", group="blue")]
    start = {HOST: "pt-1"}
    fleet.push(
        {
            "fleet.yaml": [*base, *nodes],
            "vm.yaml": counting(fleet, guest, nodeSelector=start),
        }
    )
    fleet.start()
    fleet.wait_for(lambda: fleet.vm().get("nodeName"), "a node for the machine")
    fleet.push({"other.yaml": other(affinity=beside("counts", apart=True))})
    fleet.wait_for(lambda: fleet.on("other"), "the other one")
    fleet.wait_for(lambda: len(fleet.ticks("pt-1")) > 5, "a guest that counts")
    (beyond,) = fleet.on("other")
    (free,) = {"pt-2", "pt-3"} - {beyond}  # the only one that both rules leave
    address = fleet.vm()["ipAddress"]
    assert fleet.machines[0].reaches(address)

    # a selector that its host fits moves nothing
    fleet.push({"vm.yaml": counting(fleet, guest, nodeSelector={"group": "green"})})
    fleet.wait_for(lambda: "green" in fleet.gitvirt("get", "vm", "vm", "-o", "yaml"), "the rule")
    fleet.push({"vm.yaml": counting(fleet, guest)})
    before = fleet.ticks("pt-1")[-1]
    with watching(fleet) as said:
        fleet.wait_for(lambda: lines(said), "the watcher")
        drained = fleet.gitvirt("drain", "pt-1", "--ignore-daemonsets", "--delete-emptydir-dat")
        assert drained.splitlines() == [
            "node/pt-1 cordoned",
            "evicting virtualmachine default/vm",
            "virtualmachine default/vm evicted",
            "node/pt-1 drained",
        ]
        moved = [
            ("Running", "pt-1", address),
            ("Migrating", "pt-1", address),
            ("Running", free, address),
        ]
        fleet.wait_for(lambda: len(lines(said)) >= len(moved), "the watched lines")
        assert lines(said) == moved
    assert said.read_text().split("\n")[0].split() == ["NAME", "PHASE", "NODE", "IPADDRESS", "AGE"]
    goes_on(fleet, free, before, address)
    (made,) = fleet.wait_for(lambda: own(fleet), "the end of its operation")
    assert made.startswith("evacuation-")
    assert "pt-1   Ready,SchedulingDisabled" in fleet.gitvirt("get", "nodes")

    # free again, it is gone to where rules ask for it
    assert fleet.gitvirt("uncordon", "pt-1") == "node/pt-1 uncordoned\n"
    before = fleet.ticks(free)[-1]
    fleet.push({"vm.yaml": counting(fleet, guest, nodeSelector={"group": "green"})})
    fleet.wait_for(lambda: fleet.vm().get("nodeName") == "pt-1", "the machine back")
    goes_on(fleet, "pt-1", before, address)
    fleet.wait_for(lambda: len(own(fleet)) == 2, "the end of its operation")
    assert {each.rpartition("-")[0] for each in own(fleet)} == {
        "evacuation",
        "nodeplacement-update",
    }

    # the other one wants to be beside it now
    fleet.push({"other.yaml": other(affinity=beside("counts", apart=False))})
    fleet.wait_for(lambda: fleet.on("other") == ["pt-1"], "both on one host")
    fleet.wait_for(lambda: fleet.vm("other")["nodeName"] == "pt-1", "its status")
    assert fleet.on() == ["pt-1"]


def goes_on(fleet: Fleet, at: str, before: tuple[int, int], address: str) -> None:
    """The guest was not booted, counts on there, and is reached."""
    fleet.wait_for(lambda: fleet.on() == [at], "a guest there")
    count, up = fleet.wait_for(lambda: fleet.ticks(at)[-1:], "a guest that goes on")[0]
    assert count > before[0]
    assert up >= before[1]
    assert "began with" not in fleet.console(at)
    assert fleet.vm()["ipAddress"] == address
    fleet.wait_for(lambda: fleet.machines[0].reaches(address), "an answer from its address")
