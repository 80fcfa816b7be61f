"""The agent dies, or something fails, at each effect of what is done to disks: the end is always the same, and nothing is lost.

Each deed is a short story of its own. What it begins with is made once, without a fault, and each telling begins in a copy of it.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.core.domain_xml import parse
from agent.core.host import GuestInfo, HostError
from agent.places import Pools, PoolSettings
from tests.memory_host import Killed
from tests.memory_repository import MemoryRepository
from tests.product.faults import Effects, FragileRepository, WatchedHost
from tests.product.test_attachments import attachment
from tests.product.test_disk_snapshots import snapshot
from tests.product.test_object_sources import image, of
from tests.product.test_storage_classes import GITVIRT, VMS, in_class, storage_class
from tests.rig import Rig, machine

BEGINNING: dict[str, Any] = {
    "classes.yaml": [storage_class("slow", GITVIRT), storage_class()],
    "vm.yaml": machine(runPolicy="AlwaysOn"),
    "root.yaml": in_class("slow", "root"),
    "data.yaml": in_class("slow", "data"),
}
USED = Pools.of({"nvme": PoolSettings(VMS)})
PLUG = {"plug.yaml": attachment("plug", "data")}
TAKEN = {"snap.yaml": snapshot()}
Files = Mapping[str, Any]
DEEDS: dict[str, tuple[Files, Files, set[str]]] = {
    "attach": ({}, PLUG, {"define", "set_live_metadata", "attach_device"}),
    "detach": (PLUG, {"plug.yaml": None}, {"define", "detach_device", "set_live_metadata"}),
    "grow, open": ({}, {"root.yaml": in_class("slow", "root", "2Gi")}, {"grow_disk"}),
    "grow, off": ({}, {"data.yaml": in_class("slow", "data", "2Gi")}, {"resize_volume"}),
    "move, open": (
        {},
        {"root.yaml": in_class("fast", "root")},
        {"create_volume", "copy_disk", "end_disk_copy"},
    ),
    "move, off": (
        {},
        {"data.yaml": in_class("fast", "data")},
        {"create_volume", "copy_volume", "delete_volume"},
    ),
    "snapshot, open": ({}, TAKEN, {"create_volume", "begin_backup", "delete_volume"}),
    "snapshot, off": ({}, {"snap.yaml": snapshot(of="data")}, {"create_volume", "copy_volume"}),
    "image of a disk": (
        {},
        {"image.yaml": image("golden", "VirtualDisk", "data")},
        {"copy_volume"},
    ),
    "disk from a snapshot": (
        TAKEN,
        {"copy.yaml": of("VirtualDisk", "copy", "VirtualDiskSnapshot", "snap")},
        {"copy_volume"},
    ),
}
"""What is there beside, what is pushed, and some of what is done then."""
_NAMED = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32,64}")


@dataclass
class Told:
    effects: list[str]
    end: dict[str, Any]


@dataclass
class Beginning:
    """A host and a repository as a deed finds them."""

    host: WatchedHost
    repository: MemoryRepository
    now: float

    @classmethod
    def of(cls, folder: Path, deed: str) -> Beginning:
        rig = Rig(folder, host=WatchedHost(), pools=USED)
        rig.host.pools[VMS] = {}
        rig.host.guests[rig.uuid()] = GuestInfo()
        rig.push({**BEGINNING, **DEEDS[deed][0]})
        rig.settle()
        assert isinstance(rig.host, WatchedHost)
        assert isinstance(rig.repo, MemoryRepository)
        for name, volume in rig.host.pools[GITVIRT].items():
            volume.content = _NAMED.sub("", name).encode()
        rig.host.turns.clear()
        rig.host._subscribers.clear()
        rig.host.clock = time.time  # and not what holds on to the agent
        return cls(rig.host, rig.repo, rig.now)

    def rig(self, folder: Path) -> Rig:
        """A copy of both, and an agent that begins there."""
        lock = self.host._lock  # which cannot be copied
        host = copy.deepcopy(self.host, {id(lock): lock})
        rig = Rig(folder, host=host, now=self.now, pools=USED)
        rig.repo = made = FragileRepository(lambda: rig.now)
        made.objects, made.refs = dict(self.repository.objects), dict(self.repository.refs)
        rig.start()
        rig.settle()
        return rig


def tell(rig: Rig, deed: str, fault: Callable[[int, str, str], None]) -> Told:
    effects = Effects(fault)
    assert isinstance(rig.host, WatchedHost)
    assert isinstance(rig.repo, FragileRepository)
    rig.host.on_effect, rig.repo.effects = effects, effects
    rig.push(DEEDS[deed][1])
    for _ in range(3):  # what has failed is tried again by and by
        try:
            rig.settle()
        except Killed:
            rig.start()
            rig.settle()
        rig.now += 1000
    assert rig.host.turns == [], "the machine was turned off"
    done = len(effects.done)
    rig.settle()
    assert len(effects.done) == done
    return Told(effects.done, ended(rig))


def ended(rig: Rig) -> dict[str, Any]:
    """What there is in the end, whatever its uids."""
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return {
        "phases": {
            _NAMED.sub("", path): rig.document(path)["status"].get("phase")
            for path in rig.documents()
            if path.startswith(("namespaces/", "trash/"))
        },
        "volumes": {
            pool: sorted(
                (_NAMED.sub("", name), volume.capacity, volume.content)
                for name, volume in volumes.items()
            )
            for pool, volumes in rig.host.pools.items()
        },
        "disks": [
            [
                _NAMED.sub("", source.get("file", ""))
                for source in parse(xml).iterfind("devices/disk/source")
            ]
            for xml in (raw.inactive_xml, raw.active_xml)
        ],
        "copies": raw.active_xml.count("<mirror"),
        "marks": raw.active_xml.count("backup"),
    }


def nothing(_number: int, _what: str, _phase: str) -> None:
    pass


@pytest.fixture(params=DEEDS)
def deed(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_each_effect_is_broken_and_the_end_is_the_same(tmp_path: Path, deed: str) -> None:
    beginning = Beginning.of(tmp_path, deed)
    plain = tell(beginning.rig(tmp_path), deed, nothing)
    assert DEEDS[deed][2] <= set(plain.effects)
    for number, verb in enumerate(plain.effects, 1):
        for how in ("killed",) if verb == "push" else ("killed", "before", "after"):

            def fault(at: int, what: str, when: str, number: int = number, how: str = how) -> None:
                if (at, when) != (number, "after" if how == "killed" else how):
                    return
                if how == "killed":
                    raise Killed
                raise HostError("HypervisorError", f"{what} failed")

            found = tell(beginning.rig(tmp_path), deed, fault)
            assert found.end == plain.end, (number, verb, how)
