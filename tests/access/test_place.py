from __future__ import annotations

import pytest

from agent.access.place import bracketed, place


@pytest.mark.parametrize(
    "uri", ["qemu:///system", "qemu:///session", "qemu+unix:///system", "test:///default"]
)
def test_a_uri_without_a_host_is_of_this_machine(uri: str) -> None:
    assert place(uri).local
    assert not place(uri).ssh


def test_a_host_behind_ssh_is_logged_in_to_as_the_uri_says() -> None:
    there = place("qemu+ssh://me%2Btoo@pt-1:2222/system?keyfile=/k/id&no_verify=1&command=/opt/ssh")
    assert not there.local
    assert there.command(["-W", "10.0.0.5:22"]) == [
        *("/opt/ssh", "-T", "-o", "ForwardX11=no", "-p", "2222", "-o", "User=me+too"),
        *("-i", "/k/id", "-o", "StrictHostKeyChecking=no", "-W", "10.0.0.5:22", "--", "pt-1"),
    ]


def test_a_hosts_name_is_never_an_option() -> None:
    words = place("qemu+ssh://-oProxyCommand=x/system").command([])
    assert words[-2:] == ["--", "-oproxycommand=x"]


@pytest.mark.parametrize("uri", ["qemu+tls://pt-1/system", "qemu+tcp://pt-1/session"])
def test_other_transports_lead_to_no_ssh(uri: str) -> None:
    assert not place(uri).local
    assert not place(uri).ssh


def test_an_address_before_a_port() -> None:
    assert (bracketed("10.0.0.1"), bracketed("fd00::1")) == ("10.0.0.1", "[fd00::1]")
