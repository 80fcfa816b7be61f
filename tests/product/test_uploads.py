"""Images and disks of which somebody uploads the data."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import pytest

from agent.core.identity import POOL, upload_volume, whole_upload
from agent.images.errors import ImageError
from agent.reconcile.housekeeping import EVERY, GRACE
from agent.reconcile.uploads import LEFT, UNASKED
from tests.memory_host import Killed, MemoryHost, Volume
from tests.product.test_image_secrets import path
from tests.rig import Rig, condition, manifest

KINDS = ("VirtualImage", "ClusterVirtualImage", "VirtualDisk")
DISK = bytes(510) + b"\x55\xaa" + b"boot" * 512
DIGEST = hashlib.sha256(DISK).hexdigest()
STORED = f"default_image_{DIGEST}.raw"


def wants(kind: str, type_: str = "Upload", **upload: Any) -> dict[str, Any]:
    source: dict[str, Any] = {"type": type_} | ({"upload": upload} if upload else {})
    spec: dict[str, Any] = {"dataSource": source}
    if kind == "VirtualDisk":
        spec["persistentVolumeClaim"] = {"size": "1Gi"}
    return manifest(kind, "image", spec)


def document(rig: Rig, kind: str) -> dict[str, Any]:
    return rig.document(path(kind))


def status(rig: Rig, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = document(rig, kind)["status"]
    return found


def message(rig: Rig, kind: str) -> str:
    said: str = condition(document(rig, kind), "Ready")["message"]
    return said


def name_of(rig: Rig, kind: str, data: bytes = DISK) -> str:
    uid = document(rig, kind)["metadata"]["uid"]
    return upload_volume("default", uid, len(data), hashlib.sha256(data).hexdigest())


def put(
    rig: Rig,
    kind: str,
    data: bytes = DISK,
    *,
    sent: bytes | None = None,
    whole: bool = True,
    host: MemoryHost | None = None,
) -> str:
    """What `gitvirt upload` leaves on the node; the volume's name."""
    name = name_of(rig, kind, data)
    pool = (host or rig.host).pools[POOL]
    pool[name] = Volume(f"/{name}", 0, content=data if sent is None else sent)
    if whole:
        pool[whole_upload(name)] = Volume(f"/{name}.whole", 0)
    return name


def uploads(rig: Rig) -> list[str]:
    return [name for name in rig.host.pools[POOL] if "_upload_" in name]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, rig: Rig) -> Any:
    """Of an object that waits."""
    rig.push({"image.yaml": wants(request.param)})
    rig.settle()
    return request.param


def looked(rig: Rig) -> None:
    """Some seconds later."""
    rig.now += 6
    rig.settle()


WORDS = {"VirtualImage": "vi", "ClusterVirtualImage": "cvi", "VirtualDisk": "vd"}


def test_it_waits_for_a_file_and_says_how_to_upload_it(rig: Rig, kind: str) -> None:
    found = status(rig, kind)
    assert found["phase"] == "WaitForUserUpload"
    command = f"gitvirt upload {WORDS[kind]}/image FILE"
    assert found["uploadCommand"] == command
    ready = condition(document(rig, kind), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "WaitForUserUpload")
    assert f"`{command}`" in ready["message"]


def test_the_command_names_the_namespace(rig: Rig) -> None:
    image = wants("VirtualImage")
    image["metadata"]["namespace"] = "lab"
    rig.push({"image.yaml": image})
    rig.settle()
    found = rig.document("namespaces/lab/virtualimages/image.yaml")["status"]
    assert found["uploadCommand"] == "gitvirt upload vi/image FILE -n lab"


def test_a_whole_file_is_taken_in_and_cleared_away(rig: Rig, kind: str) -> None:
    put(rig, kind)
    looked(rig)
    found = status(rig, kind)
    assert (found["phase"], "uploadCommand" in found) == ("Ready", False)
    assert rig.host.pools[POOL][STORED].content == DISK
    assert uploads(rig) == []
    looked(rig)
    rig.start()  # and stays
    rig.verbs()
    rig.settle()
    assert (status(rig, kind)["phase"], rig.verbs()) == ("Ready", [])


def test_a_compressed_file_is_stored_unpacked(rig: Rig, kind: str) -> None:
    put(rig, kind, gzip.compress(DISK))
    looked(rig)
    assert status(rig, kind)["phase"] == "Ready"
    assert rig.host.pools[POOL][STORED].content == DISK


