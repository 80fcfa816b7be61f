"""What a guest says is bounded, whatever it says."""

from __future__ import annotations

import pytest

from agent.hypervisor.guest import (
    MAX_ADDRESSES,
    MAX_INTERFACES,
    MAX_TEXT,
    read_addresses,
    read_os,
    text,
)


@pytest.mark.promise("S43", "S62")
def test_every_fact_about_the_system_has_its_field() -> None:
    said = {
        "os.id": "alpine",
        "os.name": "Alpine Linux",
        "os.pretty-name": "Alpine Linux v3.20",
        "os.version": "3.20 (small)",
        "os.version-id": "3.20",
        "os.kernel-release": "6.6.0-virt",
        "os.kernel-version": "#1-Alpine SMP",
        "os.machine": "x86_64",
        "os.variant": "server",
    }
    assert read_os(said) == {
        "id": "alpine",
        "name": "Alpine Linux",
        "prettyName": "Alpine Linux v3.20",
        "version": "3.20 (small)",
        "versionId": "3.20",
        "kernelRelease": "6.6.0-virt",
        "kernelVersion": "#1-Alpine SMP",
        "machine": "x86_64",
    }


def test_what_the_guest_leaves_out_is_absent() -> None:
    assert read_os({"os.id": "alpine", "os.name": ""}) == {"id": "alpine"}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain", "plain"),
        ("a\x1b[31mb\nc\x00d\x7f", "a[31mbcd"),
        ("\u202egnp.exe", "gnp.exe"),
        ("  around  ", "around"),
        (None, ""),
        (7, ""),
        (["x"], ""),
        ("\ud800", ""),
        ("x" * 5000, "x" * MAX_TEXT),
        ("ü" * 5000, "ü" * (MAX_TEXT // 2)),
    ],
)
def test_text_holds_no_control_characters_and_is_short(said: object, kept: str) -> None:
    assert text(said) == kept


def test_addresses_stand_by_mac_without_loopback() -> None:
    said = {
        "lo": {
            "hwaddr": "00:00:00:00:00:00",
            "addrs": [{"addr": "127.0.0.1", "prefix": 8, "type": 0}],
        },
        "eth0": {
            "hwaddr": "52:54:00:AA:BB:CC",
            "addrs": [
                {"addr": "10.0.0.5", "prefix": 24, "type": 0},
                {"addr": "fd00::5", "prefix": 64, "type": 1},
            ],
        },
        "sit0": {"hwaddr": None, "addrs": [{"addr": "192.0.2.1", "prefix": 24, "type": 0}]},
        "eth1": {"hwaddr": "52:54:00:00:00:01", "addrs": None},
    }
    assert read_addresses(said) == {
        "52:54:00:aa:bb:cc": ("10.0.0.5", "fd00::5"),
        "52:54:00:00:00:01": (),
    }


def test_only_addresses_count_as_addresses() -> None:
    said = {
        "eth0": {
            "hwaddr": "52:54:00:aa:bb:cc",
            "addrs": [{"addr": "| evil |"}, {"addr": "10.0.0.5"}, {"addr": "fe80::1%eth0"}],
        }
    }
    assert read_addresses(said) == {"52:54:00:aa:bb:cc": ("10.0.0.5",)}


def test_an_interface_with_something_else_for_a_mac_is_left_out() -> None:
    assert read_addresses({"eth0": {"hwaddr": "x: y", "addrs": []}}) == {}


def test_a_guest_with_countless_interfaces_is_cut_off() -> None:
    address = {"addr": "10.0.0.5", "prefix": 24, "type": 0}
    said = {
        f"eth{n}": {"hwaddr": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}", "addrs": [address] * 500}
        for n in range(1000)
    }
    found = read_addresses(said)
    assert len(found) == MAX_INTERFACES
    assert {len(each) for each in found.values()} == {MAX_ADDRESSES}
