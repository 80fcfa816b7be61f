"""What is done about an image, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.actions import ImportImage
from agent.core.facts import Decision
from agent.core.host import RawVolume
from agent.core.identity import POOL, image_prefix, image_volume
from agent.core.image_sources import HttpSource
from agent.core.jobs import Job
from agent.core.known import Fact
from agent.core.model import Condition, Json, Key
from agent.kinds.exports import ImageData
from agent.kinds.local import NOT_READY
from agent.kinds.virtual_image.decide import decide
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
    said,
    types,
)

URL = "https://host/image"
HTTP: dict[str, Json] = {"type": "HTTP", "http": {"url": URL}}
KEY = Key("VirtualImage", "lab", "image")
VM = Key("VirtualMachine", "lab", "vm")
IMAGE = made(KEY, {"dataSource": HTTP})
IMPORT = ImportImage(NODE.name, POOL, HttpSource(URL), image_prefix(FLEET))
DIGEST = "5" * 64
RESULT = {"digest": DIGEST, "format": "qcow2", "storedBytes": 4096, "unpackedBytes": 1 << 30}
KNOWN = {
    "phase": "Ready",
    "digest": DIGEST,
    "format": "qcow2",
    "size": {"storedBytes": "4096", "unpackedBytes": str(1 << 30)},
}
SHOWN = {
    "stored": "4Ki",
    "storedBytes": "4096",
    "unpacked": "1Gi",
    "unpackedBytes": str(1 << 30),
}


def stored(image_format: str = "qcow2", physical: int = 4096) -> Mapping[Fact, Any]:
    name = image_volume(FLEET, DIGEST, image_format)
    volume = RawVolume(POOL, name, f"{PATH}/{name}", 1 << 30, physical)
    return {**READY, (known.VOLUME, (NODE.name, POOL, name)): volume}


def before(facts: Mapping[Fact, Any], job: Job | None = None, **more: Json) -> Mapping[Fact, Any]:
    """Of an image that was imported before."""
    return {**facts, (known.STATUS, KEY): {**KNOWN, **more}, (known.JOB, KEY): job}


def ready(found: Decision) -> Condition:
    return condition(found, "Ready")


def test_it_is_downloaded() -> None:
    found = decided(decide, IMAGE, READY)
    assert found.actions == (IMPORT,)
    assert (found.waiting, found.ok, found.export) == (True, False, None)
    assert said(found) == {
        "phase": "Provisioning",
        "progress": "0%",
        "conditions": [
            Condition("DatasourceReady", "True", "DatasourceReady"),
            Condition("Ready", "False", "Provisioning", "The image is about to be downloaded."),
            Condition("InUse", "False", "NotInUse"),
        ],
    }


@pytest.mark.parametrize("from_job", [False, True])
def test_what_is_stored_whole_is_ready(from_job: bool) -> None:
    job = Job(result={**RESULT, "source": IMPORT.source.mark})
    facts = {**stored(), (known.JOB, KEY): job} if from_job else before(stored())
    found = decided(decide, IMAGE, facts)
    path = f"{PATH}/{image_volume(FLEET, DIGEST, 'qcow2')}"
    assert found.export == ImageData({NODE.name: path}, "qcow2", 1 << 30, DIGEST, 4096)
    assert (found.actions, found.waiting, found.ok) == ((), False, True)
    shown = said(found)
    assert (shown["phase"], shown["progress"], shown["digest"]) == ("Ready", "100%", DIGEST)
    assert shown["cdrom"] is False
    assert shown["size"] == SHOWN
    assert ready(found) == Condition("Ready", "True", "Ready")


def test_a_medium_is_told_as_one_and_is_raw_for_qemu() -> None:
    found = decided(decide, IMAGE, before(stored("iso"), format="iso"))
    assert said(found)["cdrom"] is True
    assert (found.export.cdrom, found.export.driver) == (True, "raw")
    whole = ImageData({}, "qcow2", 1)
    assert (whole.cdrom, whole.driver) == (False, "qcow2")


@pytest.mark.parametrize("facts", [READY, stored(physical=4095), stored(physical=4097)])
def test_data_that_is_not_there_whole_is_downloaded_again(facts: Mapping[Fact, Any]) -> None:
    found = decided(decide, IMAGE, before(facts))
    assert found.actions == (IMPORT,)
    assert said(found)["phase"] == "Provisioning"
    assert said(found)["digest"] == DIGEST  # it is known by it


def test_what_a_job_brought_for_another_manifest_does_not_count() -> None:
    job = Job(result={**RESULT, "source": HttpSource("https://other").mark})
    assert decided(decide, IMAGE, {**stored(), (known.JOB, KEY): job}).actions == (IMPORT,)


def test_what_must_be_checked_is_asked_for() -> None:
    http = {"url": URL, "checksum": {"md5": "x"}, "caBundle": "Y2VydA=="}
    image = made(KEY, {"dataSource": {"type": "HTTP", "http": http}})
    (action,) = decided(decide, image, READY).actions
    assert action == replace(IMPORT, source=HttpSource(URL, {"md5": "x"}, "cert"))


def test_an_address_that_lacks_something_waits_for_it() -> None:
    lacking = made(KEY, {"dataSource": HTTP}, **{"gitvirt.io/http-secret": "login"})
    found = decided(decide, lacking, READY)
    assert (found.actions, found.waiting, found.wake) == ((), False, None)
    assert said(found)["phase"] == "Pending"
    assert ready(found).reason == "ProvisioningNotStarted"
    assert "is not there" in ready(found).message
    there = decided(decide, lacking, before(stored()))
    assert there.ok  # what is there already needs no address


BUSY = Job(busy=("ImportImage",), progress=10)
FAILED = Job(failed="ImportImage", error="no", generation=2, retry_at=NOW + 5)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (BUSY, ""),
        (replace(BUSY, trouble="slow"), "slow"),
        (replace(FAILED, busy=BUSY.busy), "no"),
        (replace(FAILED, busy=BUSY.busy, progress=10), ""),
        (replace(FAILED, busy=BUSY.busy, generation=1), ""),
        (replace(FAILED, busy=BUSY.busy, failed="CreateVolume"), ""),
        (replace(FAILED, busy=BUSY.busy, progress=10, trouble="slow"), "slow"),
    ],
)
def test_a_download_goes_on_and_says_what_is_wrong_with_it(job: Job, message: str) -> None:
    found = decided(decide, IMAGE, {**READY, (known.JOB, KEY): job})
    assert (found.actions, found.waiting, found.ok) == ((IMPORT,), True, False)
    assert said(found)["progress"] == f"{job.progress}%"
    assert said(found)["phase"] == "Provisioning"
    expected = (
        ("ProvisioningFailed", f"The download fails and is tried again: {message}")
        if message
        else ("Provisioning", "The image is being downloaded and checked.")
    )
    assert (ready(found).reason, ready(found).message) == expected


@pytest.mark.parametrize("retry", [True, False])
def test_one_that_failed_waits_until_it_is_time(retry: bool) -> None:
    found = decided(decide, IMAGE, {**READY, (known.JOB, KEY): replace(FAILED, retry=retry)})
    assert (found.actions, found.waiting) == ((), retry)
    assert found.wake == (NOW + 5 if retry else None)
    assert said(found)["phase"] == ("Provisioning" if retry else "Failed")
    assert ready(found) == (
        Condition(
            "Ready", "False", "ProvisioningFailed", "The download fails and is tried again: no"
        )
        if retry
        else Condition("Ready", "False", "ProvisioningFailedTerminally", "no")
    )
    due = decided(decide, IMAGE, {**READY, (known.JOB, KEY): FAILED}, NOW + 5)
    assert due.actions == (IMPORT,)
    assert "tried again: no" in ready(due).message


@pytest.mark.parametrize("used", [False, True])
def test_it_says_whether_it_is_used(used: bool) -> None:
    found = decided(decide, IMAGE, {**READY, (known.USERS, KEY): (VM,) if used else None})
    assert condition(found, "InUse").status == ("True" if used else "False")


def test_a_class_of_storage_that_is_missing_is_told() -> None:
    claim = {"storageClassName": "fast"}
    image = made(KEY, {"dataSource": HTTP, "persistentVolumeClaim": claim})
    found = condition(decided(decide, image, READY), "StorageClassReady")
    assert (found.status, found.reason) == ("False", "StorageClassNotFound")
    assert "StorageClassReady" not in types(decided(decide, IMAGE, READY))


def test_while_no_host_can_be_reached_what_was_known_stays() -> None:
    assert decided(decide, IMAGE, before(UNREAD)) == Decision()
    found = decided(decide, IMAGE, UNREAD)
    assert (said(found)["phase"], found.ok) == ("Pending", False)
    assert ready(found) == Condition("Ready", "False", "ProvisioningNotStarted", NOT_READY)


@pytest.mark.parametrize("facts", [READY, UNREAD])
def test_a_deleted_one_goes_once_no_machine_has_it(facts: Mapping[Fact, Any]) -> None:
    leaving = replace(IMAGE, deleted="1970-01-01T00:00:00Z")
    assert decided(decide, leaving, facts) == Decision(status={"phase": "Terminating"}, gone=True)
    message = "The image is kept while VirtualMachine lab/vm refers to it."
    shown = Condition("Terminating", "True", "CleanupPending", message)
    assert decided(decide, leaving, {**facts, (known.USERS, KEY): (VM,)}) == Decision(
        status={"phase": "Terminating", "conditions": [shown]}
    )


def test_how_fast_it_comes_is_told_and_kept() -> None:
    job = replace(BUSY, speed=(2 << 20, 3 << 19))
    told = {"avg": "2Mi", "avgBytes": "2097152", "current": "1.5Mi", "currentBytes": "1572864"}
    found = decided(decide, IMAGE, {**READY, (known.JOB, KEY): job})
    assert said(found)["downloadSpeed"] == told
    assert (
        said(decided(decide, IMAGE, before(stored(), downloadSpeed=told)))["downloadSpeed"] == told
    )
