"""Names that every agent derives alike, also one of a later version: what an earlier one has made
would be nobody's else.
"""

from __future__ import annotations

import pytest

from agent.core import identity
from agent.core.model import Key

VM = Key("VirtualMachine", "ns", "vm")
DISK = Key("VirtualDisk", "ns", "disk")
OPERATION = Key("VirtualMachineOperation", "ns", "op")
UID = "0b5f4f3e-8d1f-4c57-9d0e-6f6f1b9f2a11"
VOLUME = f"f_disk_ns_disk_{UID}.qcow2"


def test_names_are_for_ever() -> None:
    assert identity.POOL == "gitvirt"
    assert identity.domain_name(VM) == "ns.vm"
    assert identity.domain_uuid("f", VM) == "0779d27d-cc2e-556c-8517-73ee26a95c05"
    assert identity.mac_address("f", VM) == "52:89:a9:56:2b:b4"
    spec = {"type": "Stop", "force": True}
    for same in (spec, dict(reversed(spec.items()))):
        uid = identity.operation_uid("f", OPERATION, same)
        assert uid == "19086cb0-967a-5e80-a897-e31262052fd2"
    reboot = identity.internal_uid("o", "Reboot", "i")
    assert reboot == "25123528-6b0c-567d-877a-059b63582dc9"
    assert identity.serial(UID) == "0a128bf1d1f7e95535fdd920378741cb"
    assert identity.disk_volume("f", DISK, UID) == VOLUME
    assert identity.disk_volume("f", DISK, UID, "raw", 2) == f"f_disk_ns_disk_{UID}.2.raw"
    assert identity.image_volume("f", "0" * 64, "raw") == f"f_image_{'0' * 64}.raw"
    copy = identity.copied_data(UID, 1, VOLUME, "")
    assert copy == "copy-9f9a947238fb896f4b56379fe3942dfb"
    mark = identity.known_volume(f"{identity.known_prefix('f', DISK)}{UID}", 2, 3, copy, "qcow2")
    assert mark == f"f_known_a20d8efd252a2dfc3fa0e12d_{UID}_2_3_{copy}.qcow2"
    assert identity.known_data("f", mark) == identity.KnownData(UID, 2, 3, copy, "qcow2")
    assert identity.known_data("g", mark) is None
    assert identity.seed_volume("f", UID, "1") == f"f_seed_{UID}_1.iso"
    assert identity.console_log("f", UID) == f"f_console_{UID}.log"


def test_each_start_has_an_id_of_its_own() -> None:
    assert identity.next_instance("o", "i", 1.5) == "7b01bf1b1eccf9ea"
    assert len({identity.next_instance("o", "i", now) for now in (1.5, 1.500001, 2.0)}) == 3


@pytest.mark.parametrize(
    ("name", "part"),
    [("x" * 64, "x" * 64), ("x" * 65, f"{'x' * 51}-9537c5fdf120")],
)
def test_a_long_name_is_shortened_with_a_digest_of_all_of_it(name: str, part: str) -> None:
    assert identity.disk_prefix("f", Key("VirtualDisk", "ns", name)) == f"f_disk_ns_{part}_"
    assert identity.disk_prefix("f", Key("VirtualDisk", name, "d")) == f"f_disk_{part}_d_"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        (VOLUME, "f_disk_ns_disk_"),
        (f"a{UID}.qcow2", "a"),
        (f"{UID}.qcow2", ""),
        (VOLUME.replace(".qcow2", ".raw"), "f_disk_ns_disk_"),
        (VOLUME.replace(".qcow2", ".12.qcow2"), "f_disk_ns_disk_"),
        (VOLUME.replace(".qcow2", ".iso"), ""),
        ("short.qcow2", ""),
    ],
)
def test_a_disks_volume_tells_whose_it_is(name: str, prefix: str) -> None:
    assert identity.prefix_of(name) == prefix


@pytest.mark.parametrize(
    ("fleet", "name", "uid", "ours"),
    [
        ("f", VOLUME, UID, True),
        ("f", VOLUME.replace(".qcow2", ".3.raw"), UID, True),
        ("g", VOLUME, UID, False),
        ("f", VOLUME, UID[::-1], False),
        ("f", f"x{VOLUME}", UID, False),
        ("f", VOLUME.replace("disk_", "seed_", 1), UID, False),
    ],
)
def test_a_serial_number_has_a_volume_of_its_own(
    fleet: str, name: str, uid: str, ours: bool
) -> None:
    assert identity.is_disk_volume(fleet, name, identity.serial(uid)) is ours


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (f"f_image_{'0a' * 32}.qcow2", True),
        (f"f_image_{'0a' * 32}.iso", True),
        (f"f_image_{'0a' * 32}.vmdk", False),
        (f"f_image_{'0a' * 31}.raw", False),
        (f"f_image_{'0a' * 32}.raw\n", False),
        (f"g_image_{'0a' * 32}.raw", False),
        (VOLUME, False),
    ],
)
def test_image_data_is_known_by_its_name(name: str, ours: bool) -> None:
    assert identity.is_image_data("f", name) is ours


def test_a_networks_entry_says_whose_it_is_and_begins_with_a_letter() -> None:
    web, digit = (Key("VirtualMachine", "shop", name) for name in ("web", "9lives"))
    assert identity.entry_name("blue", web) == "web.shop.blue.gitvirt"
    assert identity.entry_name("blue", digit) == "vm-9lives.shop.blue.gitvirt"


def test_each_fleet_has_a_network_and_a_bridge_of_its_own() -> None:
    fleets = ("default", "blue", "a-fleet-with-a-name-too-long-for-a-bridge-of-linux")
    names = [
        (identity.network_name(fleet), identity.bridge_name(fleet), identity.bridge_mac(fleet))
        for fleet in fleets
    ]
    assert names[0] == ("gitvirt", "virbr-gitvirt", "52:a0:74:58:2d:48")
    assert names[1][0] == "gitvirt-blue"
    assert all(len(set(column)) == 3 for column in zip(*names, strict=True))
    assert all(len(bridge) <= 15 for _, bridge, _ in names)
