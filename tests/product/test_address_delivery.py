"""How guests get the addresses that are reserved for them, and what networks hold for whom."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pycdlib
import pytest
import yaml
from lxml import etree

from agent.core.domain_xml import parse
from agent.core.host import GuestInfo, HostError
from agent.core.identity import POOL, mac_address
from agent.core.links import Link
from agent.core.network import Held, NetworkReading
from tests.memory_host import NODE, Killed, MemoryHost
from tests.memory_networks import network
from tests.rig import Rig, condition, disk, machine, operation, settings, static, vm_key

RANGE = "10.66.10.0/24"
CLOUD = {"type": "UserData", "userData": "#cloud-config\n"}
MAC = mac_address("default", vm_key())


@pytest.fixture
def pool(rig: Rig) -> Rig:
    """In system mode, where nobody says what Main is."""
    rig.push({"config.yaml": settings(RANGE)})
    rig.settle()
    rig.verbs()
    return rig


@pytest.fixture
def session(tmp_path: Path) -> Rig:
    node = replace(NODE, session=True, networks=frozenset())
    rig = Rig(tmp_path, host=MemoryHost(node))
    rig.push({"config.yaml": settings(RANGE)})
    rig.settle()
    return rig


def connected(tmp_path: Path, link: Link, *networks: Any) -> Rig:
    rig = Rig(tmp_path, networks={"main": link})
    for each in networks:
        rig.host.add_network(each)
    rig.push({"config.yaml": settings(RANGE)})
    rig.settle()
    return rig


def entries(rig: Rig, name: str = "gitvirt") -> dict[str, str]:
    """Addresses that a network holds, by the names that go with them."""
    return {each.name: each.address for each in rig.host.networks[name].held}


def address(rig: Rig, name: str = "vm") -> str:
    found: str = rig.vm(name)["status"]["ipAddress"]
    return found


def source(rig: Rig, *, active: bool = False) -> Mapping[str, str]:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    element = parse(raw.active_xml if active else raw.inactive_xml).find("devices/interface/source")
    names = ("network", "bridge")
    return {} if element is None else {name: element.get(name, "") for name in names}


def media(rig: Rig) -> list[str]:
    return sorted(name for name in rig.host.pools[POOL] if "_seed_" in name)


def medium(rig: Rig) -> dict[str, bytes]:
    """The files of the one medium that there is."""
    (name,) = media(rig)
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(rig.host.pools[POOL][name].content))
    files = {}
    for child in iso.list_children(rr_path="/"):
        if not child.is_dot() and not child.is_dotdot():
            out = io.BytesIO()
            name = child.rock_ridge.name().decode()
            iso.get_file_from_iso_fp(out, rr_path=f"/{name}")
            files[name] = out.getvalue()
    iso.close()
    return files


def says(rig: Rig, *addresses: str) -> None:
    """The guest's agent says that it has these addresses."""
    rig.host.guests[rig.uuid()] = GuestInfo({}, {MAC: addresses})

    def opens(root: etree._Element) -> None:
        target = root.find("devices/channel/target[@name='org.qemu.guest_agent.0']")
        assert target is not None
        name = target.attrib.pop("name")
        target.attrib.update({"name": name, "state": "connected"})

    rig.host.edit(rig.uuid(), opens, live=True)
    rig.settle()


def told(rig: Rig) -> dict[str, Any]:
    """What the medium says of the one interface."""
    config = yaml.safe_load(medium(rig)["network-config"])
    (device,) = config["ethernets"].values()
    found: dict[str, Any] = device
    return found


# -- by DHCP --------------------------------------------------------------------------------------


