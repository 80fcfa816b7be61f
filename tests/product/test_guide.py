"""What a manifest of a VirtualMachine carries, and what becomes of each part."""

from __future__ import annotations

import base64
import io
from typing import Any

import pycdlib
import pytest
from lxml import etree

from agent.core.identity import serial
from agent.images.seed import nocloud
from tests.images.server import Faulty, serve
from tests.memory_host import MemoryHost
from tests.rig import MAIN, OPERATIONS, Rig, condition, disk, machine, manifest, operation

CLOUD_CONFIG = """\
#cloud-config
# as it stands here, with its comment and its two blanks  behind the words
package_update: true
packages: [nginx, qemu-guest-agent]
run_cmd:
  - [systemctl, enable, --now, nginx]
final_message: "ready after $UPTIME, {{ ds }}, %s and `date`"
"""
BOOT_SECTOR = bytes(510) + b"\x55\xaa"


def definition(rig: Rig, name: str = "vm") -> etree._Element:
    """Of the instance that runs."""
    raw = rig.host.read_domain(rig.uuid(name))
    assert raw is not None
    return etree.fromstring(raw.active_xml)


def said(rig: Rig) -> list[tuple[str, str]]:
    """Path and message of every problem."""
    return [(each.path, each.message) for each in rig.agent.reconciler.summary().problems]


# -- the object ---------------------------------------------------------------------------------


@pytest.mark.promise("S1")
def test_one_kind_of_one_version_makes_a_machine(rig: Rig) -> None:
    strange: dict[str, Any] = {**machine("strange"), "apiVersion": "kubevirt.io/v1"}
    older: dict[str, Any] = {
        **machine("older"),
        "apiVersion": "virtualization.deckhouse.io/v1alpha1",
    }
    other: dict[str, Any] = {**machine("other"), "kind": "VirtualMachinery"}
    rig.push({"a.yaml": [disk(), machine()], "b.yaml": [strange, older, other]})
    rig.settle()
    found = rig.vm()
    assert found["apiVersion"] == "virtualization.deckhouse.io/v1alpha2"
    assert found["kind"] == "VirtualMachine"
    assert rig.running()
    for name in ("strange", "older", "other"):
        assert rig.host.read_domain(rig.uuid(name)) is None


@pytest.mark.promise("S2", "S10")
def test_the_class_that_a_machine_names_gives_it_its_cpu(rig: Rig) -> None:
    models = {"first": "Nehalem", "second": "Westmere"}
    classes = [
        manifest("VirtualMachineClass", name, {"cpu": {"type": "Model", "model": model}})
        for name, model in models.items()
    ]
    rig.push({"vm.yaml": [disk(), *classes, machine(virtualMachineClassName="second")]})
    rig.settle()
    assert rig.vm()["spec"]["virtualMachineClassName"] == "second"
    assert definition(rig).findtext("cpu/model") == "Westmere"


@pytest.mark.promise("S3", "S8", "S187", "S188", "S189", "S193")
def test_a_machine_has_its_cores_its_memory_its_disks_and_its_images(rig: Rig) -> None:
    """A disk is written to, an image only read: as a CD-ROM if it is an ISO image."""
    refs = [
        {"kind": "VirtualDisk", "name": "root"},
        {"kind": "VirtualImage", "name": "tools"},
        {"kind": "VirtualImage", "name": "base"},
        {"kind": "ClusterVirtualImage", "name": "tools"},
        {"kind": "ClusterVirtualImage", "name": "base"},
        {"kind": "VirtualDisk", "name": "data"},
    ]
    spec: dict[str, Any] = {
        "cpu": {"cores": 3},
        "memory": {"size": "768Mi"},
        "blockDeviceRefs": refs,
    }
    with Faulty() as server:
        server.routes["/tools.iso"] = serve(nocloud({}, ""))
        server.routes["/base.img"] = serve(BOOT_SECTOR + bytes(1024**2))
        sources = {
            path[1:-4]: {"dataSource": {"type": "HTTP", "http": {"url": server.url(path)}}}
            for path in server.routes
        }
        kinds: dict[str, dict[str, Any]] = {
            "VirtualImage": {"storage": "ContainerRegistry"},
            "ClusterVirtualImage": {},
        }
        images = [
            manifest(kind, name, {**source, **more})
            for kind, more in kinds.items()
            for name, source in sources.items()
        ]
        rig.push(
            {"rest.yaml": [disk(), disk("data"), *images], "vm.yaml": machine(**spec)},
        )
        rig.settle()
    root = definition(rig)
    assert root.findtext("vcpu") == "3"
    assert root.findtext("memory") == str(768 * 1024)
    listed = rig.vm()["status"]["blockDeviceRefs"]
    assert [{"kind": each["kind"], "name": each["name"]} for each in listed] == refs
    assert all(each["attached"] for each in listed)
    devices = root.findall("devices/disk")
    assert [(each.get("device"), bool(each.findall("readonly"))) for each in devices] == [
        *(("disk", False), ("cdrom", True), ("disk", True)),
        *(("cdrom", True), ("disk", True), ("disk", False)),
    ]
    assert len({each.findtext("serial") for each in devices}) == len(refs)
    paths = {source.get("file") for source in root.iterfind("devices/disk/source")}
    assert len(paths) == 4  # equal images share their data
    assert paths <= {each.path for each in rig.host.pools["gitvirt"].values()}


