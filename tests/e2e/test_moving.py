"""A disk changes its class under a guest that goes on writing, and while that is off."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand
from tests.images.server import serve
from tests.rig import manifest

VM, POOL = "mover", "e2e-moves"
SIZE = "32M"
WRITING = """#cloud-config
runcmd:
- mkdir -p /mnt/data
- for each in /dev/sd?; do mount -t ext4 $each /mnt/data && break; done
- echo "began with $(wc -l </mnt/data/log)"
- (n=0; while n=$((n + 1)); do echo $n >>/mnt/data/log; sync; [ $((n % 20)) = 0 ] && echo "written $n"; done) &
"""
_WRITTEN = re.compile(r"written ([0-9]+)\n")
_BEGAN = re.compile(r"began with ([0-9]+)")


def storage_class(name: str, pool: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "gitvirt.io",
        "parameters": {"pool": pool},
        "allowVolumeExpansion": True,
    }


def data(its_class: str) -> dict[str, Any]:
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "data"}}
    claim = {"storageClassName": its_class}
    return manifest("VirtualDisk", "data", {"dataSource": source, "persistentVolumeClaim": claim})


def machine(policy: str) -> dict[str, Any]:
    spec = {
        "virtualMachineClassName": "generic",
        "runPolicy": policy,
        "cpu": {"cores": 1},
        "memory": {"size": "128Mi"},
        "provisioning": {"type": "UserData", "userData": WRITING},
        "blockDeviceRefs": [
            {"kind": "VirtualDisk", "name": "root"},
            {"kind": "VirtualDisk", "name": "data"},
        ],
    }
    return manifest("VirtualMachine", VM, spec)


def written(stand: Stand) -> int:
    """Lines that the guest has written since its last boot, at least."""
    console = stand.console(VM).rpartition("began with")[2]
    return max((int(each) for each in _WRITTEN.findall(console)), default=0)


def goes_on(stand: Stand, more: int = 40) -> int:
    before = written(stand)
    return stand.wait_for(
        lambda: (now := written(stand)) > before + more and now, "a guest that goes on writing"
    )


def lies_in(stand: Stand, its_class: str, pool: Path) -> None:
    def moved() -> bool:
        status = stand.status("VirtualDisk", "data")
        found = (status["phase"], status["storageClassName"])
        return found == ("Ready", its_class)

    stand.wait_for(moved, f"a disk in class {its_class}")
    xml = stand.domain(VM).XMLDesc(0)
    (source,) = re.findall(
        rf"source file='({re.escape(str(pool))}/[^']*_disk_default_data_[^']*)'", xml
    )
    assert Path(source).exists()


@pytest.fixture(scope="module")
def stand(
    make_stand: MakeStand, guest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("data")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(folder / "data.raw"), SIZE], check=True)
    with make_stand("moves") as stand:
        stand.config = folder / "config.yaml"
        stand.config.write_text(f"pools:\n  second: {{pool: {POOL}}}\n")
        objects = [storage_class("first", "gitvirt"), storage_class("second", "second")]
        for name, content in {"guest": guest, "data": (folder / "data.raw").read_bytes()}.items():
            stand.images.routes[f"/{name}"] = serve(content)
            http = {"url": stand.images.url(f"/{name}")}
            source = {"type": "HTTP", "http": http}
            spec = {"storage": "ContainerRegistry", "dataSource": source}
            objects.append(manifest("VirtualImage", name, spec))
        from_guest = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "guest"}}
        objects.append(manifest("VirtualDisk", "root", {"dataSource": from_guest}))
        second = Path(stand.host.ensure_pool(POOL))
        stand.push(
            {"all.yaml": objects, "data.yaml": data("first"), "vm.yaml": machine("AlwaysOn")}
        )
        stand.start()
        stand.wait_for_phase("VirtualMachine", VM, "Running")
        yield stand
        stand.kill()
        if VM in {name.rpartition(".")[2] for name in stand.domains()} and stand.runs(VM):
            stand.domain(VM).destroy()
        for path in second.glob("moves_*"):
            path.unlink()


def test_a_guest_keeps_all_that_it_writes_while_its_disk_moves_and_when_it_is_off(
    stand: Stand,
) -> None:
    second = Path(stand.host.ensure_pool(POOL))
    goes_on(stand)
    pid = stand.qemu_pid(VM)
    stand.push({"data.yaml": data("second")})
    lies_in(stand, "second", second)
    assert stand.qemu_pid(VM) == pid
    lines = goes_on(stand)
    stand.push({"vm.yaml": machine("AlwaysOff")})
    stand.wait_for_phase("VirtualMachine", VM, "Stopped")
    stand.push({"data.yaml": data("first")})
    lies_in(stand, "first", stand.pool)
    stand.push({"vm.yaml": machine("AlwaysOn")})
    stand.wait_for_phase("VirtualMachine", VM, "Running")
    found = stand.wait_for(
        lambda: _BEGAN.findall(stand.console(VM)), "a guest that finds what it had written"
    )
    assert int(found[0]) >= lines