def test_a_machine_starts_once_a_network_of_our_own_holds_its_address(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    assert pool.vm()["status"]["phase"] == "Running"
    assert entries(pool) == {"vm.default.default.gitvirt": address(pool)}
    (entry,) = pool.host.networks["gitvirt"].held
    assert entry.mac == MAC
    own = pool.host.networks["gitvirt"].network
    assert (own.active, own.fleet, own.forward) == (True, "default", "nat")
    assert [str(each) for each in own.addresses] == ["10.66.10.1/24"]
    verbs = pool.verbs()
    assert verbs.index("hold_address") < verbs.index("start_network") < verbs.index("start")
    assert source(pool)["network"] == "gitvirt"


def test_what_many_machines_need_is_held_before_the_network_runs(pool: Rig) -> None:
    names = [f"vm-{number}" for number in range(5)]
    pool.push({f"{name}.yaml": [machine(name, disks=(name,)), disk(name)] for name in names})
    pool.settle()
    verbs = [verb for verb in pool.verbs() if verb.endswith(("_network", "_address"))]
    assert (
        verbs.index("start_network")
        == max(at for at, verb in enumerate(verbs) if verb == "hold_address") + 1
    )
    assert len(entries(pool)) == 5
    assert all(pool.running(name) for name in names)


def test_a_network_of_the_settings_holds_it_where_it_serves_the_range(tmp_path: Path) -> None:
    theirs = Held("office", "52:54:00:00:00:01", "10.66.10.9")
    rig = connected(tmp_path, Link("office"), network("office", "10.66.10.1/24"))
    rig.host.add_network(network("office", "10.66.10.1/24"), theirs)
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    assert entries(rig, "office") == {
        "": "10.66.10.9",
        "vm.default.default.gitvirt": address(rig),
    }
    assert "make_network" not in rig.verbs()
    rig.push({"vm.yaml": [disk(), disk("other")]})
    rig.settle()
    assert rig.host.networks["office"].held == (theirs,)


def test_a_network_that_serves_another_range_keeps_the_machine_off(tmp_path: Path) -> None:
    rig = connected(tmp_path, Link("office"), network("office", "192.168.122.1/24"))
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    said = condition(rig.vm(), "NetworkReady")
    assert (said["status"], said["reason"]) == ("False", "NetworkNotReady")
    assert "serves 192.168.122.0/24, and not 10.66.10." in said["message"]
    assert rig.vm()["status"]["phase"] == "Pending"
    assert rig.verbs().count("start") == 0
    rig.host.add_network(network("office", "10.66.10.1/24"))
    rig.settle()
    assert rig.running()


def test_libvirts_own_network_is_used_where_it_serves_all_that_is_given_out(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.push({"config.yaml": settings("192.168.122.128/25"), "vm.yaml": [machine(), disk()]})
    rig.settle()
    assert source(rig)["network"] == "default"
    assert entries(rig, "default") == {"vm.default.default.gitvirt": address(rig)}
    assert "gitvirt" not in rig.host.networks


def test_the_address_stays_over_stops_crashes_and_hand_made_starts(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(runPolicy="AlwaysOn"), disk()]})
    pool.settle()
    before, held = address(pool), entries(pool)
    pool.verbs()
    for happens in (pool.host.guest_poweroff, pool.host.crash, pool.host.guest_reboot):
        happens(pool.uuid())
        pool.settle()
        assert pool.running()
        assert (address(pool), entries(pool)) == (before, held)
    pool.host.lose_host()
    pool.settle()
    assert (address(pool), entries(pool)) == (before, held)
    assert "hold_address" not in pool.verbs()


def test_another_address_is_held_from_the_restart_on_and_not_before(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    before = address(pool)
    pool.push(
        {
            "ip.yaml": static("10.66.10.200"),
            "vm.yaml": [machine(virtualMachineIPAddressName="custom"), disk()],
        }
    )
    pool.settle()
    assert set(entries(pool).values()) == {before}
    assert address(pool) == before
    assert pool.running()
    pool.push({"op.yaml": operation("again", "vm", "Restart")}, ref="refs/heads/operations")
    pool.settle()
    assert set(entries(pool).values()) == {"10.66.10.200"}
    assert address(pool) == "10.66.10.200"
    verbs = [verb for verb in pool.verbs() if verb in ("shutdown", "hold_address", "start")]
    assert verbs[-3:] == ["shutdown", "hold_address", "start"]


def test_what_runs_behind_nat_has_nothing_from_its_medium_while_main_is_a_bridge_by_now(
    pool: Rig,
) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    held = entries(pool)
    pool.networks = {"main": Link(bridge="br0")}
    pool.start()
    pool.settle()
    assert condition(pool.vm(), "VirtualMachineIPAddressReady")["message"] == ""
    assert condition(pool.vm(), "DriftDetected") == {}
    assert entries(pool) == held
    pool.push({"op.yaml": operation("again", "vm", "Restart")}, ref="refs/heads/operations")
    pool.settle()
    assert entries(pool) == {}
    said = condition(pool.vm(), "VirtualMachineIPAddressReady")["message"]
    assert "without cloud-init" in said


def test_an_entry_that_somebody_took_out_is_written_again(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    held = entries(pool)
    pool.host.add_network(pool.host.networks["gitvirt"].network)
    pool.settle()
    assert entries(pool) == held
    pool.host.stop_network("gitvirt")
    pool.settle()
    assert pool.host.networks["gitvirt"].network.active


def test_no_machine_starts_without_what_somebody_took_out_unseen(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(runPolicy="AlwaysOn"), disk()]})
    pool.settle()
    held = entries(pool)
    own = pool.host.networks["gitvirt"].network
    pool.host.networks["gitvirt"] = NetworkReading(own)  # of which no event tells
    pool.verbs()
    pool.host.crash(pool.uuid())
    pool.settle()
    assert entries(pool) == held
    verbs = [verb for verb in pool.verbs() if verb in ("hold_address", "start")]
    assert verbs == ["hold_address", "start"]