def test_a_part_is_waited_for_and_told(rig: Rig, kind: str) -> None:
    name = put(rig, kind, sent=DISK[: len(DISK) // 2], whole=False)
    looked(rig)
    found = status(rig, kind)
    assert (found["phase"], found["progress"]) == ("WaitForUserUpload", "50%")
    assert "50 % of the file is here" in message(rig, kind)
    rig.host.pools[POOL][name].content = DISK
    looked(rig)
    assert status(rig, kind)["phase"] == "WaitForUserUpload"  # only its mark says that it is whole
    rig.host.pools[POOL][whole_upload(name)] = Volume(f"/{name}.whole", 0)
    looked(rig)
    assert status(rig, kind)["phase"] == "Ready"


@pytest.mark.parametrize("size", [len(DISK) - 1, len(DISK) + 1])
def test_a_file_of_another_size_than_its_mark_says_is_not_taken(
    rig: Rig, kind: str, size: int
) -> None:
    put(rig, kind, sent=(DISK + b"x")[:size])
    looked(rig)
    assert status(rig, kind)["phase"] == "WaitForUserUpload"
    assert STORED not in rig.host.pools[POOL]


@pytest.mark.parametrize(
    ("data", "sent", "said"),
    [
        (b"<html>" + b"login " * 200, None, "is an HTML page"),
        (DISK, DISK[:-1] + b"x", "is damaged"),
        (b"QFI\xfb" + bytes(100_000), None, "qcow2"),
        (b"\x1f\x8b\x08" + bytes(1000), None, "cannot be unpacked"),
    ],
)
def test_a_file_that_is_no_use_is_refused_cleared_away_and_another_one_taken(
    rig: Rig, kind: str, data: bytes, sent: bytes | None, said: str
) -> None:
    put(rig, kind, data, sent=sent)
    looked(rig)
    found = status(rig, kind)
    assert found["phase"] == "WaitForUserUpload"
    assert said in message(rig, kind)
    assert "is refused" in message(rig, kind)
    assert (uploads(rig), found["uploadCommand"][:14]) == ([], "gitvirt upload")
    told = message(rig, kind)
    rig.now += 3600
    rig.start()
    looked(rig)
    assert message(rig, kind) == told  # it stays until the next one comes
    put(rig, kind)
    looked(rig)
    assert (status(rig, kind)["phase"], uploads(rig)) == ("Ready", [])


def test_a_file_that_is_too_large_is_refused(rig: Rig, kind: str) -> None:
    name = name_of(rig, kind).replace(f"_{len(DISK)}_", f"_{1 << 40}_")
    rig.host.pools[POOL][name] = Volume(f"/{name}", 0, allocated=1 << 40)
    rig.host.pools[POOL][whole_upload(name)] = Volume(f"/{name}.whole", 0)
    looked(rig)
    assert "which is the limit here" in message(rig, kind)
    assert uploads(rig) == []


def test_the_checksums_of_the_manifest_count(rig: Rig) -> None:
    rig.push({"image.yaml": wants("VirtualImage", checksum={"md5": "0" * 32})})
    rig.settle()
    put(rig, "VirtualImage")
    looked(rig)
    assert "md5 is" in message(rig, "VirtualImage")
    good = hashlib.md5(DISK).hexdigest()
    rig.push({"image.yaml": wants("VirtualImage", checksum={"md5": good})})
    rig.settle()
    put(rig, "VirtualImage")
    looked(rig)
    assert status(rig, "VirtualImage")["phase"] == "Ready"


def test_what_fails_on_this_side_is_tried_again_with_the_same_file(
    rig: Rig, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.reconcile.sources import upload

    def full(*_: object, **__: object) -> None:
        raise ImageError("SpoolFull", "there is no room", retry=True)

    put(rig, kind)
    with monkeypatch.context() as patch:
        patch.setattr(upload, "receive", full)
        rig.now += 6
        for _ in range(6):
            rig.step()
        (record,) = [
            each for each in rig.agent.reconciler.records().values() if each.obj.key.name == "image"
        ]
        assert "there is no room" in condition({"status": record.status}, "Ready")["message"]
    assert len(uploads(rig)) == 2
    rig.now += 10
    rig.settle()
    assert status(rig, kind)["phase"] == "Ready"


def test_nobody_begins_for_ten_minutes(rig: Rig, kind: str) -> None:
    rig.now += 599
    rig.settle()
    before = condition(document(rig, kind), "Ready")["reason"]
    rig.now += 2
    rig.settle()
    ready = condition(document(rig, kind), "Ready")
    assert (before, ready["reason"]) == ("WaitForUserUpload", "WaitForUserUploadTimeout")
    assert status(rig, kind)["phase"] == "WaitForUserUpload"
    put(rig, kind)
    looked(rig)
    assert status(rig, kind)["phase"] == "Ready"


def test_an_upload_for_what_is_ready_already_is_cleared_away(rig: Rig, kind: str) -> None:
    put(rig, kind)
    looked(rig)
    put(rig, kind, DISK + DISK)
    rig.start()
    rig.settle()
    assert (status(rig, kind)["phase"], uploads(rig)) == ("Ready", [])
    facts = status(rig, kind)
    assert (facts["import"] if kind == "VirtualDisk" else facts)["digest"] == DIGEST


@pytest.mark.parametrize("whole", [False, True])
def test_an_upload_for_what_is_deleted_meanwhile_is_cleared_away(
    rig: Rig, kind: str, whole: bool
) -> None:
    rig.push(
        {"other.yaml": manifest("VirtualDisk", "other", {"persistentVolumeClaim": {"size": "1Gi"}})}
    )
    name = name_of(rig, kind)
    rig.push({"image.yaml": None})
    rig.settle()
    rig.host.pools[POOL][name] = Volume(f"/{name}", 0, content=DISK)
    if whole:
        rig.host.pools[POOL][whole_upload(name)] = Volume(f"/{name}.whole", 0)
    rig.host.pools[POOL]["default_upload_of_somebody"] = Volume("/x", 0)
    rig.start()
    rig.settle()
    rig.now += UNASKED - EVERY
    rig.settle()
    assert name in uploads(rig)
    rig.now += 2 * EVERY
    rig.settle()
    assert uploads(rig) == ["default_upload_of_somebody"]  # no name of ours


def test_an_upload_for_what_wants_none_is_cleared_away(rig: Rig) -> None:
    rig.push(
        {"image.yaml": manifest("VirtualDisk", "image", {"persistentVolumeClaim": {"size": "1Gi"}})}
    )
    rig.settle()
    put(rig, "VirtualDisk")
    rig.start()
    rig.settle()
    rig.now += UNASKED + 2 * EVERY
    rig.settle()
    rig.now += 2 * EVERY
    rig.settle()
    assert (uploads(rig), status(rig, "VirtualDisk")["phase"]) == ([], "Ready")


def test_a_part_that_nobody_goes_on_with_goes_after_a_day(rig: Rig, kind: str) -> None:
    name = put(rig, kind, sent=DISK[:100], whole=False)
    looked(rig)
    rig.now += LEFT - EVERY
    rig.settle()
    rig.host.pools[POOL][name].content = DISK[:200]  # somebody goes on
    looked(rig)
    rig.now += EVERY
    rig.settle()
    rig.now += LEFT - 2 * EVERY
    rig.settle()
    assert uploads(rig) == [name]
    rig.now += 3 * EVERY
    rig.settle()
    rig.now += EVERY
    rig.settle()
    assert uploads(rig) == []
    looked(rig)
    assert "waited for" in message(rig, kind)


def test_nothing_is_cleared_away_while_a_manifest_cannot_be_read(rig: Rig) -> None:
    rig.push({"image.yaml": wants("VirtualImage"), "other.yaml": "{"})
    rig.settle()
    name = "default_upload_" + "0" * 8 + "-0000-4000-8000-" + "0" * 12 + f"_5_{DIGEST}"
    rig.host.pools[POOL][name] = Volume(f"/{name}", 0, content=b"12345")
    rig.start()
    for _ in range(5):
        rig.now += GRACE
        rig.settle()
    assert uploads(rig) == [name]


def test_the_agent_is_killed_at_any_instruction(rig: Rig, kind: str) -> None:
    moments: list[tuple[str, str]] = []
    put(rig, kind)
    rig.host.on_effect = lambda verb, phase: moments.append((verb, phase))
    looked(rig)
    rig.host.on_effect = lambda _verb, _phase: None
    assert ("delete_volume", "before") in moments
    for number in range(1, len(moments) + 1):
        other = Rig(rig.folder / str(number))
        other.push({"image.yaml": wants(kind)})
        other.settle()
        put(other, kind)
        left = [number]

        def dies(_verb: str, _phase: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        other.host.on_effect = dies
        other.now += 6
        try:
            other.settle()
        except Killed:
            other.host.on_effect = lambda _verb, _phase: None
            other.start()
            other.settle()
            looked(other)
        assert (status(other, kind)["phase"], uploads(other)) == ("Ready", []), number
        assert other.host.pools[POOL][STORED].content == DISK


def test_what_is_uploaded_stays_until_the_ledger_has_its_digest(rig: Rig) -> None:
    """Else a kill in between would lose it: nothing else knows what the data is called."""
    rig.push({"image.yaml": wants("VirtualImage")})
    rig.settle()
    put(rig, "VirtualImage")
    said: list[str] = []

    def noted(verb: str, phase: str) -> None:
        if (verb, phase) == ("delete_volume", "before"):
            said.append(status(rig, "VirtualImage").get("digest", ""))

    rig.host.on_effect = noted
    looked(rig)
    assert said == [DIGEST, DIGEST]


def test_data_that_is_lost_is_waited_for_again(rig: Rig) -> None:
    rig.push({"image.yaml": wants("VirtualImage")})
    rig.settle()
    put(rig, "VirtualImage")
    looked(rig)
    del rig.host.pools[POOL][STORED]
    rig.start()
    rig.settle()
    assert status(rig, "VirtualImage")["phase"] == "ImageLost"
    assert condition(document(rig, "VirtualImage"), "Ready")["reason"] == "ImageLost"
    put(rig, "VirtualImage")
    looked(rig)
    assert status(rig, "VirtualImage")["phase"] == "Ready"


def test_nodes_are_looked_at_only_while_something_waits(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"image.yaml": wants("VirtualImage")})
    rig.settle()
    asked: list[float] = []
    real = rig.host.read_volumes

    def read(pool: str) -> Any:
        asked.append(rig.now)
        return real(pool)

    monkeypatch.setattr(rig.host, "read_volumes", read)
    for _ in range(4):
        rig.now += rig.step()
    assert asked
    put(rig, "VirtualImage")
    looked(rig)
    asked.clear()
    for _ in range(10):
        rig.now += 5
        rig.step()
    assert asked == []
