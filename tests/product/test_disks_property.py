"""Whatever happens while disks grow, move and are copied: none loses what it holds, and what was kept of one stays as it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.backup import Source
from agent.core.host import GuestInfo
from agent.core.quantity import to_bytes
from agent.places import Pools, PoolSettings
from tests.memory_host import Killed, MemoryHost
from tests.memory_repository import MemoryRepository
from tests.plans import planned
from tests.product.test_disk_snapshots import snapshot
from tests.product.test_object_sources import image
from tests.product.test_storage_classes import GITVIRT, VMS, in_class, storage_class
from tests.product.test_uploads import put, status, wants
from tests.rig import STATUS, Rig, condition, machine

DISKS = ("x", "y")
PLACES = {"slow": GITVIRT, "fast": VMS}
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "30"))
NAMES = st.sampled_from(DISKS)
deeds = st.one_of(
    st.tuples(st.just("class"), NAMES, st.sampled_from(sorted(PLACES))),
    st.tuples(st.just("size"), NAMES, st.integers(1, 3)),
    st.tuples(st.just("image"), st.sampled_from("ij"), NAMES),
    st.tuples(st.just("snapshot"), st.sampled_from("st"), NAMES),
    st.tuples(st.just("gone"), st.sampled_from("ijst")),
    st.tuples(st.just("power"), st.booleans()),
    st.tuples(st.just("uses"), st.lists(NAMES, min_size=1, unique=True)),
    st.tuples(st.just("writes"), NAMES),
    st.tuples(st.just("uploads")),
    st.tuples(st.just("dies"), st.integers(1, 6)),
    st.tuples(st.just("ends"), st.sampled_from(("crash", "destroy"))),
    st.tuples(st.just("time"), st.sampled_from((3, 40, 400))),
    st.tuples(st.just("pass"), st.integers(1, 4)),
    st.tuples(st.just("another agent")),
    st.tuples(st.just("lost ledger")),
)


class CopyingHost(MemoryHost):
    """A backup has what its disk holds."""

    def begin_backup(
        self, uuid: str, of: str, sources: Sequence[Source], *, required: bool
    ) -> None:
        super().begin_backup(uuid, of, sources, required=required)
        every = {each.path: each for pool in self.pools.values() for each in pool.values()}
        for source in sources:
            every[source.target].content = every[source.path].content


class Stage:
    def __init__(self, folder: Path) -> None:
        host = CopyingHost()
        host.pools[VMS] = {}
        self.rig = Rig(folder, host, pools=Pools.of({"nvme": PoolSettings(VMS)}))
        host.guests[self.rig.uuid()] = GuestInfo()
        host.on_effect = self.effect
        self.left = 0
        """Effects until the agent dies; 0 for never."""
        self.on, self.uses = True, DISKS[:1]
        self.shape = dict.fromkeys(DISKS, ("slow", 1))
        """Class of each disk, and the GiB that were asked for at most."""
        self.holds = {name: self.data(name, 0) for name in DISKS}
        self.version = 0
        self.copies: dict[str, tuple[str, set[bytes]]] = {}
        """Of each image and snapshot, its disk, and what it may hold."""
        self.kept: dict[str, bytes] = {}
        """What each was seen to hold."""
        self.uploaded = False
        classes = [storage_class("slow", GITVIRT), storage_class()]
        self.rig.push(
            {"classes.yaml": classes, "vm.yaml": self.machine(), "up.yaml": wants("VirtualImage")}
        )
        for name in DISKS:
            self.rig.push({f"{name}.yaml": in_class("slow", name)})
        self.rig.settle()
        for name in DISKS:
            self.write(name)

    def data(self, name: str, version: int) -> bytes:
        return f"{name}, version {version}".encode()

    def machine(self) -> dict[str, Any]:
        return machine(disks=tuple(self.uses), runPolicy="AlwaysOn" if self.on else "AlwaysOff")

    def effect(self, _verb: str, when: str) -> None:
        if self.left and when == "after":
            self.left -= 1
            if not self.left:
                raise Killed

    def work(self, passes: int = 1) -> None:
        for _ in range(passes):
            try:
                self.rig.step()
            except Killed:
                self.rig.start()

    def rest(self) -> None:
        """Nothing is broken, and all that can end does."""
        self.left = 0
        for _ in range(2):
            self.rig.now += 400
            self.rig.settle(500)

    def shown(self, kind: str, name: str) -> dict[str, Any]:
        return self.rig.document(f"namespaces/default/{kind}/{name}.yaml")

    def volume(self, name: str) -> Any:
        found = self.shown("virtualdisks", name)
        default = {
            "pool": GITVIRT,
            "name": f"default_disk_default_{name}_{found['metadata']['uid']}.qcow2",
        }
        lies = found["status"].get("volume", default)
        return lies["pool"], self.rig.host.pools[lies["pool"]][lies["name"]]

    def write(self, name: str) -> None:
        self.version += 1
        self.holds[name] = self.volume(name)[1].content = self.data(name, self.version)
        for of, may in self.copies.values():
            if of == name:
                may.add(self.holds[name])

    def push(self, files: dict[str, Any]) -> None:
        self.rig.push(files)
        self.rig.agent.reconciler.look_at_git()

    def happens(self, deed: tuple[Any, ...]) -> None:
        rig, (what, *about) = self.rig, deed
        match what, about:
            case "class", [name, its_class]:
                self.reshape(name, its_class, self.shape[name][1])
            case "size", [name, size]:
                self.reshape(name, self.shape[name][0], max(size, self.shape[name][1]))
            case (("image" | "snapshot"), [own, name]) if own not in self.copies:
                self.copies[own] = name, {self.holds[name]}
                made = image(own, "VirtualDisk", name) if what == "image" else snapshot(own, name)
                self.push({f"{own}.yaml": made})
            case "gone", [own] if own in self.copies:
                del self.copies[own]
                self.kept.pop(own, None)
                self.push({f"{own}.yaml": None})
                self.rest()
            case "power", [on]:
                self.on = on
                self.push({"vm.yaml": self.machine()})
            case "uses", [names]:
                self.uses = tuple(names)
                self.push({"vm.yaml": self.machine()})
            case "writes", [name]:
                self.rest()
                self.write(name)
            case "uploads", _ if not self.uploaded:
                self.rest()
                self.uploaded = True
                put(rig, "VirtualImage")
            case "dies", [left]:
                self.left = left
            case "ends", [how] if rig.running():
                (rig.host.crash if how == "crash" else rig.host.destroy)(rig.uuid())
            case "time", [seconds]:
                rig.now += seconds
            case "another agent", _:
                rig.start("another")
                rig.now += 400
            case "lost ledger", _:
                self.rest()
                assert isinstance(rig.repo, MemoryRepository)
                del rig.repo.refs[STATUS]
                rig.start()
                self.rest()  # it takes for a disk's class the one that its manifest names then

    def reshape(self, name: str, its_class: str, size: int) -> None:
        self.shape[name] = its_class, size
        self.push({f"{name}.yaml": in_class(its_class, name, f"{size}Gi")})

    def is_right(self) -> None:
        assert self.rig.running() is self.on, self.rig.vm()["status"]
        assert condition(self.rig.vm(), "DriftDetected") == {}
        listed = self.rig.vm()["status"]["blockDeviceRefs"] if self.on else []
        waits = {each["name"] for each in listed if not each["attached"]}
        for name, (its_class, size) in self.shape.items():
            found = self.shown("virtualdisks", name)["status"]
            assert found["phase"] == "Ready", found
            pool, volume = self.volume(name)
            assert (pool, volume.content) == (PLACES[its_class], self.holds[name])
            if name not in waits:  # whoever is to have it next may open it any time
                assert volume.capacity == to_bytes(f"{size}Gi")
        for own, (_, may) in self.copies.items():
            self.copy_is_right(own, may)
        if self.uploaded:
            assert status(self.rig, "VirtualImage")["phase"] == "Ready"
        for volumes in self.rig.host.pools.values():
            assert not [name for name in volumes if name.endswith(".unfinished")]
        for live in (False, True):
            items = planned(self.rig, live=live).report.items
            left = [
                (item.key, item.operation, item.actions)
                for item in items
                if item.operation != "blocked"
            ]
            assert not left, (live, left)

    def copy_is_right(self, own: str, may: set[bytes]) -> None:
        """Whole, and never other than it was; or it waits for its disk, and says so."""
        kind = "virtualimages" if own in "ij" else "virtualdisksnapshots"
        found = self.shown(kind, own)["status"]
        if kind == "virtualimages" and found["phase"] != "Ready":
            assert (found["phase"], self.on) == ("Pending", True), found
            return
        assert found["phase"] == "Ready", found
        name = found.get("volumeSnapshotName") or f"default_image_{found['digest']}.qcow2"
        pool = next(each for each in self.rig.host.pools.values() if name in each)
        content = pool[name].content
        assert content in may
        assert self.kept.setdefault(own, content) == content


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="PROPERTY_EXAMPLES" not in os.environ,
)
@given(st.lists(deeds, max_size=14))
def test_disks_keep_what_they_hold(happened: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        for deed in happened:
            try:
                stage.happens(deed)
            except Killed:
                stage.rig.start()
            stage.work(deed[1] if deed[0] == "pass" else 1)
        stage.rest()
        stage.is_right()
        stage.on = False
        stage.push({"vm.yaml": stage.machine()})
        stage.rest()
        stage.is_right()