def test_a_machine_that_goes_takes_its_entry_along_before_its_lease_goes(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()], "other.yaml": disk("other")})
    pool.settle()
    pool.push({"vm.yaml": disk()})
    pool.settle()
    assert entries(pool) == {}
    assert "vm" not in [path for path in pool.documents() if "virtualmachines" in path]


def test_what_somebody_else_holds_is_told_and_left(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.10.50")})
    pool.settle()
    theirs = Held("gitvirt", "52:54:00:00:00:01", "10.66.10.50")
    pool.host.add_network(replace(network("gitvirt", "10.66.10.1/24"), fleet="default"), theirs)
    pool.push({"vm.yaml": [machine(virtualMachineIPAddressName="custom"), disk()]})
    with pytest.raises(AssertionError, match="not settled"):
        pool.settle(60)
    assert not pool.running()
    assert pool.host.networks["gitvirt"].held == (theirs,)
    said = condition(pool.vm(), "Running")["message"]
    assert "held for somebody else" in said


def test_one_entry_that_cannot_be_written_holds_up_its_own_machine_alone(pool: Rig) -> None:
    pool.push({"bad.yaml": [machine("bad", disks=("bad",)), disk("bad")]})
    hold = pool.host.hold_address

    def refused(held: Held) -> None:
        if held.name.startswith("bad."):
            raise HostError("OperationFailed", "the firewall is in the way")
        hold(held)

    pool.host.hold_address = refused  # type: ignore[method-assign]
    pool.push({"vm.yaml": [machine(), disk()]})
    with pytest.raises(AssertionError, match="not settled"):
        pool.settle(60)
    assert pool.running()
    assert not pool.running("bad")
    assert "the firewall is in the way" in condition(pool.vm("bad"), "Running")["message"]
    pool.host.hold_address = hold  # type: ignore[method-assign]
    pool.settle()
    assert pool.running("bad")


def test_a_kill_at_any_verb_leaves_one_entry_and_one_machine(tmp_path: Path) -> None:
    count = 0
    while True:
        folder = tmp_path / str(count)
        folder.mkdir()
        rig, left = Rig(folder), [count]

        def dies(_verb: str, phase: str, left: list[int] = left) -> None:
            left[0] -= phase != "middle"
            if left[0] < 0 and phase != "middle":
                raise Killed

        rig.push({"config.yaml": settings(RANGE), "vm.yaml": [machine(), disk()]})
        rig.host.on_effect = dies
        try:
            rig.settle()
        except Killed:
            rig.host.on_effect = lambda _verb, _phase: None
            rig.start()
            rig.settle()
            assert entries(rig) == {"vm.default.default.gitvirt": address(rig)}
            assert rig.running()
            assert rig.host.networks["gitvirt"].network.active
        else:
            assert count > 10
            return
        count += 1


def test_machines_from_before_there_were_addresses_get_theirs_at_their_restart(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    says(rig, "192.168.122.7")
    rig.push({"config.yaml": settings(RANGE), "vm.yaml": [machine(), disk()]})
    rig.settle()
    said = rig.vm()["status"]
    assert "restartAwaitingChanges" not in said
    assert condition(rig.vm(), "DriftDetected") == {}
    assert condition(rig.vm(), "AwaitingRestartToApplyConfiguration") == {}
    assert source(rig, active=True)["network"] == "default"
    assert source(rig)["network"] == "gitvirt"
    assert "gitvirt" not in rig.host.networks or entries(rig) == {}
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, ref="refs/heads/operations")
    rig.settle()
    assert source(rig, active=True)["network"] == "gitvirt"
    assert entries(rig) == {"vm.default.default.gitvirt": address(rig)}


# -- from the medium ------------------------------------------------------------------------------


def test_in_a_session_the_medium_tells_the_address(session: Rig) -> None:
    session.push({"vm.yaml": [machine(provisioning=CLOUD), disk()]})
    session.settle()
    assert told(session)["addresses"] == ["10.0.2.15/24", f"{address(session)}/32"]
    assert told(session)["match"] == {"macaddress": MAC}
    assert medium(session)["user-data"] == b"#cloud-config\n"
    assert b"boot-new-instance, boot" in medium(session)["vendor-data"]
    assert session.running()
    assert session.host.networks == {}


def test_on_a_bridge_the_medium_tells_the_way_out_as_well(tmp_path: Path) -> None:
    link = Link(bridge="br0", gateways=("10.66.10.254",), nameservers=("10.66.10.253",))
    rig = connected(tmp_path, link)
    rig.push({"vm.yaml": [machine(provisioning=CLOUD), disk()]})
    rig.settle()
    assert told(rig)["addresses"] == [f"{address(rig)}/24"]
    assert told(rig)["routes"] == [{"to": "0.0.0.0/0", "via": "10.66.10.254"}]
    assert told(rig)["nameservers"] == {"addresses": ["10.66.10.253"]}
    assert source(rig)["bridge"] == "br0"


def test_a_machine_without_user_data_gets_a_medium_for_its_address_alone(session: Rig) -> None:
    session.push({"vm.yaml": [machine(), disk()]})
    session.settle()
    assert told(session)["addresses"] == ["10.0.2.15/24", f"{address(session)}/32"]
    assert yaml.safe_load(medium(session)["user-data"])["users"] == []
    assert condition(session.vm(), "DriftDetected") == {}
    session.push({"config.yaml": settings(RANGE)})
    session.verbs()
    session.settle()
    assert session.verbs() == []


@pytest.mark.parametrize("spec", [{}, {"provisioning": CLOUD}], ids=["without", "with"])
def test_a_medium_that_comes_to_tell_an_address_is_no_change_of_what_runs(
    tmp_path: Path, spec: Mapping[str, Any]
) -> None:
    node = replace(NODE, session=True, networks=frozenset())
    rig = Rig(tmp_path, host=MemoryHost(node))
    rig.push({"vm.yaml": [machine(**spec), disk()]})
    rig.settle()
    rig.push({"config.yaml": settings(RANGE), "vm.yaml": [machine(**spec), disk()]})
    rig.settle()
    said = rig.vm()["status"]
    assert "restartAwaitingChanges" not in said
    for absent in ("DriftDetected", "AwaitingRestartToApplyConfiguration"):
        assert condition(rig.vm(), absent) == {}
    assert condition(rig.vm(), "ProvisioningReady")["reason"] == "ProvisioningReady"
    rig.verbs()
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, ref="refs/heads/operations")
    rig.settle()
    assert told(rig)["addresses"] == ["10.0.2.15/24", f"{address(rig)}/32"], (
        "the old medium is swept"
    )
    assert condition(rig.vm(), "DriftDetected") == {}
    # and back: without ranges the medium says nothing of the network from the next start on
    rig.push({"config.yaml": None, "vm.yaml": [machine(**spec), disk()]})
    rig.settle()
    assert condition(rig.vm(), "DriftDetected") == {}


