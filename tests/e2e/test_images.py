"""Images from the network, with everything that can be wrong with them, and what their users then say."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeStand
from tests.e2e.stand import PATIENCE, Stand, find
from tests.images.server import hangs_after, serve, status
from tests.rig import disk, manifest

MIB = 1024 * 1024
DISK = bytes(510) + b"\x55\xaa" + bytes(4 * MIB - 512)
"""A raw disk of 4 MiB with a boot record."""


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand) -> Iterator[Stand]:
    with make_stand("images") as stand:
        stand.images.routes["/good"] = serve(DISK)
        stand.start()
        yield stand


def image(stand: Stand, name: str, path: str = "/good", **http: Any) -> dict[str, Any]:
    source = {"type": "HTTP", "http": {"url": stand.images.url(path), **http}}
    return manifest("VirtualImage", name, {"storage": "ContainerRegistry", "dataSource": source})


def overlay(name: str, base: str, size: str | None = None) -> dict[str, Any]:
    """A disk made from an image."""
    ref = {"kind": "VirtualImage", "name": base}
    spec: dict[str, Any] = {"dataSource": {"type": "ObjectRef", "objectRef": ref}}
    if size:
        spec["persistentVolumeClaim"] = {"size": size}
    return manifest("VirtualDisk", name, spec)


def machine(name: str) -> dict[str, Any]:
    spec = {
        "virtualMachineClassName": "host",
        "cpu": {"cores": 1},
        "memory": {"size": "64Mi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
    }
    return manifest("VirtualMachine", name, spec)


def complaint(stand: Stand, kind: str, name: str) -> str:
    """What the condition Ready says, once it says something with a reason to fail."""

    def failed() -> str:
        found = find(stand.status(kind, name), "Ready", "False")
        return str(found["message"]) if "Failed" in found.get("reason", "") else ""

    return stand.wait_for(failed, f"a complaint about {kind} {name}")


def asked(stand: Stand, path: str) -> int:
    return sum(1 for each, _ in stand.images.requests if each == path)


def test_an_image_that_comes_later(stand: Stand) -> None:
    stand.images.routes["/later"] = status(404)
    stand.push(
        {
            "later.yaml": [
                image(stand, "later", "/later"),
                overlay("later", "later"),
                machine("later"),
            ]
        }
    )
    assert "404" in complaint(stand, "VirtualImage", "later")
    stand.wait_for(
        lambda: (
            "VirtualImage default/later" in waits(stand, "VirtualDisk", "later", "DatasourceReady")
        ),
        "the disk's word about its image",
    )
    stand.wait_for(
        lambda: (
            "VirtualDisk default/later"
            in waits(stand, "VirtualMachine", "later", "BlockDevicesReady")
        ),
        "the VM's word about its disk",
    )
    assert stand.phase("VirtualMachine", "later") == "Pending"
    assert not stand.runs("later")
    stand.images.routes["/later"] = serve(DISK)
    stand.push(
        {
            "later.yaml": [
                image(stand, "later", "/later?now"),
                overlay("later", "later"),
                machine("later"),
            ]
        }
    )
    stand.wait_for_phase("VirtualMachine", "later", "Running")
    assert stand.phase("VirtualImage", "later") == "Ready"
    assert stand.instances("later") == 1


def waits(stand: Stand, kind: str, name: str, condition: str) -> str:
    return str(find(stand.status(kind, name), condition, "False").get("message", ""))


def test_an_image_that_comes_by_itself(stand: Stand) -> None:
    """A server's trouble passes: nobody has to push anything."""
    stand.images.routes["/busy"] = status(404)
    stand.push({"busy.yaml": image(stand, "busy", "/busy")})
    assert "404" in complaint(stand, "VirtualImage", "busy")
    stand.images.routes["/busy"] = serve(DISK)
    stand.wait_for_phase("VirtualImage", "busy", "Ready")


