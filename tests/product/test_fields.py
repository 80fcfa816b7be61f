"""Every field of a VirtualMachine: how a change of it applies, what it becomes in the domain, and that it is taken back."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pycdlib
import pytest
from lxml import etree

from agent.core.changes import Disposition, diff
from agent.core.known import EXPORT
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.kinds.exports import ImageData
from tests.rig import Rig, condition, disk, machine, manifest, operation, settings, static

KIND = Catalogue.load().kinds["VirtualMachine"]
CLOUD_INIT = "provisioning.virtualization.deckhouse.io/cloud-init"
SYSPREP = "provisioning.virtualization.deckhouse.io/sysprep"
A_TERM = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "kubernetes.io/hostname"}
AFFINITY = {
    "virtualMachineAndPodAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [A_TERM]}
}
REFS = [{"kind": "VirtualDisk", "name": name} for name in ("root", "data", "more")]


@dataclass(frozen=True)
class Case:
    """From one value of a field to another one. `xml` is in the definition after the change and not before."""

    before: dict[str, Any]
    after: dict[str, Any]
    changes: list[dict[str, Any]] = field(default_factory=list)
    """As in restartAwaitingChanges; none for what applies at once or has no effect."""
    xml: str = ""


def replaced(path: str, current: Any, desired: Any) -> dict[str, Any]:
    return {"operation": "replace", "path": path, "currentValue": current, "desiredValue": desired}


USER_DATA = {"type": "UserData", "userData": "#cloud-config\n"}
FROM_SECRET = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "init"}}
FROM_OTHER = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "other"}}
ANSWERS = {"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "name": "answers"}}
OTHER_ANSWERS = {"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "name": "answers2"}}
HIDDEN = "(sensitive)"

MAIN_MINE, MAIN_THEIRS = (
    [{"type": "Main", "virtualMachineMACAddressName": name}] for name in ("mine", "theirs")
)

CASES: dict[str, Case] = {
    "virtualMachineClassName": Case(
        {"virtualMachineClassName": "host"},
        {"virtualMachineClassName": "generic"},
        [replaced("virtualMachineClassName", "host", "generic")],
        "Nehalem",
    ),
    "runPolicy": Case({"runPolicy": "Manual"}, {"runPolicy": "AlwaysOnUnlessStoppedManually"}),
    "cpu.cores": Case(
        {"cpu": {"cores": 1}}, {"cpu": {"cores": 2}}, [replaced("cpu.cores", 1, 2)], ">2</vcpu>"
    ),
    "cpu.coreFraction": Case(
        {"cpu": {"cores": 2, "coreFraction": "50%"}},
        {"cpu": {"cores": 2, "coreFraction": "20%"}},
        [replaced("cpu.coreFraction", "50%", "20%")],
        "<shares>40</shares>",
    ),
    "memory.size": Case(
        {"memory": {"size": "256Mi"}},
        {"memory": {"size": "512Mi"}},
        [replaced("memory.size", "256Mi", "512Mi")],
        ">524288</memory>",
    ),
    "blockDeviceRefs": Case(
        {"blockDeviceRefs": REFS[:1]},
        {"blockDeviceRefs": REFS[:2]},
        [{"operation": "add", "path": "blockDeviceRefs.1", "desiredValue": REFS[1]}],
        "_data_",
    ),
    "blockDeviceRefs.kind": Case(
        {"blockDeviceRefs": REFS[:2]},
        {"blockDeviceRefs": REFS[:1]},
        [{"operation": "remove", "path": "blockDeviceRefs.1", "currentValue": REFS[1]}],
    ),
    "blockDeviceRefs.name": Case(
        {"blockDeviceRefs": REFS[:2]},
        {"blockDeviceRefs": [REFS[1], REFS[0]]},
        [
            replaced("blockDeviceRefs.0", REFS[0], REFS[1]),
            replaced("blockDeviceRefs.1", REFS[1], REFS[0]),
        ],
    ),
    "blockDeviceRefs.bootOrder": Case(
        {"blockDeviceRefs": REFS[:2]},
        {"blockDeviceRefs": [REFS[0], {**REFS[1], "bootOrder": 1}]},
        [replaced("blockDeviceRefs.1", REFS[1], {**REFS[1], "bootOrder": 1})],
    ),
    "provisioning": Case(
        {},
        {"provisioning": USER_DATA},
        [
            {
                "operation": "add",
                "path": "provisioning",
                "desiredValue": {"type": "UserData", "userData": HIDDEN},
            }
        ],
        ">cloudinit<",
    ),
    "provisioning.type": Case(
        {"provisioning": USER_DATA},
        {"provisioning": ANSWERS},
        [replaced("provisioning", "UserData", "SysprepRef")],
        ">sysprep<",
    ),
    "provisioning.userData": Case(
        {"provisioning": USER_DATA},
        {"provisioning": {**USER_DATA, "userData": "#cloud-config\n#2\n"}},
        [replaced("provisioning.userData", HIDDEN, HIDDEN)],
    ),
    "provisioning.userDataRef": Case(
        {"provisioning": USER_DATA},
        {"provisioning": FROM_SECRET},
        [replaced("provisioning", "UserData", "UserDataRef")],
    ),
    "provisioning.userDataRef.name": Case(
        {"provisioning": FROM_SECRET},
        {"provisioning": FROM_OTHER},
        [replaced("provisioning.userDataRef.name", "init", "other")],
    ),
    "provisioning.sysprepRef": Case(
        {"provisioning": ANSWERS},
        {},
        [{"operation": "remove", "path": "provisioning", "currentValue": ANSWERS}],
    ),
    "provisioning.sysprepRef.name": Case(
        {"provisioning": ANSWERS},
        {"provisioning": OTHER_ANSWERS},
        [replaced("provisioning.sysprepRef.name", "answers", "answers2")],
    ),
    "disruptions.restartApprovalMode": Case(
        {"disruptions": {"restartApprovalMode": "Manual"}},
        {"disruptions": {"restartApprovalMode": "Automatic"}},
    ),
    "terminationGracePeriodSeconds": Case({}, {"terminationGracePeriodSeconds": 5}),
    "liveMigrationPolicy": Case({}, {"liveMigrationPolicy": "AlwaysForced"}),
    "bootloader": Case(
        {"bootloader": "EFI"},
        {"bootloader": "EFIWithSecureBoot"},
        [replaced("bootloader", "EFI", "EFIWithSecureBoot")],
        "enrolled-keys",
    ),
    "osType": Case(
        {"osType": "Generic"},
        {"osType": "Windows"},
        [replaced("osType", "Generic", "Windows")],
        "<hyperv",
    ),
    "osType.Legacy": Case(
        {"osType": "Generic"},
        {"osType": "Legacy"},
        [replaced("osType", "Generic", "Legacy")],
        "pc-i440fx",
    ),
    "osType.Generic": Case(
        {"osType": "Legacy", "enableParavirtualization": False},
        {"osType": "Generic", "enableParavirtualization": False},
        [replaced("osType", "Legacy", "Generic")],
        "pc-q35",
    ),
    "enableParavirtualization": Case(
        {"enableParavirtualization": True},
        {"enableParavirtualization": False},
        [replaced("enableParavirtualization", True, False)],
        "e1000",
    ),
    "nodeSelector": Case({}, {"nodeSelector": {"disktype": "ssd"}}),
    "affinity": Case({}, {"affinity": AFFINITY}),
    "tolerations": Case({}, {"tolerations": [{"operator": "Exists"}]}),
    "topologySpreadConstraints": Case(
        {},
        {
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ]
        },
    ),
    "priorityClassName": Case({}, {"priorityClassName": "high"}),
    "virtualMachineIPAddressName": Case(
        {"virtualMachineIPAddressName": "mine"},
        {"virtualMachineIPAddressName": "theirs"},
        [replaced("virtualMachineIPAddressName", "mine", "theirs")],
        'name="theirs" address="10.66.20.78"',
    ),
    "networks": Case(
        {"networks": MAIN_MINE},
        {"networks": MAIN_THEIRS},
        [replaced("networks", MAIN_MINE, MAIN_THEIRS)],
        "52:54:00:00:00:02",
    ),
    "usbDevices": Case({}, {"usbDevices": [{"name": "stick"}]}),
    "gpus": Case({}, {"gpus": [{"gpuClassName": "big"}]}),
}
UNSUPPORTED = (
    "usbDevices", "gpus",
)  # fmt: skip


def secret(name: str, kind: str, **data: str) -> dict[str, Any]:
    encoded = {
        key.replace("_", "."): base64.b64encode(text.encode()).decode()
        for key, text in data.items()
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": kind,
        "data": encoded,
    }


SURROUNDINGS = [
    *(disk(name) for name in ("root", "data", "more")),
    secret("init", CLOUD_INIT, userData="#cloud-config\n# one\n"),
    secret("other", CLOUD_INIT, userdata="#cloud-config\n# other\n"),
    secret("answers", SYSPREP, unattend_xml="<unattend/>"),
    secret("answers2", SYSPREP, autounattend_xml="<unattend/>"),
    settings("10.66.10.0/24", "10.66.20.0/24"),
    static("10.66.20.77", "mine"),
    static("10.66.20.78", "theirs"),
    manifest("VirtualMachineMACAddress", "mine", {"address": "52:54:00:00:00:01"}),
    manifest("VirtualMachineMACAddress", "theirs", {"address": "52:54:00:00:00:02"}),
]


def push(rig: Rig, spec: dict[str, Any]) -> None:
    rig.push({"vm.yaml": [machine(**spec)], "rest.yaml": SURROUNDINGS})
    rig.settle()


def definition(rig: Rig, *, active: bool = False) -> str:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return raw.active_xml if active else raw.inactive_xml


def running(rig: Rig, spec: dict[str, Any]) -> None:
    push(rig, spec)
    if not rig.running():
        rig.push({"start.yaml": operation("start", "vm", "Start")}, "refs/heads/operations")
        rig.settle()
    rig.verbs()


def test_every_field_has_a_case() -> None:
    fields = [
        ".".join(path[1:]) for path, _ in KIND.fields() if path[0] == "spec" and len(path) > 1
    ]
    missing = [
        name
        for name in fields
        if not any(name == case or name.startswith(f"{case}.") for case in CASES)
        and not any(case.startswith(f"{name}.") for case in CASES)
    ]
    assert missing == []


@pytest.mark.promise("S136", "S138", "S139", "S140", "S143", "S148", "S149", "S192")
@pytest.mark.parametrize("name", CASES)
def test_a_change_of_a_running_machine(rig: Rig, name: str) -> None:
    case = CASES[name]
    running(rig, case.before)
    push(rig, case.after)
    assert rig.vm()["status"].get("restartAwaitingChanges", []) == case.changes
    assert bool(condition(rig.vm(), "AwaitingRestartToApplyConfiguration")) == bool(case.changes)
    assert not {"start", "shutdown", "destroy"} & set(rig.verbs())
    if case.xml:
        assert case.xml in definition(rig)
        assert case.xml not in definition(rig, active=True)
    push(rig, case.before)
    assert rig.vm()["status"].get("restartAwaitingChanges", []) == []
    assert not {"start", "shutdown", "destroy"} & set(rig.verbs())


@pytest.mark.promise("S135", "S154", "S155", "S156")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.changes])
def test_a_restart_applies_it_and_nothing_is_left_to_do(rig: Rig, name: str) -> None:
    case = CASES[name]
    running(rig, case.before)
    push(rig, case.after)
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    rig.settle()
    assert rig.vm()["status"].get("restartAwaitingChanges", []) == []
    assert rig.running()
    assert case.xml in definition(rig, active=True)
    assert condition(rig.vm(), "DriftDetected") == {}
    rig.verbs()
    rig.host._tell("", "connected")
    rig.settle()
    assert rig.verbs() == []


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_field_without_effect_says_so(rig: Rig, name: str) -> None:
    push(rig, CASES[name].after)
    assert name in condition(rig.vm(), "FieldsSupported")["message"]
    assert rig.running()


def test_several_changes_of_one_commit_stand_side_by_side(rig: Rig) -> None:
    running(rig, {"cpu": {"cores": 1, "coreFraction": "50%"}})
    push(
        rig,
        {
            "cpu": {"cores": 2, "coreFraction": "20%"},
            "memory": {"size": "512Mi"},
            "terminationGracePeriodSeconds": 7,
            "runPolicy": "AlwaysOn",
        },
    )
    assert [change["path"] for change in rig.vm()["status"]["restartAwaitingChanges"]] == [
        "cpu.coreFraction",
        "cpu.cores",
        "memory.size",
    ]
    active = rig.memory(active=True).spec
    assert active["runPolicy"] == "AlwaysOn"
    assert active["terminationGracePeriodSeconds"] == 7
    assert active["cpu"] == {"cores": 1, "coreFraction": "50%"}


VECTORS = [
    ("a b", "b", ["remove blockDeviceRefs.0"]),
    ("a b", "x a b", ["add blockDeviceRefs.0"]),
    ("1 2 3 4 5", "2 5 3 4 1", ["replace blockDeviceRefs.0", "replace blockDeviceRefs.1", "replace blockDeviceRefs.4"]),
    ("a b c", "a x c", ["replace blockDeviceRefs.1"]),
    ("a", "b c", ["add blockDeviceRefs.1", "replace blockDeviceRefs.0"]),
    ("a b", "a b", []),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "changes"), VECTORS)
def test_a_list_of_devices_is_compared_by_name(before: str, after: str, changes: list[str]) -> None:
    def refs(names: str) -> dict[str, Any]:
        return {
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name} for name in names.split()]
        }

    found = diff(KIND, refs(before), refs(after))
    assert sorted(f"{change.operation} {change.path}" for change in found) == changes
    assert all(change.disposition is Disposition.RESTART for change in found)


def test_equal_quantities_are_no_change() -> None:
    assert diff(KIND, {"memory": {"size": "1Gi"}}, {"memory": {"size": "1024Mi"}}) == ()
    (change,) = diff(KIND, {"memory": {"size": "1Gi"}}, {"memory": {"size": "2048Mi"}})
    assert change.listed()["desiredValue"] == "2048Mi"


def medium(rig: Rig) -> dict[str, bytes]:
    """The files of the medium that the guest configures itself from, by name."""
    (name,) = [name for name in rig.host.pools["gitvirt"] if "_seed_" in name]
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(rig.host.pools["gitvirt"][name].content))
    found: dict[str, bytes] = {}
    for child in iso.list_children(joliet_path="/"):
        if child.is_file():
            file, out = child.file_identifier().decode("utf-16-be"), io.BytesIO()
            iso.get_file_from_iso_fp(out, joliet_path=f"/{file}")
            found[file] = out.getvalue()
    iso.close()
    return found


@pytest.mark.promise("S164", "S165", "S166")
@pytest.mark.parametrize("key", ["userData", "userdata"])
def test_user_data_that_is_long_or_private_comes_from_a_secret(rig: Rig, key: str) -> None:
    private = "correct-horse-battery-staple"
    text = f"#cloud-config\npassword: {private}\n" + "# on and on\n" * 4000
    rest = [*SURROUNDINGS[:3], secret("init", CLOUD_INIT, **{key: text})]
    rig.push({"vm.yaml": [machine(provisioning=FROM_SECRET)], "rest.yaml": rest})
    rig.settle()
    assert rig.running()
    assert medium(rig)["user-data"] == text.encode()
    assert condition(rig.vm(), "ProvisioningReady")["reason"] == "ProvisioningReady"
    hidden = base64.b64encode(text.encode())[40:80]
    for content in (*rig.documents().values(), definition(rig).encode()):
        assert private.encode() not in content
        assert hidden not in content


@pytest.mark.promise("S161", "S169", "S171")
@pytest.mark.parametrize(
    "names", [("unattend.xml",), ("autounattend.xml",), ("unattend.xml", "autounattend.xml")]
)
def test_answer_files_come_from_a_secret_on_a_cdrom(rig: Rig, names: tuple[str, ...]) -> None:
    files = {name: f"<unattend>{name}</unattend>" for name in names}
    keys = {name.replace(".", "_"): text for name, text in files.items()}
    rest = [*SURROUNDINGS[:3], secret("answers", SYSPREP, **keys)]
    rig.push({"vm.yaml": [machine(provisioning=ANSWERS)], "rest.yaml": rest})
    rig.settle()
    assert rig.running()
    assert medium(rig) == {name: text.encode() for name, text in files.items()}
    drives = etree.fromstring(definition(rig, active=True)).iterfind("devices/disk")
    assert [(each.findtext("serial"), each.get("device")) for each in drives][1:] == [
        ("sysprep", "cdrom")
    ]


@pytest.mark.promise("S169")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (secret("answers", "Opaque", unattend_xml="<x/>"), f"has to be of type {SYSPREP}"),
        (secret("answers", CLOUD_INIT, unattend_xml="<x/>"), f"has to be of type {SYSPREP}"),
        (secret("answers", SYSPREP, answers_xml="<x/>"), "none of the keys unattend.xml and"),
    ],
)
def test_other_secrets_hold_no_answer_files(rig: Rig, given: dict[str, Any], words: str) -> None:
    rig.push({"vm.yaml": [machine(provisioning=ANSWERS), disk()], "s.yaml": given})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Pending"
    assert words in condition(rig.vm(), "ProvisioningReady")["message"]


@pytest.mark.promise("S168")
@pytest.mark.parametrize(
    ("provisioning", "path"),
    [
        ({"type": "Sysprep", "sysprep": "<unattend/>"}, "spec.provisioning.type"),
        ({"type": "SysprepRef"}, "spec.provisioning.sysprepRef"),
        ({"type": "SysprepRef", "unattend.xml": "<unattend/>"}, "spec.provisioning"),
        ({"type": "SysprepRef", "userData": "<unattend/>"}, "spec.provisioning"),
        ({**ANSWERS, "userData": "<unattend/>"}, "spec.provisioning.userData"),
        (
            {"type": "SysprepRef", "sysprepRef": {"kind": "ConfigMap", "name": "answers"}},
            "spec.provisioning.sysprepRef.kind",
        ),
        (
            {"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "unattend.xml": "<x/>"}},
            "spec.provisioning.sysprepRef",
        ),
    ],
)
def test_answer_files_come_from_nowhere_but_a_secret(
    rig: Rig, provisioning: dict[str, Any], path: str
) -> None:
    push(rig, {"provisioning": provisioning})
    problems = rig.agent.reconciler.summary().problems
    assert any(each.path.startswith(path) for each in problems)
    assert rig.host.read_domain(rig.uuid()) is None
    assert not [name for name in rig.host.pools.get("gitvirt", {}) if "_seed_" in name]
    push(rig, {"provisioning": ANSWERS})
    assert medium(rig) == {"unattend.xml": b"<unattend/>"}


@pytest.mark.promise("S168")
def test_an_answer_file_as_user_data_is_none(rig: Rig) -> None:
    """It is what the manifest says it is: user data."""
    push(rig, {"provisioning": {"type": "UserData", "userData": "<unattend/>"}})
    assert medium(rig)["user-data"] == b"<unattend/>"
    assert not [name for name in medium(rig) if name.endswith(".xml")]
    assert 'device="cdrom"' not in definition(rig)


def test_a_changed_secret_waits_for_the_next_start_and_is_no_change(rig: Rig) -> None:
    running(rig, {"provisioning": FROM_SECRET})
    newer = [*SURROUNDINGS, secret("init", CLOUD_INIT, userData="#cloud-config\n# two\n")]
    del newer[3]
    rig.push({"rest.yaml": newer})
    rig.settle()
    assert rig.vm()["status"].get("restartAwaitingChanges", []) == []
    assert condition(rig.vm(), "ProvisioningReady")["reason"] == "ProvisioningReadyWithWarnings"
    assert condition(rig.vm(), "DriftDetected") == {}
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    rig.settle()
    (name,) = [name for name in rig.host.pools["gitvirt"] if "_seed_" in name]
    assert b"# two" in rig.host.pools["gitvirt"][name].content
    assert condition(rig.vm(), "ProvisioningReady")["reason"] == "ProvisioningReady"


@pytest.mark.promise("S166")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "is not there"),
        (secret("init", "Opaque", userData="x"), "has to be of type"),
        (secret("init", CLOUD_INIT, something="x"), "none of the keys"),
        (secret("init", CLOUD_INIT, userData=""), "none of the keys"),
    ],
)
def test_a_secret_that_is_not_right_is_waited_for(
    rig: Rig, given: dict[str, Any] | None, words: str
) -> None:
    rig.push(
        {"vm.yaml": [machine(provisioning=FROM_SECRET), disk()], "s.yaml": [given] if given else ""}
    )
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Pending"
    assert words in condition(rig.vm(), "ProvisioningReady")["message"]
    rig.push({"s.yaml": [SURROUNDINGS[3]]})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"


@pytest.mark.promise("S167")
def test_a_secret_that_is_not_base64_is_a_problem(rig: Rig) -> None:
    broken = {**SURROUNDINGS[3], "data": {"userData": "no base64!"}}
    rig.push({"vm.yaml": [machine(provisioning=FROM_SECRET), disk()], "s.yaml": [broken]})
    rig.settle()
    problems = json.dumps([each.message for each in rig.agent.reconciler.summary().problems])
    assert "ase64" in problems
    assert rig.vm()["status"]["phase"] == "Pending"


def test_nvram_is_reset_when_the_firmware_changes(rig: Rig) -> None:
    resets: list[bool] = []
    start = rig.host.start

    def watched(uuid: str, *, reset_nvram: bool = False) -> None:
        resets.append(reset_nvram)
        start(uuid, reset_nvram=reset_nvram)

    rig.host.start = watched  # type: ignore[method-assign]
    for number, loader in enumerate(
        ("EFI", "EFI", "EFIWithSecureBoot", "BIOS", "EFIWithSecureBoot", "EFI")
    ):
        push(rig, {"bootloader": loader})
        if number:
            ask = operation(f"restart-{number}", "vm", "Restart")
            rig.push({f"op{number}.yaml": ask}, "refs/heads/operations")
            rig.settle()
    assert resets == [False, False, True, False, False, True]


def test_the_old_chipset_comes_back_as_it_was(rig: Rig) -> None:
    running(rig, {})
    rig.host.node = replace(rig.host.node, machine="pc-q35-9.1", legacy_machine="pc-i440fx-9.1")
    rig.host._tell("", "connected")
    push(rig, {"osType": "Legacy"})
    assert "pc-i440fx-9.1" in definition(rig)
    push(rig, {})
    assert "pc-q35-7.2" in definition(rig)
    assert condition(rig.vm(), "DriftDetected") == {}


def test_a_legacy_machine_without_drivers_is_warned_of(rig: Rig) -> None:
    push(rig, {"osType": "Legacy"})
    assert condition(rig.vm(), "ParavirtualizationSupported")["status"] == "Unknown"
    push(rig, {"osType": "Legacy", "enableParavirtualization": False})
    assert condition(rig.vm(), "ParavirtualizationSupported") == {}
    push(rig, {})
    assert condition(rig.vm(), "ParavirtualizationSupported") == {}


def test_a_legacy_machine_has_room_for_four_cdroms(rig: Rig) -> None:
    spec = {"dataSource": {"type": "Upload"}, "storage": "ContainerRegistry"}
    names = ["a", "b", "c", "d", "e"]
    images = [manifest("VirtualImage", name, spec) for name in names]
    refs = [REFS[0], *({"kind": "VirtualImage", "name": name} for name in names)]
    for count, ready in ((5, False), (4, True)):
        legacy = machine(blockDeviceRefs=refs[: count + 1], osType="Legacy")
        rig.push({"vm.yaml": [legacy, disk(), *images]})
        rig.settle()
        for name in names:
            data = ImageData({rig.host.name: f"/{name}.iso"}, "iso", 1)
            rig.agent.reconciler._engine.put(EXPORT, Key("VirtualImage", "default", name), data)
        for _ in range(3):
            rig.now += 2
            rig.step()
        found = condition(rig.vm(), "BlockDevicesReady")
        assert (found["status"] == "True") == ready
        assert ready or "room for 4 CD-ROMs, not 5" in found["message"]


def test_an_image_without_paravirtualization_has_to_be_a_cdrom(rig: Rig) -> None:
    image = manifest(
        "VirtualImage", "base", {"dataSource": {"type": "Upload"}, "storage": "ContainerRegistry"}
    )
    refs = [REFS[0], {"kind": "VirtualImage", "name": "base"}]
    spec: dict[str, Any] = {"blockDeviceRefs": refs, "enableParavirtualization": False}
    rig.push({"vm.yaml": [machine(**spec), disk(), image]})
    rig.settle()
    facts = rig.agent.reconciler._engine
    for data, ready in (
        (ImageData({rig.host.name: "/base.qcow2"}, "qcow2", 1), False),
        (ImageData({rig.host.name: "/base.iso"}, "iso", 1), True),
    ):
        facts.put(EXPORT, Key("VirtualImage", "default", "base"), data)
        for _ in range(3):
            rig.now += 2
            rig.step()
        found = condition(rig.vm(), "BlockDevicesReady")
        assert (found["status"] == "True") == ready
        assert ready or "no CD-ROM image" in found["message"]


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (manifest("VirtualMachineClass", "c", {"cpu": {"type": "Host"}}), manifest("VirtualMachineClass", "c", {"cpu": {"type": "HostPassthrough"}}), "spec.cpu"),
        (disk(), manifest("VirtualDisk", "root", {"persistentVolumeClaim": {"size": "1Gi"}, "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "x"}}}), "spec.dataSource"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_any_more_stays_and_is_a_problem(
    rig: Rig, before: dict[str, Any], after: dict[str, Any], path: str
) -> None:
    rig.push({"a.yaml": [before]})
    rig.settle()
    rig.verbs()
    rig.push({"a.yaml": [after]})
    rig.settle()
    (problem,) = rig.agent.reconciler.summary().problems
    assert problem.path.startswith(path)
    assert "cannot be changed" in problem.message
    assert rig.verbs() == []
