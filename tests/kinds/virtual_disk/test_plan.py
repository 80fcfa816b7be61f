"""What is done about a disk, by what there is of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.actions import CopyVolume, CreateVolume, ImportImage, ResizeVolume
from agent.core.annotations import DISABLED, SUSPEND
from agent.core.facts import Decision
from agent.core.host import RawVolume
from agent.core.identity import POOL, disk_volume, image_volume
from agent.core.jobs import Job
from agent.core.known import Fact, Table
from agent.core.model import Condition, Json, Key
from agent.kinds.exports import DiskData, ImageData, SnapshotData
from agent.kinds.local import NOT_READY
from agent.kinds.virtual_disk.decide import decide
from agent.kinds.virtual_disk.usage import overlays, users
from tests.golden.case import NODE
from tests.kinds.deciding import (
    FLEET,
    NOW,
    PATH,
    READY,
    UNREAD,
    condition,
    decided,
    made,
    place_of,
    said,
    types,
    view_of,
)

GIB = 1 << 30
KEY = Key("VirtualDisk", "lab", "disk")
ONE, TWO = Key("VirtualMachine", "lab", "one"), Key("VirtualMachine", "lab", "two")
NAME = disk_volume(FLEET, KEY, "uid-disk")
VOLUME = RawVolume(POOL, NAME, f"{PATH}/{NAME}", GIB, 4096)
THERE: Mapping[Fact, Any] = {
    **READY,
    (known.VOLUME, (NODE.name, POOL, NAME)): VOLUME,
}
IMAGE, CLUSTER_IMAGE = Key("VirtualImage", "lab", "image"), Key("ClusterVirtualImage", "", "image")
DATA = ImageData({NODE.name: "/pool/data.qcow2"}, "qcow2", GIB)


def disk(size: Json = None, deleted: str = "", **spec: Json) -> Any:
    return made(
        KEY, {**({"persistentVolumeClaim": {"size": size}} if size else {}), **spec}, deleted
    )


def from_image(key: Key) -> dict[str, Json]:
    return {"type": "ObjectRef", "objectRef": {"kind": key.kind, "name": key.name}}


def create(found: Decision) -> CreateVolume:
    (action,) = found.actions
    assert isinstance(action, CreateVolume)
    return action


def ready(found: Decision) -> Condition:
    return condition(found, "Ready")


@pytest.mark.parametrize(
    "job", [Job(busy=("CreateVolume",)), Job(failed="CreateVolume", generation=2, retry=False)]
)
def test_what_its_import_found_out_stays_while_its_volume_is_made(job: Job) -> None:
    facts = {**READY, (known.JOB, KEY): job, (known.STATUS, KEY): {"import": {"digest": "d"}}}
    assert said(decided(decide, disk("1Gi"), facts))["import"] == {"digest": "d"}


# -- making it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "capacity"),
    [("1Gi", GIB), (GIB, GIB), (1, 512), (512, 512), (513, 1024)],
)
def test_a_blank_disk_is_made_as_large_as_asked_for_in_whole_sectors(
    size: Json, capacity: int
) -> None:
    found = decided(decide, disk(size), READY)
    assert found.actions == (CreateVolume(NODE.name, POOL, NAME, capacity),)
    assert (said(found)["phase"], said(found)["capacity"]) == ("Provisioning", "")
    assert ready(found).reason == "Provisioning"
    assert found.waiting
    assert not found.ok
    assert found.export is None
    assert condition(found, "DatasourceReady").status == "True"


@pytest.mark.parametrize("key", [IMAGE, CLUSTER_IMAGE])
@pytest.mark.parametrize(
    ("size", "data", "capacity"),
    [
        (None, GIB, GIB),
        (None, GIB - 1, GIB),
        (None, GIB + 1, GIB + 512),
        ("1Gi", GIB, GIB),
        ("2Gi", GIB, 2 * GIB),
    ],
)
def test_a_disk_from_an_image_lies_on_its_data(
    key: Key, size: Json, data: int, capacity: int
) -> None:
    facts = {**READY, (known.EXPORT, key): replace(DATA, size=data)}
    action = create(decided(decide, disk(size, dataSource=from_image(key)), facts))
    assert action == CreateVolume(NODE.name, POOL, NAME, capacity, DATA.paths[NODE.name], "qcow2")


def test_a_disk_smaller_than_its_image_says_what_to_ask_for() -> None:
    facts = {**READY, (known.EXPORT, IMAGE): replace(DATA, size=GIB + 512)}
    found = decided(decide, disk("1Gi", dataSource=from_image(IMAGE)), facts)
    assert found.actions == ()
    assert said(found)["phase"] == "Failed"
    assert ready(found).reason == "ProvisioningFailed"
    assert "1Gi is smaller than its image" in ready(found).message
    assert not found.waiting


def test_no_disk_is_made_from_a_medium() -> None:
    facts = {**READY, (known.EXPORT, IMAGE): replace(DATA, format="iso")}
    found = decided(decide, disk("2Gi", dataSource=from_image(IMAGE)), facts)
    assert found.actions == ()
    assert ready(found).reason == "ProvisioningFailed"
    assert "CD-ROM" in ready(found).message


@pytest.mark.parametrize("key", [IMAGE, CLUSTER_IMAGE])
@pytest.mark.parametrize("under_way", [False, True])
def test_a_disk_waits_for_its_image(key: Key, under_way: bool) -> None:
    prefix = "Cluster" if key is CLUSTER_IMAGE else ""
    wanted = disk("1Gi", dataSource=from_image(key))
    found = decided(decide, wanted, READY)
    assert ready(found).reason == "DatasourceIsNotFound"
    assert condition(found, "DatasourceReady").reason == f"{prefix}ImageNotFound"
    assert not found.waiting
    facts = {**READY, (known.OBJECT, key): made(key, {}), (known.UNDER_WAY, key): under_way or None}
    found = decided(decide, wanted, facts)
    assert ready(found).reason == "DatasourceIsNotReady"
    assert condition(found, "DatasourceReady") == Condition(
        "DatasourceReady",
        "False",
        f"{prefix}ImageNotReady",
        f"{key} is not ready: the disk is made as soon as it is.",
    )
    assert found.waiting is under_way
    assert said(found)["phase"] == "Pending"
    assert found.actions == ()


SNAPSHOT = Key("VirtualDiskSnapshot", "lab", "image")
OF_SNAPSHOT: dict[str, Json] = {
    "type": "ObjectRef",
    "objectRef": {"kind": SNAPSHOT.kind, "name": SNAPSHOT.name},
}
TAKEN = SnapshotData({NODE.name: "/elsewhere/taken"}, "fast", "taken", GIB, "qcow2")


def of_snapshot(size: str, data: SnapshotData | None = TAKEN, job: Job | None = None) -> Decision:
    facts = {
        **READY,
        (known.OBJECT, SNAPSHOT): made(SNAPSHOT, {}),
        (known.EXPORT, SNAPSHOT): data,
        (known.JOB, KEY): job,
    }
    return decided(decide, disk(size, dataSource=OF_SNAPSHOT), facts)


def test_a_disk_from_a_snapshot_is_a_flat_copy_of_it() -> None:
    (action,) = of_snapshot("2Gi").actions
    name = NAME
    assert action == CopyVolume(NODE.name, POOL, name, "fast", "taken", 2 * GIB)
    raw = replace(TAKEN, format="raw")
    (action,) = of_snapshot("1Gi", raw).actions
    assert isinstance(action, CopyVolume)
    assert action.source_format == "raw"


def test_a_disk_is_not_smaller_than_its_snapshot() -> None:
    found = of_snapshot("512Mi")
    assert (found.actions, said(found)["phase"]) == ((), "Failed")
    assert "smaller than its snapshot: ask for 1Gi" in ready(found).message


@pytest.mark.parametrize(
    ("data", "what"),
    [(None, "is not ready"), (replace(TAKEN, paths={"away": "/x"}), "is not on node node-1 yet")],
)
def test_a_disk_waits_for_its_snapshot(data: SnapshotData | None, what: str) -> None:
    found = of_snapshot("1Gi", data)
    assert (found.actions, said(found)["phase"]) == ((), "Pending")
    assert ready(found).reason == "DatasourceIsNotReady"
    assert condition(found, "DatasourceReady") == Condition(
        *("DatasourceReady", "False", "VirtualDiskSnapshot"),
        f"{SNAPSHOT} {what}: the disk is made as soon as it is.",
    )


def test_how_far_a_copy_is_is_told() -> None:
    found = of_snapshot("1Gi", job=Job(busy=("CopyVolume",), progress=40))
    assert (said(found)["phase"], said(found)["progress"]) == ("Provisioning", "40%")
    failed = Job(failed="CopyVolume", error="no space", generation=2, retry_at=NOW + 5)
    found = of_snapshot("1Gi", job=failed)
    assert (ready(found).reason, ready(found).message) == ("ProvisioningFailed", "no space")
    assert (found.actions, found.wake) == ((), NOW + 5)


HTTP: dict[str, Any] = {"type": "HTTP", "http": {"url": "https://host/image"}}
DIGEST = "5" * 64
DOWNLOADED = image_volume(FLEET, DIGEST, "qcow2")
FACTS = {"digest": DIGEST, "format": "qcow2", "storedBytes": 4096, "unpackedBytes": GIB}


def test_a_disk_downloads_what_it_is_made_from() -> None:
    found = decided(decide, disk("1Gi", dataSource=HTTP), READY)
    (action,) = found.actions
    assert isinstance(action, ImportImage)
    assert (said(found)["phase"], said(found)["progress"]) == ("Provisioning", "0%")
    assert ready(found).message == "The image is about to be downloaded."
    assert found.waiting


def test_a_download_that_fails_is_tried_again_in_time() -> None:
    job = Job(failed="ImportImage", error="no", generation=2, retry_at=NOW + 5)
    found = decided(decide, disk("1Gi", dataSource=HTTP), {**READY, (known.JOB, KEY): job})
    assert (found.actions, found.wake, found.waiting) == ((), NOW + 5, True)
    assert said(found)["phase"] == "Provisioning"
    assert ready(found).reason == "ProvisioningFailed"


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("told", [False, True])
def test_what_was_downloaded_counts_for_the_manifest_that_asked_for_it(
    generation: int, told: bool
) -> None:
    """A ledger of an earlier version does not tell from where it is."""
    remembered = {**FACTS, "source": _source()} if told else FACTS
    facts = {**READY, **_downloaded(remembered, generation)}
    (action,) = decided(decide, disk("1Gi", dataSource=HTTP), facts).actions
    assert isinstance(action, CreateVolume if told or generation == 2 else ImportImage)


def test_what_ledgers_say_of_a_source_stays() -> None:
    """After an upgrade nothing is downloaded again."""
    assert _source() == "74d07fa9ca901a43"


def _downloaded(remembered: Mapping[str, Json], generation: int = 2) -> dict[Fact, Any]:
    volume = RawVolume(POOL, DOWNLOADED, f"{PATH}/{DOWNLOADED}", GIB, 4096)
    return {
        (known.VOLUME, (NODE.name, POOL, DOWNLOADED)): volume,
        (known.STATUS, KEY): {"import": remembered, "observedGeneration": generation},
    }


def _source(http: Mapping[str, Json] = HTTP["http"]) -> str:
    """What tells the address, as the status has it."""
    wanted = disk("1Gi", dataSource={"type": "HTTP", "http": http})
    action = decided(decide, wanted, READY).actions[0]
    assert isinstance(action, ImportImage)
    job = Job(result={**FACTS, "source": action.source.mark})
    found = decided(decide, wanted, {**READY, **_downloaded({}), (known.JOB, KEY): job})
    assert create(found).backing_path == f"{PATH}/{DOWNLOADED}"
    text: str = said(found)["import"]["source"]
    return text


def test_another_order_of_checksums_is_no_other_source() -> None:
    one, other = {"md5": "a", "sha256": "b"}, {"sha256": "b", "md5": "a"}
    address = HTTP["http"]
    assert _source({**address, "checksum": one}) == _source({**address, "checksum": other})
    assert _source({**address, "checksum": one}) != _source(address)


# -- what is under way ------------------------------------------------------------------------


def test_while_it_is_made_it_waits() -> None:
    found = decided(decide, disk("1Gi"), {**READY, (known.JOB, KEY): Job(busy=("CreateVolume",))})
    assert (found.actions, found.waiting) == ((), True)
    assert said(found)["phase"] == "Provisioning"
    assert ready(found).message == "The volume is being made."


@pytest.mark.parametrize("retry", [True, False])
def test_what_failed_is_told_until_it_is_time(retry: bool) -> None:
    job = Job(failed="CreateVolume", error="full", generation=2, retry=retry, retry_at=NOW + 5)
    found = decided(decide, disk("1Gi"), {**READY, (known.JOB, KEY): job})
    assert found.actions == ()
    assert said(found)["phase"] == ("Pending" if retry else "Failed")
    assert ready(found) == Condition("Ready", "False", "ProvisioningFailed", "full")
    assert (found.wake, found.waiting) == ((NOW + 5, True) if retry else (None, False))
    due = decided(
        decide, disk("1Gi"), {**READY, (known.JOB, KEY): replace(job, retry=True)}, NOW + 5
    )
    assert create(due)
    changed = replace(job, generation=1)
    assert create(decided(decide, disk("1Gi"), {**READY, (known.JOB, KEY): changed}))


def test_the_failure_of_another_verb_does_not_keep_it_from_being_made() -> None:
    job = Job(failed="ResizeVolume", error="full", generation=2, retry_at=NOW + 5)
    assert create(decided(decide, disk("1Gi"), {**READY, (known.JOB, KEY): job}))


@pytest.mark.parametrize("phase", ["Ready", "Resizing", "PVCLost"])
def test_a_lost_volume_is_told_and_not_made_anew(phase: str) -> None:
    facts = {**READY, (known.STATUS, KEY): {"phase": phase}}
    found = decided(decide, disk("1Gi"), facts)
    assert found.actions == ()
    assert said(found)["phase"] == "PVCLost"
    assert ready(found).reason == "PVCLost"
    assert not found.waiting
    busy = {**facts, (known.JOB, KEY): Job(busy=("CreateVolume",))}
    assert said(decided(decide, disk("1Gi"), busy))["phase"] == "Provisioning"


@pytest.mark.parametrize("phase", ["Pending", "Provisioning", "Failed"])
def test_one_that_never_was_there_is_made(phase: str) -> None:
    assert create(decided(decide, disk("1Gi"), {**READY, (known.STATUS, KEY): {"phase": phase}}))


# -- what is there ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, "1Gi", GIB])
def test_a_disk_that_is_there_can_be_opened(size: Json) -> None:
    facts = {**THERE, (known.STATUS, KEY): {"phase": "Ready", "import": FACTS}}
    found = decided(decide, disk(size), facts)
    assert found.export == DiskData({NODE.name: VOLUME.path}, GIB, POOL, NAME, "qcow2")
    assert found.status == {
        "phase": "Ready",
        "capacity": "1Gi",
        "progress": "100%",
        "attachedToVirtualMachines": [],
        "target": {"persistentVolumeClaimName": NAME},
        "import": FACTS,
        "storageClassName": "",
        "migrationState": {},
        "conditions": [
            Condition("DatasourceReady", "True", "DatasourceReady"),
            Condition("Ready", "True", "Ready"),
            Condition("InUse", "False", "NotInUse"),
        ],
    }
    assert (found.actions, found.waiting, found.ok) == ((), False, True)


@pytest.mark.parametrize(
    ("size", "capacity"), [("2Gi", 2 * GIB), (GIB + 1, GIB + 512), (GIB + 512, GIB + 512)]
)
def test_it_grows(size: Json, capacity: int) -> None:
    found = decided(decide, disk(size), THERE)
    assert found.actions == (ResizeVolume(NODE.name, POOL, NAME, capacity),)
    assert said(found)["phase"] == "Resizing"
    assert condition(found, "Resizing") == Condition("Resizing", "True", "InProgress")
    assert found.waiting
    assert found.ok  # it can be opened all the while
    assert found.export == DiskData({NODE.name: VOLUME.path}, GIB, POOL, NAME, "qcow2")


@pytest.mark.parametrize(
    ("size", "told"), [(GIB - 1, False), (GIB - 511, False), (GIB - 512, True)]
)
def test_it_never_shrinks(size: int, told: bool) -> None:
    found = decided(decide, disk(size), THERE)
    assert (found.actions, found.waiting) == ((), False)
    assert said(found)["phase"] == "Ready"
    assert ("Resizing" in types(found)) is told
    if told:
        assert condition(found, "Resizing") == Condition(
            "Resizing",
            "False",
            "NotAvailable",
            "A disk cannot shrink: it has 1Gi, ask for that or more.",
        )


@pytest.mark.parametrize(
    ("table", "value", "words"),
    [
        (known.ATTACHED, True, "once VirtualMachine lab/two runs with it, or lets go of it"),
        (known.ELSEWHERE, "/other/file", "it lies on /other/file"),
    ],
)
def test_it_does_not_grow_below_a_machine(table: Table[Any, Any], value: Json, words: str) -> None:
    facts = {**THERE, (known.USERS, KEY): (ONE, TWO), (table, (KEY, TWO)): value}
    found = decided(decide, disk("2Gi"), facts)
    assert (found.actions, found.waiting) == ((), False)
    assert said(found)["phase"] == "Ready"
    shown = condition(found, "Resizing")
    assert (shown.status, shown.reason) == ("False", "NotAvailable")
    assert words in shown.message


OPEN: Mapping[Fact, Any] = {
    **THERE,
    (known.USERS, KEY): (ONE, TWO),
    (known.ATTACHED, (KEY, TWO)): True,
}


def test_an_open_disk_asks_its_machine_and_says_how_far_it_is() -> None:
    asks = {(known.GROWS, KEY): 2 * GIB}
    asking = decided(decide, disk("2Gi"), OPEN)
    assert (asking.publish, asking.waiting) == (asks, False)
    grows = decided(decide, disk("2Gi"), {**OPEN, (known.GROWTH, (KEY, TWO)): ""})
    assert (grows.publish, grows.actions) == (asks, ())
    assert (said(grows)["phase"], grows.waiting, grows.ok) == ("Resizing", True, True)
    assert condition(grows, "Resizing") == Condition("Resizing", "True", "InProgress")
    waits = decided(decide, disk("2Gi"), {**OPEN, (known.GROWTH, (KEY, TWO)): "Busy."})
    assert (waits.publish, said(waits)["phase"], waits.waiting) == (asks, "Ready", False)
    assert condition(waits, "Resizing") == Condition("Resizing", "False", "NotAvailable", "Busy.")


@pytest.mark.parametrize("size", [None, "1Gi", "512Mi"])
def test_an_open_disk_that_is_large_enough_asks_for_nothing(size: Json) -> None:
    assert decided(decide, disk(size), OPEN).publish == {}


def test_a_suspended_disk_asks_for_nothing() -> None:
    still = made(KEY, {"persistentVolumeClaim": {"size": "2Gi"}}, **{SUSPEND: DISABLED})
    assert decided(decide, still, OPEN).publish == {}


@pytest.mark.parametrize("retry", [True, False])
def test_growing_that_failed_waits(retry: bool) -> None:
    job = Job(failed="ResizeVolume", error="full", generation=2, retry=retry, retry_at=NOW + 5)
    facts = {**THERE, (known.JOB, KEY): job}
    found = decided(decide, disk("2Gi"), facts)
    assert found.actions == ()
    assert condition(found, "Resizing") == Condition("Resizing", "False", "NotAvailable", "full")
    assert found.wake == (NOW + 5 if retry else None)
    due = decided(
        decide, disk("2Gi"), {**facts, (known.JOB, KEY): replace(job, retry=True)}, NOW + 5
    )
    assert len(due.actions) == 1


# -- who uses it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("referring", "leaving", "expected"),
    [
        (None, None, ()),
        ((ONE,), None, (ONE,)),
        (None, TWO, (TWO,)),
        ((ONE,), TWO, (ONE, TWO)),
        ((ONE, TWO), TWO, (ONE, TWO)),
    ],
)
def test_users_are_those_that_refer_to_it_and_the_one_that_leaves_it(
    referring: tuple[Key, ...] | None, leaving: Key | None, expected: tuple[Key, ...]
) -> None:
    facts: Mapping[Fact, Any] = {(known.USERS, KEY): referring, (known.LEAVING, KEY): leaving}
    assert users(KEY, view_of(facts)) == expected


def test_overlays_are_those_that_the_host_has() -> None:
    facts: Mapping[Fact, Any] = {(known.OVERLAYS, (NODE.name, "/pool/a")): ("b",)}
    assert overlays(view_of(facts), place_of(), "/pool/a") == ("b",)
    assert overlays(view_of(facts), place_of(), "/pool/c") == ()


@pytest.mark.parametrize("mounted", [False, True])
def test_it_says_who_has_it_open(mounted: bool) -> None:
    facts = {**THERE, (known.USERS, KEY): (ONE, TWO), (known.ATTACHED, (KEY, TWO)): mounted or None}
    found = decided(decide, disk("1Gi"), facts)
    assert said(found)["attachedToVirtualMachines"] == [
        {"name": "one", "mounted": False},
        {"name": "two", "mounted": mounted},
    ]
    assert condition(found, "InUse") == (
        Condition("InUse", "True", "AttachedToVirtualMachine")
        if mounted
        else Condition("InUse", "False", "NotInUse")
    )


# -- where no host can be reached, and the end ------------------------------------------------


def test_while_no_host_can_be_reached_what_was_known_stays() -> None:
    remembered = {**UNREAD, (known.STATUS, KEY): {"phase": "Ready"}}
    assert decided(decide, disk("1Gi"), remembered) == Decision()
    found = decided(decide, disk("1Gi"), UNREAD)
    assert said(found)["phase"] == "Pending"
    assert said(found)["target"] == {}
    assert ready(found) == Condition("Ready", "False", "ProvisioningNotStarted", NOT_READY)
    assert not found.ok


@pytest.mark.parametrize("facts", [THERE, UNREAD])
def test_a_deleted_one_goes_once_nobody_uses_it(facts: Mapping[Fact, Any]) -> None:
    leaving = disk("1Gi", deleted="1970-01-01T00:00:00Z")
    assert decided(decide, leaving, facts) == Decision(status={"phase": "Terminating"}, gone=True)
    used = {
        **facts,
        (known.USERS, KEY): (ONE,),
        (known.ATTACHED, (KEY, ONE)): True,
        (known.STATUS, KEY): {"phase": "Ready", "capacity": "1Gi"},
    }
    message = "The disk is kept while VirtualMachine lab/one refers to it."
    assert decided(decide, leaving, used) == Decision(
        status={
            "phase": "Terminating",
            "capacity": "1Gi",
            "attachedToVirtualMachines": [{"name": "one", "mounted": True}],
            "conditions": [
                Condition("Terminating", "True", "CleanupPending", message),
                Condition("InUse", "True", "AttachedToVirtualMachine"),
            ],
        },
        ok=False,
    )