@pytest.mark.promise("S5")
def test_firmware_operating_system_and_paravirtualization(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    plain = definition(rig)
    assert plain.find("os").get("firmware") is None  # type: ignore[union-attr]
    assert plain.find("features/hyperv") is None
    assert plain.find("devices/disk/target").get("bus") == "scsi"  # type: ignore[union-attr]
    spec: dict[str, Any] = {
        "bootloader": "EFI",
        "osType": "Windows",
        "enableParavirtualization": False,
    }
    rig.push({"vm.yaml": [disk(), machine(**spec)]})
    rig.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    chosen = definition(rig)
    assert chosen.find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    assert chosen.find("features/hyperv") is not None
    assert chosen.find("devices/disk/target").get("bus") == "sata"  # type: ignore[union-attr]


@pytest.mark.promise("S6")
@pytest.mark.parametrize("approval", ["Manual", "Automatic"])
@pytest.mark.parametrize("policy", ["AlwaysOn", "AlwaysOnUnlessStoppedManually", "Manual"])
def test_when_it_starts_and_when_it_may_restart_are_two_policies(
    rig: Rig, policy: str, approval: str
) -> None:
    policies: dict[str, Any] = {
        "runPolicy": policy,
        "disruptions": {"restartApprovalMode": approval},
    }
    rig.push({"vm.yaml": [disk(), machine(**policies)]})
    rig.settle()
    assert rig.running() is (policy != "Manual")
    rig.push({"op.yaml": operation("op", "vm", "Start")}, OPERATIONS)
    rig.settle()
    first = rig.memory(active=True).instance
    rig.push({"vm.yaml": [disk(), machine(**policies, cpu={"cores": 2})]})
    rig.settle()
    restarted = approval == "Automatic"
    assert (rig.memory(active=True).instance != first) is restarted
    assert definition(rig).findtext("vcpu") == ("2" if restarted else "1")


# -- block devices ------------------------------------------------------------------------------


@pytest.mark.promise("S18", "S190")
@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "a", "b")])
def test_devices_are_booted_from_in_the_order_in_which_they_stand(
    rig: Rig, names: tuple[str, ...]
) -> None:
    script = {"type": "UserData", "userData": "#cloud-config\n"}
    rig.push(
        {
            "disks.yaml": [disk(name) for name in "abc"],
            "vm.yaml": machine(disks=names, provisioning=script),
        }
    )
    rig.settle()
    expected = dict(enumerate(names, 1))
    listed = rig.vm()["status"]["blockDeviceRefs"]
    assert {each["bootOrder"]: each["name"] for each in listed} == expected
    uids = {
        name: rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["metadata"]["uid"]
        for name in names
    }
    booted = {
        int(boot.get("order", "")): device.findtext("serial")
        for device in definition(rig).iterfind("devices/disk")
        for boot in device.iterfind("boot")
    }
    assert booted == {place: serial(uids[name]) for place, name in expected.items()}


# -- provisioning -------------------------------------------------------------------------------


def seed(host: MemoryHost) -> bytes:
    """The medium from which the guest configures itself."""
    (volume,) = [each for name, each in host.pools["gitvirt"].items() if "_seed_" in name]
    return volume.content


def user_data(host: MemoryHost) -> bytes:
    """What the guest reads from it as its user data."""
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(seed(host)))
    out = io.BytesIO()
    iso.get_file_from_iso_fp(out, rr_path="/user-data")
    iso.close()
    return out.getvalue()


@pytest.mark.promise("S7", "S11", "S13", "S15", "S163")
def test_instructions_for_the_guest_stay_as_they_are_written(rig: Rig) -> None:
    """Also keys that cloud-init does not know: it is for cloud-init to judge them."""
    script = {"type": "UserData", "userData": CLOUD_CONFIG}
    rig.push({"vm.yaml": [disk(), machine(provisioning=script)]})
    rig.settle()
    assert rig.running()
    assert said(rig) == []
    assert user_data(rig.host) == CLOUD_CONFIG.encode()
    attached = [each.findtext("serial") for each in definition(rig).iterfind("devices/disk")]
    assert attached[1:] == ["cloudinit"]


