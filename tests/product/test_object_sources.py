"""Images that are made from images, disks and snapshots, and disks that are made from snapshots."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.host import GuestInfo, HostError
from agent.core.identity import POOL, disk_volume, image_prefix, image_volume, known_data
from agent.core.image_sources import HttpSource
from agent.core.model import Key
from agent.images.errors import ImageError
from agent.images.pipeline import Prepared
from agent.reconcile.sources import http
from agent.reconcile.sources import volume as spread
from tests.memory_host import NODE, Killed, MemoryHost, Volume
from tests.rig import Rig, condition, disk, machine, manifest

DATA = b"what a guest has written"


def of(kind: str, name: str, source: str, its: str, **more: str) -> dict[str, Any]:
    ref = {"kind": source, "name": its, **more}
    return manifest(kind, name, {"dataSource": {"type": "ObjectRef", "objectRef": ref}})


def image(name: str, source: str, its: str) -> dict[str, Any]:
    return of("VirtualImage", name, source, its)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """With a disk that holds something."""
    rig = Rig(tmp_path)
    rig.push({"root.yaml": disk()})
    rig.settle()
    fill(rig, DATA)
    return rig


def fill(rig: Rig, data: bytes, name: str = "root") -> None:
    (volume,) = [name_ for name_ in volumes(rig) if f"_disk_default_{name}_" in name_]
    rig.host.pools[POOL][volume].content = data


def volumes(rig: Rig) -> list[str]:
    """Without the marks that say whose data is."""
    return sorted(name for name in rig.host.pools[POOL] if known_data("default", name) is None)


def images(rig: Rig) -> list[str]:
    return [name for name in volumes(rig) if name.startswith(image_prefix("default"))]


def shown(rig: Rig, name: str, kind: str = "virtualimages") -> dict[str, Any]:
    return rig.document(f"namespaces/default/{kind}/{name}.yaml")


def phase(rig: Rig, name: str, kind: str = "virtualimages") -> str:
    found: str = shown(rig, name, kind)["status"]["phase"]
    return found


def stored(data: bytes) -> str:
    return image_volume("default", hashlib.sha256(data).hexdigest(), "qcow2")


def copied(rig: Rig, name: str = "golden") -> str:
    """The volume of an image that is a copy: the only one of the images that holds its data."""
    status = shown(rig, name)["status"]
    return image_volume("default", status["digest"], status["format"])


def test_an_image_of_a_disk_is_a_copy_that_its_node_makes_in_one_go(rig: Rig) -> None:
    rig.verbs()
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.settle()
    status = shown(rig, "golden")["status"]
    assert (status["phase"], status["progress"]) == ("Ready", "100%")
    assert status["size"]["unpackedBytes"] == str(1 << 30)
    assert rig.host.pools[POOL][copied(rig)].content == DATA
    assert len(volumes(rig)) == 2
    verbs = rig.verbs()
    assert "copy_volume" in verbs
    assert not {"read_volume", "upload_volume"} & {*verbs}
    fill(rig, b"written later")
    rig.settle()
    assert images(rig) == [copied(rig)]
    assert rig.host.pools[POOL][copied(rig)].content == DATA


def test_a_whole_copy_that_nobody_has_written_down_is_the_image(rig: Rig) -> None:
    """Also where its disk has been opened since."""

    def die(verb: str, moment: str) -> None:
        if (verb, moment) == ("delete_volume", "after"):  # its mark
            raise Killed

    rig.host.on_effect = die
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    with pytest.raises(Killed):
        rig.settle()
    (found,) = images(rig)
    rig.host.on_effect = lambda _verb, _phase: None
    rig.push({"vm.yaml": machine()})
    rig.start()
    rig.settle()
    fill(rig, b"written later")
    rig.settle()
    assert (rig.running(), phase(rig, "golden")) == (True, "Ready")
    assert images(rig) == [found] == [copied(rig)]
    assert rig.host.pools[POOL][found].content == DATA


def test_a_copy_in_place_of_one_that_is_lost_is_another_one(rig: Rig) -> None:
    """For what lies on the lost one holds changes to that alone."""
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.settle()
    first = copied(rig)
    rig.push({"copy.yaml": of("VirtualDisk", "copy", "VirtualImage", "golden")})
    rig.settle()
    del rig.host.pools[POOL][first]
    fill(rig, b"written later")
    rig.start()
    rig.settle()
    assert phase(rig, "golden") == "Ready"
    assert images(rig) == [copied(rig)] != [first]


def test_a_copy_is_brought_to_other_nodes_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        MemoryHost(node=replace(NODE, name=name, uri=f"memory:///{name}", host=name))
        for name in ("pt-1", "pt-2")
    )
    rig = Rig(tmp_path, host=first, others=(second,))
    rig.push({"root.yaml": disk()})
    rig.settle()
    fill(rig, DATA)
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.settle()
    assert [[*each.pools[POOL]] == [] for each in (first, second)] == [False, True]
    key = Key("VirtualDisk", "default", "other")
    volume = disk_volume("default", key, "00000000-0000-4000-8000-000000000001")
    second.pools[POOL][volume] = Volume(f"/var/lib/libvirt/{POOL}/{volume}", 1 << 30)
    wants = machine(disks=("other",))
    wants["spec"]["blockDeviceRefs"].append({"kind": "VirtualImage", "name": "golden"})
    rig.push({"vm.yaml": [disk("other"), wants]})
    second._tell("", "connected")
    full = [True]

    def check(_spool: Path, wanted: int) -> None:
        assert wanted == len(DATA)
        if full[0]:
            raise ImageError("SpoolFull", "the spool is full", retry=True)

    monkeypatch.setattr(spread, "check_space", check)
    rig.agent.reconciler.look_at_git()
    for _ in range(6):
        rig.step()
    assert "the spool is full" in condition(shown(rig, "golden"), "Ready")["message"]
    full[0] = False
    rig.settle()
    assert second.pools[POOL][copied(rig)].content == DATA
    assert rig.vm()["status"]["phase"] == "Running"


def test_a_disk_is_made_from_an_image_of_a_disk(rig: Rig) -> None:
    made = of("VirtualDisk", "copy", "VirtualImage", "golden")
    rig.push({"all.yaml": [image("golden", "VirtualDisk", "root"), made]})
    rig.settle()
    assert phase(rig, "copy", "virtualdisks") == "Ready"
    (name,) = [name for name in volumes(rig) if "_disk_default_copy_" in name]
    assert rig.host.pools[POOL][name].backing_path.endswith(copied(rig))


def test_an_image_of_an_image_shares_its_data_while_either_lives(rig: Rig) -> None:
    both = [image("golden", "VirtualDisk", "root"), image("second", "VirtualImage", "golden")]
    third = of("ClusterVirtualImage", "third", "VirtualImage", "second", namespace="default")
    rig.push({"all.yaml": [*both, third]})
    rig.settle()
    found = [shown(rig, "golden"), shown(rig, "second")]
    found.append(rig.document("cluster/clustervirtualimages/third.yaml"))
    for one in found:
        assert one["status"]["phase"] == "Ready"
        for field in ("digest", "format", "size", "cdrom"):
            assert one["status"][field] == found[0]["status"][field]
    assert images(rig) == [copied(rig)]
    rig.push({"all.yaml": [both[1], third]})
    data = copied(rig)
    rig.settle()
    rig.now += 100_000
    rig.settle()
    assert (phase(rig, "second"), images(rig)) == ("Ready", [data])
    rig.push({"all.yaml": third})
    rig.settle()
    rig.now += 100_000
    rig.settle()
    assert images(rig) == [data]
    rig.push({"all.yaml": None})
    rig.settle()
    for _ in range(3):
        rig.now += 100_000
        rig.settle()
    assert images(rig) == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("VirtualImage", "ImageNotReady"),
        ("ClusterVirtualImage", "ClusterImageNotReady"),
        ("VirtualDisk", "VirtualDiskNotReady"),
        ("VirtualDiskSnapshot", "VirtualDiskSnapshotNotReady"),
    ],
)
def test_a_source_that_is_not_there_is_waited_for(rig: Rig, kind: str, reason: str) -> None:
    rig.push({"image.yaml": image("golden", kind, "missing")})
    rig.settle()
    found = shown(rig, "golden")
    assert found["status"]["phase"] == "Pending"
    assert condition(found, "DatasourceReady")["reason"] == reason
    assert condition(found, "Ready")["reason"] == "DatasourceNotReady"
    assert "missing is not there" in condition(found, "Ready")["message"]


def test_images_that_are_made_from_each_other_wait_for_ever(rig: Rig) -> None:
    rig.push({"all.yaml": [image("a", "VirtualImage", "b"), image("b", "VirtualImage", "a")]})
    rig.settle()
    assert [phase(rig, name) for name in "ab"] == ["Pending", "Pending"]


def test_a_disk_is_not_copied_while_a_machine_runs_with_it(rig: Rig) -> None:
    rig.push({"vm.yaml": machine()})
    rig.settle()
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.settle()
    found = shown(rig, "golden")
    assert condition(found, "DatasourceReady")["reason"] == "VirtualDiskAttachedToVirtualMachine"
    assert "VirtualMachine default/vm" in condition(found, "Ready")["message"]
    assert images(rig) == []
    rig.push({"vm.yaml": machine(runPolicy="AlwaysOff")})
    rig.settle()
    assert (rig.running(), phase(rig, "golden")) == (False, "Ready")
    assert condition(shown(rig, "golden"), "DatasourceReady")["status"] == "True"


def test_a_machine_does_not_start_while_its_disk_is_copied(rig: Rig) -> None:
    rig.push({"vm.yaml": machine(runPolicy="AlwaysOff")})
    rig.settle()
    rig.downloads = deque()
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()
    doing = condition(shown(rig, "golden"), "Ready")["message"]
    assert doing == "The data of VirtualDisk default/root is being copied."
    rig.push({"vm.yaml": machine(runPolicy="AlwaysOn")})
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()
    assert not rig.running()
    waits = condition(rig.vm(), "BlockDevicesReady")
    assert "is being copied into VirtualImage default/golden" in waits["message"]
    used = condition(shown(rig, "root", "virtualdisks"), "InUse")
    assert (used["status"], used["reason"]) == ("True", "UsedForImageCreation")
    rig.downloads.popleft()()
    rig.downloads = None
    rig.settle()
    assert rig.running()
    assert phase(rig, "golden") == "Ready"


def test_a_disk_that_is_being_copied_is_not_deleted(rig: Rig) -> None:
    rig.downloads = deque()
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()
    rig.push({"root.yaml": None})
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()
    found = shown(rig, "root", "virtualdisks")
    assert "while it is copied into" in condition(found, "Terminating")["message"]
    rig.downloads.popleft()()
    rig.downloads = None
    rig.settle()
    assert phase(rig, "golden") == "Ready"
    assert "namespaces/default/virtualdisks/root.yaml" not in rig.documents()


def test_a_copy_for_which_there_is_no_space_leaves_nothing_and_says_so(rig: Rig) -> None:
    rig.host.free = len(DATA) - 1
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.agent.reconciler.look_at_git()
    for _ in range(6):
        rig.step()
    found = shown(rig, "golden")
    assert "free space" in condition(found, "Ready")["message"]
    assert len(volumes(rig)) == 1
    rig.host.free = 1 << 30
    rig.settle()
    assert phase(rig, "golden") == "Ready"


def test_the_agent_is_killed_at_any_instruction_of_a_copy(tmp_path: Path) -> None:
    number, killed = 0, True
    while killed:
        number += 1
        rig = Rig(tmp_path / str(number))
        rig.push({"root.yaml": disk()})
        rig.settle()
        fill(rig, DATA)
        left, killed = [number], False

        def die(verb: str, _phase: str, left: list[int] = left) -> None:
            if verb != "ensure_pool":
                left[0] -= 1
                if left[0] == 0:
                    raise Killed

        rig.host.on_effect = die
        made = [image("golden", "VirtualDisk", "root"), image("second", "VirtualImage", "golden")]
        rig.push({"all.yaml": [*made, of("VirtualDisk", "copy", "VirtualImage", "second")]})
        try:
            rig.settle()
        except Killed:
            killed = True
            rig.host.on_effect = lambda _verb, _phase: None
            rig.start()
            rig.settle()
        assert [phase(rig, name) for name in ("golden", "second")] == ["Ready", "Ready"]
        assert images(rig) == [copied(rig)]
        assert rig.host.pools[POOL][copied(rig)].content == DATA
        assert len(volumes(rig)) == 3, number
    assert number > 9


def test_a_copy_that_is_refused_is_told_and_tried_again(rig: Rig) -> None:
    refused = [3]

    def refuse(verb: str, when: str) -> None:
        if (verb, when) == ("copy_volume", "middle") and refused[0]:
            refused[0] -= 1
            raise HostError("HypervisorError", "qemu-img ended badly")

    rig.host.on_effect = refuse
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.agent.reconciler.look_at_git()
    for _ in range(6):
        rig.step()
    message = condition(shown(rig, "golden"), "Ready")["message"]
    assert message == "The copy fails and is tried again: qemu-img ended badly"
    rig.settle()
    assert (phase(rig, "golden"), len(volumes(rig))) == ("Ready", 2)


def test_a_disk_from_a_snapshot_is_a_disk_of_its_own(rig: Rig) -> None:
    taken = manifest("VirtualDiskSnapshot", "before", {"virtualDiskName": "root"})
    rig.push({"snapshot.yaml": taken})
    rig.settle()
    fill(rig, b"written later")
    rig.push({"copy.yaml": of("VirtualDisk", "copy", "VirtualDiskSnapshot", "before")})
    rig.settle()
    assert phase(rig, "copy", "virtualdisks") == "Ready"
    obj = shown(rig, "copy", "virtualdisks")
    key = Key("VirtualDisk", "default", "copy")
    made = rig.host.pools[POOL][disk_volume("default", key, obj["metadata"]["uid"])]
    assert (made.content, made.backing_path, made.capacity) == (DATA, "", 1 << 30)


def test_an_image_of_a_snapshot_has_what_the_disk_held(rig: Rig) -> None:
    taken = manifest("VirtualDiskSnapshot", "before", {"virtualDiskName": "root"})
    rig.push({"vm.yaml": machine()})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.push({"snapshot.yaml": taken})
    rig.settle()
    rig.push({"image.yaml": image("golden", "VirtualDiskSnapshot", "before")})
    rig.settle()
    assert (rig.running(), phase(rig, "golden")) == (True, "Ready")
    assert [name for name in volumes(rig) if "_copy_" in name] == []


@pytest.mark.parametrize("moment", ["before", "middle", "after"])
@pytest.mark.parametrize("kind", ["VirtualImage", "VirtualDisk"])
def test_what_a_killed_agent_left_half_made_goes_where_nobody_wants_it_any_more(
    rig: Rig, kind: str, moment: str
) -> None:
    taken = manifest("VirtualDiskSnapshot", "before", {"virtualDiskName": "root"})
    rig.push({"snapshot.yaml": taken})
    rig.settle()
    before = volumes(rig)

    def die(verb: str, phase: str) -> None:
        if (verb, phase) == ("copy_volume", moment):
            raise Killed

    rig.host.on_effect = die
    source = (
        ("VirtualDisk", "root") if kind == "VirtualImage" else ("VirtualDiskSnapshot", "before")
    )
    rig.push({"made.yaml": of(kind, "made", *source)})
    with pytest.raises(Killed):
        rig.settle()
    left = set(volumes(rig)) - set(before)
    assert len(left) == (1 if moment == "before" else 2)
    rig.host.on_effect = lambda _verb, _phase: None
    rig.push({"made.yaml": None})
    rig.start()
    for _ in range(6):
        rig.settle()
        mark = [name for name in volumes(rig) if name.endswith(".unfinished")]
        half = [name for name in volumes(rig) if name in left and name not in mark]
        assert mark or not half  # never taken for a whole one meanwhile
        rig.now += 8 * 86_400  # longer than anything lies in the trash
    rig.settle()
    assert volumes(rig) == before


def test_which_object_the_data_is_of_is_told_and_stays(rig: Rig) -> None:
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.settle()
    uid = shown(rig, "root", "virtualdisks")["metadata"]["uid"]
    assert shown(rig, "golden")["status"]["sourceUID"] == uid
    made = of("VirtualDisk", "copy", "VirtualImage", "golden")
    rig.push({"root.yaml": None, "copy.yaml": made})
    rig.settle()
    assert shown(rig, "golden")["status"]["sourceUID"] == uid
    golden = shown(rig, "golden")["metadata"]["uid"]
    assert shown(rig, "copy", "virtualdisks")["status"]["sourceUID"] == golden
    for _ in range(3):
        rig.now += 8 * 86_400  # longer than anything lies in the trash
        rig.settle()
    rig.push({"root.yaml": disk(size="2Gi")})
    rig.settle()
    assert shown(rig, "root", "virtualdisks")["metadata"]["uid"] != uid
    assert shown(rig, "golden")["status"]["sourceUID"] == uid


def test_a_node_has_image_data_from_another_node_and_not_from_the_network_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetched(source: HttpSource, spool: Path, *_: object, **__: object) -> Prepared:
        asked.append(source.url)
        path = spool / "download"
        path.write_bytes(DATA)
        digest = hashlib.sha256(DATA).hexdigest()
        return Prepared(path, "qcow2", 1 << 30, len(DATA), digest)

    monkeypatch.setattr(http, "fetch", fetched)
    first, second = (
        MemoryHost(node=replace(NODE, name=name, uri=f"memory:///{name}", host=name))
        for name in ("pt-1", "pt-2")
    )
    rig = Rig(tmp_path, host=first, others=(second,))
    source = {"type": "HTTP", "http": {"url": "http://127.0.0.1/image"}}
    rig.push({"image.yaml": manifest("VirtualImage", "golden", {"dataSource": source})})
    rig.settle()
    there = {name: [*host.pools[POOL]] for name, host in rig.hosts.items()}
    assert there == {"pt-1": [stored(DATA)], "pt-2": []}
    key = Key("VirtualDisk", "default", "root")
    volume = disk_volume("default", key, "00000000-0000-4000-8000-000000000001")
    second.pools[POOL][volume] = Volume(f"/var/lib/libvirt/{POOL}/{volume}", 1 << 30)
    wants = machine(cpu={"cores": 1})
    wants["spec"]["blockDeviceRefs"].append({"kind": "VirtualImage", "name": "golden"})
    rig.push({"vm.yaml": [disk(), wants]})
    second._tell("", "connected")
    rig.settle()
    assert second.pools[POOL][stored(DATA)].content == DATA
    assert asked == ["http://127.0.0.1/image"]
    assert rig.vm()["status"]["phase"] == "Running"
