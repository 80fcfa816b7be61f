"""How a host reads and writes a machine's disks, by what their storage pool can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from agent.core.domain_xml import parse
from agent.places import Pools, PoolSettings
from tests.memory_host import MemoryHost
from tests.product.test_attachments import attachment
from tests.product.test_storage_classes import PATH, VMS, in_class, storage_class
from tests.rig import Rig, condition, machine, operation

NVME = PoolSettings(VMS)
SHARED = PoolSettings(VMS, shared=True)
WORDS = ("cache", "io", "discard", "detect_zeroes")
OF_A_FILE = {"discard": "unmap", "detect_zeroes": "unmap"}
OF_A_SHARED_FILE = {"cache": "none", **OF_A_FILE}
OF_A_BLOCK_DEVICE = {"cache": "none", "io": "native", "discard": "unmap"}


def rig_with(folder: Path, pool: PoolSettings, **host: Any) -> Rig:
    made = MemoryHost(**host)
    made.pools[VMS] = {}
    rig = Rig(folder, made, pools=Pools.of({"nvme": pool}))
    rig.push({"a.yaml": [storage_class(), in_class("fast")], "vm.yaml": machine(disks=("data",))})
    assert rig.settle().wrong == ()
    return rig


def driver(rig: Rig, *, live: bool = False) -> Mapping[str, str]:
    """What is said of how the machine's disk is read and written."""
    found = drive(rig, live=live).find("driver")
    return {word: found.get(word) for word in WORDS if found.get(word)}


def drive(rig: Rig, *, live: bool = False) -> Any:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    root = parse(raw.active_xml if live else raw.inactive_xml)
    return root.findall("devices/disk[@device='disk']")[-1]


def says(attributes: Mapping[str, str]) -> Any:
    """An edit that has the disk's driver say just this."""

    def edit(root: etree._Element) -> None:
        for found in root.iterfind("devices/disk[@device='disk']/driver"):
            for word in WORDS:
                found.attrib.pop(word, "")
            for name, value in attributes.items():
                found.set(name, value)

    return edit


@pytest.mark.parametrize(
    ("pool", "host", "wanted"),
    [
        (NVME, {}, OF_A_FILE),
        (SHARED, {}, OF_A_SHARED_FILE),
        (NVME, {"groups": {VMS: "vg0"}}, OF_A_BLOCK_DEVICE),
    ],
    ids=["directory", "shared directory", "volume group"],
)
def test_a_disk_is_read_and_written_as_its_pool_can(
    tmp_path: Path, pool: PoolSettings, host: dict[str, Any], wanted: dict[str, str]
) -> None:
    rig = rig_with(tmp_path, pool, **host)
    assert driver(rig) == driver(rig, live=True) == wanted


@pytest.fixture
def older(tmp_path: Path) -> Rig:
    """A machine that runs as an agent defined it that knew nothing of this, in a shared pool."""
    rig = rig_with(tmp_path, SHARED)
    for live in (False, True):
        rig.host.edit(rig.uuid(), says({"discard": "unmap"}), live=live)
    rig.verbs()
    rig.start()
    rig.settle()
    return rig


def test_a_machine_that_was_defined_before_is_left_as_it_is(older: Rig) -> None:
    assert older.verbs() == []
    assert condition(older.vm(), "DriftDetected") == {}
    assert condition(older.vm(), "AwaitingRestartToApplyConfiguration") == {}
    assert driver(older) == driver(older, live=True) == {"discard": "unmap"}


def test_the_next_definition_that_is_written_has_it(older: Rig) -> None:
    older.push({"op.yaml": operation("again", "vm", "Restart")})
    older.settle()
    assert driver(older) == driver(older, live=True) == OF_A_SHARED_FILE
    assert condition(older.vm(), "DriftDetected") == {}


def test_what_else_a_definition_says_stays(older: Rig) -> None:
    def edit(root: etree._Element) -> None:
        etree.SubElement(root.find("devices"), "watchdog", model="itco")  # type: ignore[arg-type]

    older.host.edit(older.uuid(), edit)
    older.push({"vm.yaml": machine(disks=("data",), metadata={"labels": {"a": "b"}})})
    older.settle()
    raw = older.host.read_domain(older.uuid())
    assert raw is not None
    assert "watchdog" in raw.inactive_xml
    assert driver(older) == OF_A_SHARED_FILE
    assert driver(older, live=True) == {"discard": "unmap"}


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ({"cache": "writeback"}, {"cache": "writeback", **OF_A_FILE}),
        ({"cache": "directsync", "io": "native"}, {"cache": "directsync", "io": "native"}),
        ({"detect_zeroes": "off"}, {"cache": "none", "detect_zeroes": "off"}),
    ],
)
def test_what_somebody_chose_by_hand_stays(
    tmp_path: Path, said: dict[str, str], then: dict[str, str]
) -> None:
    rig = rig_with(tmp_path, SHARED)
    rig.host.edit(rig.uuid(), says(said))
    more = machine(disks=("data",), metadata={"labels": {"a": "b"}}, cpu={"cores": 2})
    rig.push({"vm.yaml": more})
    rig.settle()
    assert driver(rig) == {**OF_A_FILE, **then}
    assert condition(rig.vm(), "DriftDetected") == {}


def test_an_attached_disk_has_it_too(tmp_path: Path) -> None:
    rig = rig_with(tmp_path, SHARED)
    first = drive(rig).findtext("serial")
    rig.push({"b.yaml": [in_class("fast", "more"), attachment("plug", "more")]})
    rig.settle()
    assert first != drive(rig).findtext("serial") == drive(rig, live=True).findtext("serial")
    assert driver(rig) == driver(rig, live=True) == OF_A_SHARED_FILE


def test_a_disk_that_moves_is_defined_as_its_new_pool_can(tmp_path: Path) -> None:
    rig = rig_with(tmp_path, NVME, groups={VMS: "vg0"})
    rig.push({"vm.yaml": machine(disks=("data",), runPolicy="AlwaysOff")})
    rig.settle()
    assert driver(rig) == OF_A_BLOCK_DEVICE
    rig.push(
        {"b.yaml": storage_class("slow", "gitvirt"), "a.yaml": [storage_class(), in_class("slow")]}
    )
    rig.settle()
    assert rig.document(PATH)["status"]["volume"]["pool"] == "gitvirt"
    assert driver(rig) == OF_A_FILE
