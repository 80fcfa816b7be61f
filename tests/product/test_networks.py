"""A machine's networks: what becomes of them in its domain, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from agent.core.domain_text import DomainText
from agent.core.host import GuestInfo
from agent.core.links import Link
from agent.kinds.virtual_machine.definition import read
from agent.kinds.virtual_machine.elements.interfaces import Interface
from tests.memory_host import NODE, MemoryHost
from tests.memory_networks import network
from tests.plans import planned
from tests.product.test_mistakes import open_channel
from tests.rig import Rig, condition, disk, machine, operation, settings, static

MAIN: dict[str, Any] = {"type": "Main"}
LINKS = {
    "lan": Link(bridge="br0"),
    "guests": Link(bridge="br1", filter="clean-traffic"),
    "tagged": Link(bridge="br0", vlan=20),
    "ovs": Link(bridge="ovs0", vlan=20, virtualport="openvswitch"),
    "storage": Link(network="storage"),
    "fast": Link(network="storage", portgroup="fast"),
    **{f"lan-{number}": Link(bridge="br0") for number in range(16)},
}
BRIDGES = {"br0": True, "br1": True, "ovs0": False}
HOST = replace(NODE, bridges=BRIDGES, filters=frozenset({"clean-traffic"}))


def named(name: str, kind: str = "Network", **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, **more}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    host = MemoryHost(HOST)
    host.add_network(network("storage", "10.9.0.1/24"))
    return Rig(tmp_path, host, networks=LINKS)


@pytest.fixture
def on(rig: Rig) -> Rig:
    """A machine that runs with Main alone."""
    push(rig)
    rig.verbs()
    return rig


def files(*networks: dict[str, Any], **spec: Any) -> dict[str, Any]:
    if networks:
        spec["networks"] = [*networks]
    return {"vm.yaml": [disk(), machine(**spec)]}


def push(rig: Rig, *networks: dict[str, Any], **spec: Any) -> None:
    rig.push(files(*networks, **spec))
    rig.settle()


def go_on(rig: Rig, seconds: float = 0.0) -> None:
    """Some passes, for what is never settled."""
    rig.agent.reconciler.look_at_git()
    for _ in range(6):
        rig.step()
        rig.now += seconds


def interfaces(rig: Rig, *, live: bool = True) -> tuple[Interface, ...]:
    raw = rig.host._domains[rig.uuid()]
    return read(DomainText(raw.active_xml if live else raw.inactive_xml)).interfaces.interfaces


def bridges(rig: Rig, *, live: bool = True) -> list[str]:
    """What each interface leads to, by its place."""
    links = (interface.link for interface in interfaces(rig, live=live))
    return [link.bridge or link.network for link in links]


def told(rig: Rig) -> list[tuple[int, str]]:
    return [(each["id"], each.get("name", "")) for each in rig.vm()["status"]["networks"]]


def ready(rig: Rig) -> dict[str, Any]:
    return condition(rig.vm(), "NetworkReady")


def problems(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(rig.documents()["problems.yaml"])
    return found


def restart(rig: Rig) -> None:
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    rig.settle()


# -- what a machine starts with -----------------------------------------------------------------


def test_a_machine_has_an_interface_for_each_of_its_networks_in_their_order(rig: Rig) -> None:
    push(rig, MAIN, named("guests"), named("lan", "ClusterNetwork"), named("storage"))
    assert bridges(rig) == ["default", "br1", "br0", "storage"]
    assert [each.link.filter for each in interfaces(rig)] == ["", "clean-traffic", "", ""]
    assert told(rig) == [(1, ""), (2, "guests"), (3, "lan"), (4, "storage")]
    assert ready(rig) | {"lastTransitionTime": ""} == {
        "type": "NetworkReady", "status": "True", "reason": "NetworkReady", "message": "",
        "lastTransitionTime": "", "observedGeneration": 1,
    }  # fmt: skip
    macs = [each["macAddress"] for each in rig.vm()["status"]["networks"]]
    assert macs == [each.mac for each in interfaces(rig)]
    assert len({*macs}) == 4
    assert not condition(rig.vm(), "DriftDetected")


def test_of_a_machine_with_main_alone_nothing_is_said(on: Rig) -> None:
    assert ready(on) == {}
    assert told(on) == [(1, "")]


def test_machines_without_main_stand_beside_each_other(rig: Rig) -> None:
    first, second = (machine(name, disks=(name,), networks=[named("lan")]) for name in ("a", "b"))
    rig.push({"vm.yaml": [disk("a"), disk("b"), first, second]})
    rig.settle()
    macs = set()
    for name in ("a", "b"):
        (only,) = rig.vm(name)["status"]["networks"]
        assert {key: only[key] for key in ("id", "type", "name")} == {"id": 2, **named("lan")}
        macs.add(only["macAddress"])
    assert len(macs) == 2


def test_main_is_what_the_settings_say(rig: Rig) -> None:
    rig.networks = {"main": Link(bridge="br1", filter="clean-traffic")}
    rig.start()
    push(rig)
    assert bridges(rig) == ["br1"]
    assert ready(rig) == {}


def test_sixteen_networks_have_room(rig: Rig) -> None:
    push(rig, *(named(f"lan-{number}") for number in range(16)))
    assert len(interfaces(rig)) == 16
    assert len({each.address for each in interfaces(rig)}) == 16
    assert ready(rig)["status"] == "True"


def test_seventeen_are_refused_with_a_sentence(on: Rig) -> None:
    push(on, *(named(f"lan-{number}") for number in range(16)), named("lan"))
    (problem,) = problems(on)
    assert problem["path"] == "spec.networks"
    assert problem["message"] == "must have at most 16 entries, one for each interface"
    assert bridges(on) == ["default"]


def test_a_network_that_is_named_twice_is_refused(on: Rig) -> None:
    push(on, MAIN, named("lan"), named("lan"))
    (problem,) = problems(on)
    assert problem["message"] == "names Network lan a second time"


# -- what comes and goes while it runs ----------------------------------------------------------


def test_a_network_that_is_added_is_plugged_in_and_there_at_the_next_start(on: Rig) -> None:
    push(on, MAIN, named("lan"))
    assert on.verbs() == ["define", "attach_device", "set_live_metadata"]
    assert bridges(on) == bridges(on, live=False) == ["default", "br0"]
    assert interfaces(on) == interfaces(on, live=False)
    assert told(on) == [(1, ""), (2, "lan")]
    assert not on.vm()["status"].get("restartAwaitingChanges")
    assert not condition(on.vm(), "DriftDetected")
    restart(on)
    assert bridges(on) == ["default", "br0"]
    on.verbs()
    on.host._tell("", "connected")
    on.settle()
    assert on.verbs() == []


def test_one_that_is_taken_out_is_unplugged(rig: Rig) -> None:
    push(rig, MAIN, named("lan"), named("guests"))
    before = {each.link.bridge: each for each in interfaces(rig)}
    rig.verbs()
    push(rig, MAIN, named("guests"))
    assert rig.verbs() == ["define", "detach_device", "set_live_metadata"]
    assert bridges(rig) == bridges(rig, live=False) == ["default", "br1"]
    assert interfaces(rig)[1] == before["br1"]  # its place and its address stay
    assert told(rig) == [(1, ""), (3, "guests")]
    push(rig)
    assert bridges(rig) == bridges(rig, live=False) == ["default"]
    assert not rig.running() or rig.vm()["status"]["phase"] == "Running"


def test_another_order_changes_nothing_on_the_machine(rig: Rig) -> None:
    push(rig, MAIN, named("lan"), named("guests"))
    before = interfaces(rig)
    rig.verbs()
    push(rig, MAIN, named("guests"), named("lan"))
    assert interfaces(rig) == interfaces(rig, live=False) == before
    assert told(rig) == [(1, ""), (3, "guests"), (2, "lan")]
    assert {"attach_device", "detach_device", "start"}.isdisjoint(rig.verbs())


def test_an_id_that_is_written_counts_and_others_are_kept(rig: Rig) -> None:
    push(rig, MAIN, named("lan", id=7), named("guests"))
    assert told(rig) == [(1, ""), (7, "lan"), (2, "guests")]
    push(rig, MAIN, named("storage"), named("guests"))
    assert told(rig) == [(1, ""), (3, "storage"), (2, "guests")]


def test_another_id_waits_for_a_restart(rig: Rig) -> None:
    push(rig, MAIN, named("lan"))
    before = interfaces(rig)
    push(rig, MAIN, named("lan", id=9))
    (change,) = rig.vm()["status"]["restartAwaitingChanges"]
    assert (change["path"], change["operation"]) == ("networks", "replace")
    assert interfaces(rig) == before
    restart(rig)
    assert told(rig) == [(1, ""), (9, "lan")]
    assert interfaces(rig)[1].mac != before[1].mac


@pytest.mark.parametrize(
    ("before", "after"),
    [([MAIN, named("lan")], [named("lan")]), ([named("lan")], [MAIN, named("lan")])],
)
def test_main_comes_and_goes_with_a_restart(
    rig: Rig, before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    push(rig, *before)
    there = interfaces(rig)
    rig.verbs()
    push(rig, *after)
    (change,) = rig.vm()["status"]["restartAwaitingChanges"]
    assert change["path"] == "networks"
    assert [each["type"] for each in change["desiredValue"]] == [each["type"] for each in after]
    assert interfaces(rig) == there
    assert {"attach_device", "detach_device", "start"}.isdisjoint(rig.verbs())
    restart(rig)
    assert len(interfaces(rig)) == len(after)
    assert not condition(rig.vm(), "DriftDetected")


@pytest.mark.parametrize("spec", [{"enableParavirtualization": False}, {"osType": "Legacy"}])
def test_a_machine_whose_devices_cannot_be_plugged_restarts(rig: Rig, spec: dict[str, Any]) -> None:
    push(rig, **spec)
    rig.verbs()
    push(rig, MAIN, named("lan"), **spec)
    (change,) = rig.vm()["status"]["restartAwaitingChanges"]
    assert change["path"] == "networks"
    assert bridges(rig) == ["default"]
    assert bridges(rig, live=False) == ["default", "br0"]
    assert rig.verbs() == ["define"]
    restart(rig)
    assert bridges(rig) == ["default", "br0"]
    assert not rig.vm()["status"].get("restartAwaitingChanges")
    assert not condition(rig.vm(), "DriftDetected")


def test_more_than_the_free_places_take_a_restart(rig: Rig) -> None:
    eight = [named(f"lan-{number}") for number in range(8)]
    push(rig, MAIN, *eight[:3])
    push(rig, MAIN, *eight)
    assert len(interfaces(rig)) == 9
    push(
        rig, MAIN, *eight[1:], named("guests")
    )  # the place of one that goes is free for one that comes
    assert len(interfaces(rig)) == 9
    assert "br1" in bridges(rig)
    assert not rig.vm()["status"].get("restartAwaitingChanges")
    push(rig, MAIN, *eight, named("guests"))
    (change,) = rig.vm()["status"]["restartAwaitingChanges"]
    assert change["path"] == "networks"
    assert len(interfaces(rig)) == 9
    restart(rig)
    assert len(interfaces(rig)) == 10


def test_a_guest_that_does_not_let_go_is_waited_for_and_told(rig: Rig) -> None:
    push(rig, MAIN, named("lan"))
    rig.host.guest_lets_go = False
    rig.push(files())
    go_on(rig)
    assert ready(rig)["status"] == "False"
    assert ready(rig)["message"] == (
        "Network lan is still there: its guest has not let go of it yet. It is tried again; the "
        "next start is without it."
    )
    assert bridges(rig, live=False) == ["default"]
    assert told(rig) == [(1, ""), (2, "lan")]
    assert rig.agent.reconciler.summary().wrong
    rig.host.guest_lets_go = True
    go_on(rig, 60)
    assert bridges(rig) == ["default"]
    assert ready(rig) == {}


def test_what_comes_is_not_kept_waiting_by_what_does_not_go(rig: Rig) -> None:
    push(rig, MAIN, named("lan"))
    rig.host.guest_lets_go = False
    rig.push(files(MAIN, named("guests")))
    go_on(rig)
    assert bridges(rig) == ["default", "br0", "br1"]
    assert bridges(rig, live=False) == ["default", "br1"]


def test_one_that_cannot_be_plugged_in_keeps_nothing_else_waiting(on: Rig) -> None:
    on.host.unplugged_bridges = {"br0"}
    on.push(files(MAIN, named("lan"), named("guests")))
    go_on(on, 5)
    assert bridges(on) == ["default", "br1"]
    assert ready(on)["status"] == "False"
    assert "Network lan cannot be attached" in ready(on)["message"]
    assert told(on) == [(1, ""), (3, "guests")]
    assert on.agent.reconciler.summary().wrong
    on.host.unplugged_bridges = set()
    go_on(on, 60)
    assert sorted(bridges(on)) == ["br0", "br1", "default"]
    assert ready(on)["status"] == "True"


# -- what is not there --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("strange", "Network strange is not known here: say what it is"),
        ("tagged", "Network tagged: libvirt 9.0.0 of node node-1 tags nothing"),
        ("fast", "Network fast: libvirt's network storage of node node-1 has no port group fast."),
    ],
)
def test_a_machine_waits_for_what_its_node_has_not(rig: Rig, name: str, said: str) -> None:
    push(rig, MAIN, named(name))
    assert rig.vm()["status"]["phase"] == "Pending"
    assert ready(rig)["status"] == "False"
    assert ready(rig)["reason"] == "NetworkNotReady"
    assert ready(rig)["message"].startswith(said)
    assert "start" not in rig.verbs()
    push(rig, MAIN, named("ovs"))
    assert rig.vm()["status"]["phase"] == "Running"


def test_what_runs_goes_on_without_a_network_that_is_not_known(on: Rig) -> None:
    push(on, MAIN, named("strange"), cpu={"cores": 2})
    assert on.vm()["status"]["phase"] == "Running"
    assert "Network strange is not known here" in ready(on)["message"]
    assert bridges(on) == bridges(on, live=False) == ["default"]
    assert {"attach_device", "detach_device", "shutdown"}.isdisjoint(on.verbs())
    assert not condition(on.vm(), "DriftDetected")
    push(on)
    assert on.verbs() == ["define"]
    assert not condition(on.vm(), "DriftDetected")


def test_a_network_comes_although_a_disk_is_not_there_yet(on: Rig) -> None:
    wanted = machine(disks=("root", "missing"), networks=[MAIN, named("lan")])
    on.push({"vm.yaml": [disk(), wanted]})
    on.settle()
    assert bridges(on) == bridges(on, live=False) == ["default", "br0"]
    assert condition(on.vm(), "BlockDevicesReady")["status"] == "False"
    assert not condition(on.vm(), "DriftDetected")


def test_a_bridge_that_vanishes_stops_nobody_and_keeps_nobody_from_going_on(rig: Rig) -> None:
    push(rig, MAIN, named("lan"))
    rig.host.node = replace(HOST, bridges={})
    rig.host._tell("", "connected")
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"
    assert ready(rig)["message"] == (
        "Network lan: Node node-1 has no bridge br0: make it, or change the setting."
    )
    rig.host.crash(rig.uuid())
    go_on(rig)
    assert not rig.running()
    rig.host.node = HOST
    rig.host._tell("", "connected")
    rig.settle()
    assert rig.running()
    assert bridges(rig) == ["default", "br0"]


def test_a_libvirt_network_that_stops_is_told_at_once(rig: Rig) -> None:
    push(rig, MAIN, named("storage"))
    rig.host.stop_network("storage")
    rig.settle()
    assert "`virsh net-start storage`" in ready(rig)["message"]
    rig.host.remove_network("storage")
    rig.settle()
    assert "has no libvirt network storage" in ready(rig)["message"]


@pytest.mark.parametrize(
    ("host", "name", "said"),
    [
        ({"session": True, "filters": frozenset()}, "guests", "is a user's session, which filters"),
        ({"filters": frozenset()}, "guests", "has no network filter clean-traffic"),
        ({"bridges": {"ovs0": True}}, "ovs", "is one of Linux, not of Open vSwitch"),
        ({"bridges": {"br0": False}}, "lan", "is no bridge of Linux"),
    ],
)
def test_what_a_host_cannot_do_is_said(
    tmp_path: Path, host: dict[str, Any], name: str, said: str
) -> None:
    rig = Rig(tmp_path, MemoryHost(replace(HOST, **host)), networks=LINKS)
    push(rig, named(name))
    assert said in ready(rig)["message"]


@pytest.mark.parametrize("version", ["11.0.0", "12.1.3"])
def test_newer_versions_of_libvirt_tag_on_bridges_of_linux(tmp_path: Path, version: str) -> None:
    rig = Rig(tmp_path, MemoryHost(replace(HOST, libvirt_version=version)), networks=LINKS)
    push(rig, MAIN, named("tagged"))
    assert interfaces(rig)[1].link.vlan == 20
    assert ready(rig)["status"] == "True"


def test_a_host_that_does_not_say_what_it_has_keeps_nobody_waiting(tmp_path: Path) -> None:
    rig = Rig(tmp_path, MemoryHost(NODE), networks=LINKS)
    push(rig, MAIN, named("guests"), named("tagged"))
    assert rig.running()


# -- what the settings say ----------------------------------------------------------------------


def test_a_setting_that_changes_is_no_drift_and_waits_for_the_next_start(rig: Rig) -> None:
    push(rig, MAIN, named("lan"), named("storage"))
    rig.networks = {**LINKS, "lan": Link(bridge="br1"), "storage": Link(bridge="br0")}
    rig.start()
    rig.settle()
    assert bridges(rig) == ["default", "br0", "storage"]
    assert bridges(rig, live=False) == ["default", "br1", "br0"]
    assert not condition(rig.vm(), "DriftDetected")
    assert ready(rig)["status"] == "True"
    assert ready(rig)["message"] == (
        "Network lan, Network storage: the setting networks has changed; the running instance is "
        "connected as before until its next start."
    )
    restart(rig)
    assert bridges(rig) == ["default", "br1", "br0"]
    assert ready(rig)["message"] == ""
    assert not condition(rig.vm(), "DriftDetected")


def test_a_definition_that_leads_elsewhere_is_left_where_edits_are_only_reported(rig: Rig) -> None:
    reported = {"annotations": {"gitvirt.io/drift": "report"}}
    push(rig, MAIN, named("lan"), metadata=reported)
    rig.host.edit(rig.uuid(), leads_to("br1"))
    rig.settle()
    assert bridges(rig, live=False) == ["default", "br1"]
    assert condition(rig.vm(), "DriftDetected")["message"] == (
        "The definition was changed by hand: Network lan: bridge br0 → br1; it is left "
        "(gitvirt.io/drift: report)."
    )
    push(rig, MAIN, named("lan"))
    assert bridges(rig, live=False) == ["default", "br0"]


def leads_to(bridge: str) -> Callable[[etree._Element], object]:
    """Somebody connects what leads to a bridge to another one."""

    def change(root: etree._Element) -> None:
        for source in root.iterfind("devices/interface/source[@bridge]"):
            source.set("bridge", bridge)

    return change


def test_a_network_that_the_settings_know_no_more_stays_where_it_runs(rig: Rig) -> None:
    push(rig, MAIN, named("lan"))
    rig.networks = {}
    rig.start()
    rig.settle()
    rig.verbs()
    assert bridges(rig) == bridges(rig, live=False) == ["default", "br0"]
    assert "Network lan is not known here" in ready(rig)["message"]
    assert not condition(rig.vm(), "DriftDetected")
    push(rig)
    assert bridges(rig) == bridges(rig, live=False) == ["default"]


def test_a_filter_holds_main_to_its_reserved_address_and_others_to_what_they_use_first(
    tmp_path: Path,
) -> None:
    link = Link(network="office", filter="clean-traffic")
    rig = Rig(tmp_path, MemoryHost(HOST), networks={"main": link, "more": link})
    rig.host.add_network(network("office", "10.66.10.1/24"))
    address = static("10.66.10.7", "mine")
    rig.push({"config.yaml": settings("10.66.10.0/24"), "address.yaml": address})
    push(rig, MAIN, named("more"), virtualMachineIPAddressName="mine")
    assert [(each.link.filter, each.ip) for each in interfaces(rig)] == [
        ("clean-traffic", "10.66.10.7"),
        ("clean-traffic", ""),
    ]
    assert not condition(rig.vm(), "DriftDetected")


# -- what is said -------------------------------------------------------------------------------


def test_addresses_are_told_by_network(rig: Rig) -> None:
    push(rig, MAIN, named("lan"), named("guests"))
    main, lan, guests = (each.mac for each in interfaces(rig))
    rig.host.guests[rig.uuid()] = GuestInfo(
        {}, {lan: ("fe80::1", "10.1.0.7"), main: ("192.168.122.5",), "02:00": ("172.17.0.1",)}
    )
    rig.host.edit(rig.uuid(), open_channel, live=True)
    rig.settle()
    assert rig.vm()["status"]["ipAddress"] == "192.168.122.5"
    listed = {each["macAddress"]: each.get("ipAddress") for each in rig.vm()["status"]["networks"]}
    assert listed == {main: "192.168.122.5", lan: "10.1.0.7", guests: None}


def test_a_plan_says_what_comes_at_once_and_what_waits(on: Rig) -> None:
    item = planned(on, files(MAIN, named("lan")))["vm"]
    assert [change.path for change in item.immediate] == ["networks"]
    assert item.restart == []
    assert {"DefineDomain", "AttachDevice"} <= set(item.actions)
    item = planned(on, files(named("lan")), live=True)["vm"]
    assert [change.path for change in item.restart] == ["networks"]
    assert "AttachDevice" not in item.actions
    item = planned(on, files(MAIN, named("strange")))["vm"]
    assert "Network strange is not known here" in item.reason


def test_a_plan_of_what_stays_the_same_is_empty(rig: Rig) -> None:
    push(rig, MAIN, named("lan"))
    assert planned(rig).names == {}
    assert planned(rig, live=True).names == {}
    assert planned(rig, files(MAIN, named("lan", id=2))).names == {}
