"""A machine that has run before waits again for what it needs, when it is started and when it is restarted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from tests.images.server import Faulty, serve
from tests.rig import OPERATIONS, Rig, condition, disk, machine, manifest, operation

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "late"},
    "type": "provisioning.virtualization.deckhouse.io/cloud-init",
    "data": {"userData": "I2Nsb3VkLWNvbmZpZwo="},
}
IMAGE = "/late.img"


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as found:
        found.routes[IMAGE] = serve(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
        yield found


def image(server: Faulty, kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"dataSource": {"type": "HTTP", "http": {"url": server.url(IMAGE)}}}
    if kind == "VirtualImage":
        spec["storage"] = "ContainerRegistry"
    return manifest(kind, "late", spec)


def refs(kind: str) -> dict[str, Any]:
    names = (("VirtualDisk", "root"), (kind, "late"))
    return {"blockDeviceRefs": [{"kind": kind, "name": name} for kind, name in names]}


NEEDS: dict[str, tuple[dict[str, Any], str]] = {
    "VirtualDisk": (refs("VirtualDisk"), "BlockDevicesReady"),
    "VirtualImage": (refs("VirtualImage"), "BlockDevicesReady"),
    "ClusterVirtualImage": (refs("ClusterVirtualImage"), "BlockDevicesReady"),
    "VirtualMachineClass": ({"virtualMachineClassName": "late"}, "VirtualMachineClassReady"),
    "Secret": (
        {
            "provisioning": {
                "type": "UserDataRef",
                "userDataRef": {"kind": "Secret", "name": "late"},
            }
        },
        "ProvisioningReady",
    ),
}
"""What a machine may lack, with a spec that needs it and the condition that tells of it."""


def late(kind: str, server: Faulty) -> dict[str, Any]:
    """What was missing."""
    match kind:
        case "VirtualDisk":
            return disk("late")
        case "VirtualMachineClass":
            return manifest(kind, "late", {"cpu": {"type": "Host"}})
        case "Secret":
            return SECRET
    return image(server, kind)


def ask(rig: Rig, name: str, kind: str) -> None:
    rig.push({f"{name}.yaml": operation(name, "vm", kind)}, OPERATIONS)
    rig.settle()


def waits(rig: Rig, kind: str) -> None:
    """It is Pending, and one condition says for what."""
    assert rig.vm()["status"]["phase"] == "Pending"
    lacking = [
        each["type"]
        for each in rig.vm()["status"]["conditions"]
        if each["type"].endswith("Ready") and each["status"] == "False"
    ]
    assert lacking == [NEEDS[kind][1]]
    assert "late" in condition(rig.vm(), NEEDS[kind][1])["message"]
    assert not rig.running()


@pytest.mark.promise("S32", "S33", "S34")
@pytest.mark.parametrize("kind", NEEDS)
@pytest.mark.parametrize("new", [True, False], ids=["new", "stopped"])
def test_a_start_waits_for_what_it_needs(rig: Rig, server: Faulty, kind: str, new: bool) -> None:
    spec = NEEDS[kind][0]
    if not new:
        rig.push({"vm.yaml": [disk(), machine()]})
        rig.settle()
        ask(rig, "stop", "Stop")
    rig.push({"vm.yaml": [disk(), machine(**spec)]})
    rig.settle()
    if not new:
        assert rig.vm()["status"]["phase"] == "Stopped"
        ask(rig, "start", "Start")
        assert rig.vmop("start")["status"]["phase"] == "InProgress"
    waits(rig, kind)
    rig.push({"late.yaml": late(kind, server)})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"
    assert condition(rig.vm(), NEEDS[kind][1])["status"] == "True"
    assert condition(rig.vm(), NEEDS[kind][1])["message"] == ""


@pytest.mark.promise("S32")
@pytest.mark.parametrize("kind", ["VirtualImage", "ClusterVirtualImage"])
def test_a_restart_waits_for_an_image_that_has_gone_meanwhile(
    rig: Rig, server: Faulty, kind: str
) -> None:
    rig.push({"vm.yaml": [disk(), image(server, kind), machine(**NEEDS[kind][0])]})
    rig.settle()
    assert rig.running()
    (name,) = [name for name in rig.host.pools["gitvirt"] if "_image_" in name]
    rig.host.guest_obeys = False
    rig.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    rig.agent.reconciler.look_at_git()
    for _ in range(3):
        rig.step()
    assert rig.vm()["status"]["phase"] == "Stopping"
    rig.downloads = deque()
    rig.host.delete_volume("gitvirt", name)
    rig.host._tell("", "connected")
    rig.now += 600
    for _ in range(10):
        rig.step()
    print(rig.vm()["status"])
    waits(rig, kind)
    while rig.downloads:
        rig.downloads.popleft()()
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"
    assert rig.vmop("op")["status"]["phase"] == "Completed"