def test_a_checksum_that_does_not_match(stand: Stand) -> None:
    right = hashlib.sha256(DISK).hexdigest()
    stand.push({"sum.yaml": image(stand, "sum", checksum={"sha256": "0" * 64})})
    message = complaint(stand, "VirtualImage", "sum")
    assert right in message
    assert stand.phase("VirtualImage", "sum") == "Failed"
    before = asked(stand, "/good")
    stand.push({"sum.yaml": image(stand, "sum", checksum={"sha256": right})})
    stand.wait_for_phase("VirtualImage", "sum", "Ready")
    assert asked(stand, "/good") == before + 1
    assert stand.status("VirtualImage", "sum")["size"]["unpackedBytes"] == str(len(DISK))


@pytest.fixture(scope="module")
def with_backing_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A qcow2 image that would show its user a file of the host."""
    path: Path = tmp_path_factory.mktemp("backing") / "overlay.qcow2"
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw"]
    subprocess.run([*command, str(path), "4M"], check=True)
    return path.read_bytes()


def test_files_that_are_no_image_or_too_clever(stand: Stand, with_backing_file: bytes) -> None:
    stand.images.routes["/backing"] = serve(with_backing_file)
    stand.images.routes["/text"] = serve(
        b"<html><body>Not found, but politely</body></html>\n" * 40
    )
    stand.push(
        {
            "bad.yaml": [
                *(image(stand, "backing", "/backing"), overlay("backing", "backing")),
                *(image(stand, "text", "/text"), overlay("text", "text")),
            ]
        }
    )
    assert "backing file" in complaint(stand, "VirtualImage", "backing")
    assert "no disk image" in complaint(stand, "VirtualImage", "text")
    for name in ("backing", "text"):
        assert stand.phase("VirtualImage", name) == "Failed"
        stand.wait_for(
            lambda name=name: (
                f"default/{name}" in waits(stand, "VirtualDisk", name, "DatasourceReady")
            ),  # type: ignore[misc]
            "the disk's word about its image",
        )
        assert stand.volumes(f"disk_default_{name}_*") == []
        assert asked(stand, f"/{name}") == 1
    assert list((stand.folder / "data" / "spool").iterdir()) == []


def test_a_disk_smaller_than_its_image(stand: Stand) -> None:
    stand.push({"small.yaml": [image(stand, "small"), overlay("small", "small", "2Mi")]})
    message = complaint(stand, "VirtualDisk", "small")
    assert "2Mi" in message
    assert "4Mi" in message
    assert stand.volumes("disk_default_small_*") == []
    stand.push({"small.yaml": [image(stand, "small"), overlay("small", "small", "6Mi")]})
    stand.wait_for_phase("VirtualDisk", "small", "Ready")
    assert stand.status("VirtualDisk", "small")["capacity"] == "6Mi"


def test_equal_images_are_stored_once(stand: Stand) -> None:
    stand.push({"twins.yaml": [image(stand, "one"), image(stand, "two")]})
    for name in ("one", "two"):
        stand.wait_for_phase("VirtualImage", name, "Ready")
    digest = hashlib.sha256(DISK).hexdigest()
    assert [path.name for path in stand.volumes("image_*")] == [f"images_image_{digest}.raw"]


def test_a_download_that_stalls_delays_nobody_else(stand: Stand) -> None:
    reached = threading.Event()
    stand.images.routes["/stalls"] = hangs_after(DISK[:MIB], reached)
    stalled = [image(stand, "stalls", "/stalls"), overlay("stalls", "stalls"), machine("stalls")]
    stand.push({"stalls.yaml": stalled})
    assert reached.wait(PATIENCE), "the agent asked for no image"
    stand.push({"quick.yaml": [disk("quick", "8Mi"), machine("quick")]})
    stand.wait_for_phase("VirtualMachine", "quick", "Running")
    assert stand.phase("VirtualImage", "stalls") == "Provisioning"
    assert stand.phase("VirtualMachine", "stalls") == "Pending"
    stand.push({"stalls.yaml": None})
    stand.wait_for(lambda: not stand.object("VirtualMachine", "stalls"), "the end of what waited")
