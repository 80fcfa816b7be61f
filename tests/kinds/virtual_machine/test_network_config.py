"""What a guest's medium says of its network."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import yaml

from agent.kinds.virtual_machine.network_config import (
    NETWORK_CONFIG,
    USER_DATA,
    VENDOR_DATA,
    bridged,
    digest,
    user_mode,
)

MAC = "52:00:00:00:00:0A"


def device(files: Mapping[str, bytes]) -> object:
    config = yaml.safe_load(files[NETWORK_CONFIG])
    assert config["version"] == 2
    (found,) = config["ethernets"].values()
    return found


def test_behind_user_mode_networking_any_address_leads_out_by_qemus_own() -> None:
    assert device(user_mode(MAC, "10.66.10.2")) == {
        "match": {"macaddress": MAC.lower()},
        "set-name": "main",
        "addresses": ["10.0.2.15/24", "10.66.10.2/32"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.0.2.2"}],
        "nameservers": {"addresses": ["10.0.2.3"]},
    }


def test_the_address_that_a_guest_has_on_qemus_own_network_stands_there_once() -> None:
    config = device(user_mode(MAC, "10.0.2.15"))
    assert isinstance(config, dict)
    assert config["addresses"] == ["10.0.2.15/24"]


@pytest.mark.parametrize(
    "files",
    [
        user_mode(MAC, "10.66.10.2"),
        bridged(MAC, "10.66.20.7", 24, ("10.66.20.254",), ("10.66.0.53",)),
        bridged(MAC, "10.66.20.7", 24, (), ()),
    ],
)
def test_every_renderer_of_cloud_init_finds_the_interface_and_can_write_its_routes(
    files: Mapping[str, bytes],
) -> None:
    """Seen in cloud-init 22.4: ifupdown, networkd and sysconfig look for an interface of the name that it has
    in the file, which it gets at the first boot only if `set-name` says so; ifupdown and sysconfig fail on a
    route without `via`.
    """
    config = yaml.safe_load(files[NETWORK_CONFIG])
    ((name, found),) = config["ethernets"].items()
    assert found["set-name"] == name
    assert all("via" in route for route in found.get("routes", ()))


def test_on_a_bridge_the_gateway_is_the_one_in_the_addresss_own_range() -> None:
    gateways = ("10.66.10.254", "10.66.20.254")
    files = bridged(MAC, "10.66.20.7", 24, gateways, ("10.66.0.53",))
    assert device(files) == {
        "match": {"macaddress": MAC.lower()},
        "set-name": "main",
        "addresses": ["10.66.20.7/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.66.20.254"}],
        "nameservers": {"addresses": ["10.66.0.53"]},
    }


def test_on_a_bridge_whose_gateway_nobody_says_there_is_the_address_alone() -> None:
    assert device(bridged(MAC, "10.66.20.7", 24, ("10.66.10.254",), ())) == {
        "match": {"macaddress": MAC.lower()},
        "set-name": "main",
        "addresses": ["10.66.20.7/24"],
    }


def test_cloud_init_looks_at_it_at_each_boot() -> None:
    vendor = yaml.safe_load(user_mode(MAC, "10.66.10.2")[VENDOR_DATA])
    assert vendor == {"updates": {"network": {"when": ["boot-new-instance", "boot"]}}}
    assert user_mode(MAC, "10.66.10.2")[VENDOR_DATA].startswith(b"#cloud-config\n")


def test_a_machine_without_user_data_gets_nothing_but_its_address() -> None:
    told = yaml.safe_load(USER_DATA)
    assert told == {"preserve_hostname": True, "ssh_deletekeys": False, "users": []}
    assert USER_DATA.startswith(b"#cloud-config\n")


@pytest.mark.parametrize(
    "other",
    [user_mode(MAC, "10.66.10.3"), user_mode("52:00:00:00:00:0b", "10.66.10.2")],
    ids=["address", "card"],
)
def test_another_network_has_another_digest(other: Mapping[str, bytes]) -> None:
    files = user_mode(MAC, "10.66.10.2")
    assert digest(files) == digest(dict(sorted(files.items(), reverse=True)))
    assert digest(files) != digest(other)
