"""What people and backup tools do to a domain with virsh, while the agent works beside them.

The machines have no system: their firmware finds nothing to boot, and costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from agent.core.domain_xml import parse
from agent.core.model import Json
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand, find
from tests.rig import disk, manifest

SILENTLY = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
)


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand) -> Iterator[Stand]:
    with make_stand("byhand") as stand:
        stand.start()
        yield stand


def machine(name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    whole = {
        "virtualMachineClassName": "host",
        "cpu": {"cores": 1},
        "memory": {"size": "64Mi"},
        "terminationGracePeriodSeconds": 0,
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
    }
    return manifest("VirtualMachine", name, {**whole, **spec}, labels=labels or {})


def source(stand: Stand, name: str, flags: int = 0) -> str:
    """The file that a machine's disk lies on."""
    root = parse(stand.domain(name).XMLDesc(flags))
    (found,) = root.findall("devices/disk[@device='disk']/source")
    return str(found.get("file"))


def snapshot(stand: Stand, name: str, path: Path) -> None:
    xml = (
        "<domainsnapshot><disks><disk name='sda' snapshot='external'>"
        f"<source file='{path}'/></disk></disks></domainsnapshot>"
    )
    stand.domain(name).snapshotCreateXML(xml, SILENTLY)


@pytest.mark.parametrize("state", ["running", "off"])
def test_a_push_after_a_snapshot_keeps_what_is_written_since(stand: Stand, state: str) -> None:
    name = f"kept-{state}"
    stand.push({f"{name}.yaml": [machine(name), disk(name, "16Mi")]})
    stand.wait_for_phase("VirtualMachine", name, "Running")
    if state == "off":
        stand.gitvirt("stop", name, "--force", "--wait")
    layer = stand.folder / f"{name}.layer"
    snapshot(stand, name, layer)
    revision = stand.push(
        {f"{name}.yaml": [machine(name, labels={"a": "b"}, cpu={"cores": 2}), disk(name, "16Mi")]}
    )
    stand.wait_for(lambda: stand.applied(revision), "the change")
    assert source(stand, name, libvirt.VIR_DOMAIN_XML_INACTIVE) == str(layer)
    stand.gitvirt("restart" if state == "running" else "start", name, "--wait")
    assert source(stand, name) == str(layer)
    # and it is not forgotten when the machine is deleted
    revision = stand.push({f"{name}.yaml": disk(name, "16Mi")})
    said = stand.wait_for_condition("VirtualMachine", name, "Terminating")
    assert str(layer) in said["message"]
    assert stand.runs(name)
    domain = stand.domain(name)
    # what the condition tells to do, to the letter
    (base,) = re.findall(r"virsh blockcommit \S+ sda --base (\S+) --active", said["message"])
    active = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
    domain.blockCommit("sda", base, None, 0, active)  # type: ignore[arg-type]  # None is the top

    def merged() -> bool:
        job: Json = domain.blockJobInfo("sda", 0)
        return bool(job and job["cur"] == job["end"] and job["end"] > 0)

    stand.wait_for(merged, "the merge")
    domain.blockJobAbort("sda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    stand.wait_for(lambda: not stand.object("VirtualMachine", name), "the end of the machine")
    assert not find(stand.status("VirtualDisk", name), "Terminating")


def test_what_is_plugged_in_by_hand_is_told_as_that_and_a_restart_undoes_it(stand: Stand) -> None:
    stand.push({"plugged.yaml": [machine("plugged"), disk("plugged", "16Mi")]})
    stand.wait_for_phase("VirtualMachine", "plugged", "Running")
    image = stand.folder / "plugged.img"
    image.write_bytes(bytes(2**20))
    domain = stand.domain("plugged")
    domain.attachDeviceFlags(
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'/>"
        "<target dev='sdz' bus='scsi'/></disk>",
        libvirt.VIR_DOMAIN_AFFECT_LIVE,
    )
    told = stand.wait_for_condition("VirtualMachine", "plugged", "DriftDetected")["message"]
    assert told == "The running instance was changed by hand: disk sdz added; a restart undoes it."
    stand.gitvirt("restart", "plugged", "--wait")
    stand.wait_for(
        lambda: not find(stand.status("VirtualMachine", "plugged"), "DriftDetected"),
        "the end of it",
    )
    assert source(stand, "plugged") != str(image)