@pytest.mark.promise("S170", "S171")
def test_an_answer_file_that_is_not_base64_is_not_used(rig: Rig) -> None:
    answers: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "answers"},
        "type": "provisioning.virtualization.deckhouse.io/sysprep",
        "data": {"unattend.xml": "<unattend/>"},
    }
    chosen = {"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "name": "answers"}}
    rig.push({"vm.yaml": [disk(), machine(provisioning=chosen)], "answers.yaml": answers})
    rig.settle()
    ((path, message),) = said(rig)
    assert path == "data.unattend.xml"
    assert "base64" in message.lower()
    assert "<unattend/>" not in message
    assert rig.vm()["status"]["phase"] == "Pending"
    encoded = base64.b64encode(b"<unattend/>").decode()
    rig.push({"answers.yaml": {**answers, "data": {"unattend.xml": encoded}}})
    rig.settle()
    assert said(rig) == []
    assert rig.running()
    assert b"<unattend/>" in seed(rig.host)


# -- cores --------------------------------------------------------------------------------------


@pytest.mark.promise("S73")
def test_the_number_of_cores_has_one_field(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 20})]})
    rig.settle()
    assert definition(rig).findtext("vcpu") == "20"
    for cpu, path in (
        ({"sockets": 2, "cores": 4}, "spec.cpu.sockets"),
        ({"count": 4}, "spec.cpu"),
    ):
        rig.push({"vm.yaml": [disk(), machine(cpu=cpu)]})
        rig.settle()
        assert any(each.startswith(path) for each, _ in said(rig))
        assert rig.vm()["spec"]["cpu"]["cores"] == 20


@pytest.mark.promise("S98", "S100", "S101")
@pytest.mark.parametrize(
    ("cores", "topology"),
    [(1, {"sockets": 1, "coresPerSocket": 1}), (20, {"sockets": 2, "coresPerSocket": 10})],
)
def test_the_status_tells_of_the_processors(rig: Rig, cores: int, topology: dict[str, int]) -> None:
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": cores, "coreFraction": "50%"})]})
    rig.settle()
    assert rig.vm()["status"]["resources"]["cpu"] == {
        "coreFraction": "50%",
        "cores": cores,
        "requestedCores": {1: "500m", 20: "10"}[cores],
        "runtimeOverhead": "0",
        "topology": topology,
    }


@pytest.mark.promise("S16")
def test_one_core_at_a_tenth_asks_for_a_tenth_of_a_core(rig: Rig) -> None:
    tenth: dict[str, Any] = {"cpu": {"cores": 1, "coreFraction": "10%"}}
    whole = machine("whole", disks=("other",))
    rig.push({"vm.yaml": [disk(), disk("other"), machine(**tenth), whole]})
    rig.settle()
    assert rig.vm()["status"]["resources"]["cpu"]["requestedCores"] == "100m"
    assert rig.vm("whole")["status"]["resources"]["cpu"]["requestedCores"] == "1"
    shares = [
        int(definition(rig, name).findtext("cputune/shares") or 0) for name in ("vm", "whole")
    ]
    assert shares[0] * 10 == shares[1]
    assert definition(rig).findtext("vcpu") == "1"


# -- editing ------------------------------------------------------------------------------------

TEXT = """\
# Somebody's own file, in somebody's own order.
kind: VirtualMachine
metadata: {name: vm}
apiVersion: virtualization.deckhouse.io/v1alpha2
spec:
  blockDeviceRefs: [{kind: VirtualDisk, name: root}]
  memory: {size: 256Mi}
  virtualMachineClassName: host
  cpu:
    cores: 1  # enough
"""


@pytest.mark.promise("S134")
def test_an_edit_of_the_file_is_an_edit_of_the_machine(rig: Rig) -> None:
    rig.push({"disk.yaml": disk(), "vm.yaml": TEXT})
    rig.settle()
    before = rig.vm()
    rig.push({"vm.yaml": TEXT.replace("# enough", "# for now")})
    rig.settle()
    assert rig.vm()["metadata"]["generation"] == before["metadata"]["generation"]
    assert rig.vm()["spec"] == before["spec"]
    edited = TEXT.replace("cores: 1  # enough", "cores: 2")
    rig.push({"vm.yaml": edited})
    rig.settle()
    after = rig.vm()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["spec"] == {**before["spec"], "cpu": {**before["spec"]["cpu"], "cores": 2}}
    assert condition(after, "AwaitingRestartToApplyConfiguration")["status"] == "True"
    (file,) = [
        rig.repo.read(each.blob)
        for each in rig.repo.files(rig.repo.fetch()[MAIN])
        if each.path == "vm.yaml"
    ]
    assert file == edited.encode()  # nobody but people writes here
