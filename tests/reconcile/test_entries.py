"""Whose a DHCP entry is."""

from __future__ import annotations

import pytest

from agent.core.identity import entry_name, mac_address
from agent.core.model import Key
from agent.core.network import Held
from agent.reconcile.entries import lost, machines_of

KIND = "VirtualMachine"
WEB, DIGIT = Key(KIND, "shop", "web"), Key(KIND, "shop", "9lives")


def held(name: str, mac: str = "52:54:00:00:00:01", **more: bool) -> Held:
    return Held("gitvirt", mac, "10.66.10.5", name, **more)


@pytest.mark.parametrize(
    "machine", [WEB, DIGIT, Key(KIND, "shop", "web.one"), Key(KIND, "a", "vm-9")]
)
def test_a_machine_is_told_from_its_entry(machine: Key) -> None:
    assert machine in machines_of(held(entry_name("blue", machine)), "blue", KIND)


def test_a_name_may_be_that_of_two_machines() -> None:
    names = [key.name for key in machines_of(held("vm-9lives.shop.blue.gitvirt"), "blue", KIND)]
    assert names == ["vm-9lives", "9lives"]
    both = [held("vm-9lives.shop.blue.gitvirt", mac_address("blue", DIGIT))]
    entries = [("pt-1", each) for each in both]
    assert lost(entries, "blue", KIND, lambda key, _: key.name == "vm-9lives").ours == ()
    assert lost(entries, "blue", KIND, lambda _key, _mac: False).ours == tuple(entries)


@pytest.mark.parametrize(
    "other",
    [
        held(""),
        held("web.shop.green.gitvirt"),
        held("web"),
        held("blue.gitvirt"),
        held("web.blue.gitvirt"),
        held(entry_name("blue", WEB), leased=True),
    ],
)
def test_what_bears_no_name_of_ours_is_nobodys_here(other: Held) -> None:
    assert machines_of(other, "blue", KIND) == []
    found = lost([("pt-1", other)], "blue", KIND, lambda _key, _mac: False)
    assert (found.ours, found.doubtful) == ((), ())
