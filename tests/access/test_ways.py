from __future__ import annotations

from typing import cast

import pytest

from agent.access.place import place
from agent.access.ways import ClosedError, Ways, address
from agent.hypervisor.visit import Networking, Visit

NET = Networking("", ("192.168.122.7",))
USER = Networking("hostnet0", ())


def test_what_the_host_gave_goes_before_what_the_guest_says() -> None:
    assert address(NET, "10.9.9.9") == "192.168.122.7"
    assert address(Networking("", ()), "10.9.9.9") == "10.9.9.9"


def test_what_people_see_goes_before_other_addresses_and_main_before_other_networks() -> None:
    several = Networking("", ("10.66.10.14", "10.66.20.77"), ("10.77.0.50",))
    assert address(several, "10.66.20.77") == "10.66.20.77"
    assert address(several, "10.77.0.50") == "10.66.10.14"
    bridged = Networking("", (), ("10.77.0.50",))
    assert address(bridged, "10.66.10.14") == "10.66.10.14"
    assert address(bridged, "") == "10.77.0.50"


def test_on_qemus_own_network_the_status_knows_better_than_the_default() -> None:
    assert address(USER, "10.66.10.2") == "10.66.10.2"
    assert address(USER, "") == ""
    assert address(USER, "fd00::1") == ""


@pytest.mark.parametrize(
    "claimed",
    ["127.0.0.1", "169.254.169.254", "::1", "224.0.0.1", "0.0.0.0", "fe80::1", "pt-1", "-x"],
)
def test_an_address_that_no_machine_of_a_network_has_is_not_believed(claimed: str) -> None:
    with pytest.raises(ClosedError):
        address(Networking("", ()), claimed)
    assert address(USER, claimed) == ""


class Visited:
    """A visit that knows of the network alone."""

    def __init__(self, networking: Networking) -> None:
        self._networking = networking

    def networking(self) -> Networking:
        return self._networking


@pytest.mark.parametrize(
    ("networking", "uri", "known"),
    [
        (USER, "qemu:///session", "10.66.10.2"),
        (NET, "qemu+ssh://pt-1/system", ""),
        (Networking("", ()), "qemu:///system", ""),
        (Networking("", ()), "qemu:///system", "127.0.0.1"),
    ],
)
def test_no_way_is_straight_through_qemu_or_ssh_or_to_nowhere(
    networking: Networking, uri: str, known: str
) -> None:
    ways = Ways(cast(Visit, Visited(networking)), place(uri), lambda: known)
    assert ways.straight(22) == ""