def test_another_address_is_on_the_medium_of_the_next_start(session: Rig) -> None:
    session.push({"vm.yaml": [machine(provisioning=CLOUD), disk()]})
    session.settle()
    (before,) = media(session)
    session.push(
        {
            "ip.yaml": static("10.66.10.200"),
            "vm.yaml": [
                machine(provisioning=CLOUD, virtualMachineIPAddressName="custom"),
                disk(),
            ],
        }
    )
    session.settle()
    assert before in media(session)
    assert len(media(session)) == 2
    session.push({"op.yaml": operation("again", "vm", "Restart")}, ref="refs/heads/operations")
    session.settle()
    assert told(session)["addresses"] == ["10.0.2.15/24", "10.66.10.200/32"]


def test_a_guest_that_does_not_take_its_address_is_told_what_it_has_to_do(session: Rig) -> None:
    session.push({"vm.yaml": [machine(), disk()]})
    session.settle()
    said = condition(session.vm(), "VirtualMachineIPAddressReady")
    assert said["status"] == "True"
    assert f"{address(session)}/32" in said["message"]
    assert "without cloud-init" in said["message"]
    says(session, "10.0.2.15")
    said = condition(session.vm(), "VirtualMachineIPAddressReady")
    assert (said["status"], said["reason"]) == ("False", "VirtualMachineIPAddressNotAssigned")
    assert "10.0.2.15" in said["message"]
    assert "without cloud-init" in said["message"]
    session.push({"op.yaml": operation("again", "vm", "Restart")}, ref="refs/heads/operations")
    session.settle()
    says(session, address(session))
    said = condition(session.vm(), "VirtualMachineIPAddressReady")
    assert (said["status"], said["message"]) == ("True", "")


def test_the_last_address_of_a_network_that_runs_is_no_machines() -> None:
    """It may be one of a range that has grown meanwhile: that is served once the network is started anew."""
    served = network("default", "10.66.10.1/29")
    told = [served.covers(f"10.66.10.{number}") for number in (0, 1, 6, 7, 8)]
    assert told == [False, True, True, False, False]
