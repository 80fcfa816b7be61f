from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cli.doctor import Named, Surroundings, _host, host_findings, local_findings
from agent.cli.finding import Finding
from agent.core.host import RawNode, Reading
from agent.core.links import Link
from agent.core.network import NetworkReading, RawNetwork
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet

NODE = RawNode(
    name="host-a",
    uri="qemu:///system",
    session=False,
    virt_type="kvm",
    machine="pc-q35-7.2",
    cpu_modes=frozenset(),
    cpu_models=frozenset(),
    emulator="/usr/bin/qemu-system-x86_64",
    memory=1 << 30,
    cpus=2,
    libvirt_version="9.0.0",
    qemu_version="7.2.0",
    networks=frozenset({"default"}),
)
AROUND = Surroundings(
    frozenset({"qemu-img", "virtlogd", "dnsmasq"}),
    True,
    {"XDG_CACHE_HOME": Path("/c")},
    bridge_rules="allow all\n",
    bridge_helper=True,
)
LONG = Path("/home/" + "x" * 60)


def found(node: RawNode = NODE, around: Surroundings = AROUND) -> dict[str, Finding]:
    reading = Reading(node, {}, {}, {"gitvirt": "/var/lib/libvirt/gitvirt"})
    return {
        each.subject: each for each in (*host_findings(reading, around), *local_findings(around))
    }


def test_a_host_that_has_all() -> None:
    assert {each.level for each in found().values()} == {"ok"}


@pytest.mark.parametrize(
    ("node", "around", "subject", "level", "mend"),
    [
        ({"virt_type": "qemu"}, {}, "virtualization", "note", "modprobe"),
        ({"networks": frozenset()}, {}, "network", "problem", "net-start default"),
        ({"emulator": ""}, {}, "QEMU", "problem", "apt install qemu-system"),
        ({}, {"virtlogd_socket": False}, "virtlogd", "problem", "virtlogd.socket"),
        ({}, {"programs": frozenset({"virtlogd"})}, "qemu-img", "problem", "qemu-utils"),
        ({}, {"programs": frozenset({"qemu-img"})}, "dnsmasq", "problem", "dnsmasq-base"),
        ({"session": True}, {"programs": frozenset({"qemu-img"})}, "virtlogd", "problem", "apt"),
        ({"session": True}, {"folders": {"XDG_CACHE_HOME": LONG}}, "paths", "problem", "XDG_CACHE"),
        (
            {"session": True},
            {"folders": {"XDG_CONFIG_HOME": Path("/home/administrator/.config")}},
            "paths",
            "problem",
            "at most 24",
        ),
        ({"session": True, "networks": frozenset()}, {}, "network", "ok", ""),
    ],
)
def test_what_is_missing_comes_with_what_mends_it(
    node: dict[str, object], around: dict[str, object], subject: str, level: str, mend: str
) -> None:
    finding = found(replace(NODE, **node), replace(AROUND, **around))[subject]  # type: ignore[arg-type]
    assert finding.level == level
    assert mend in finding.mend


LINKS = {
    "lan": Link(bridge="br0"),
    "ovs": Link(bridge="ovs0", virtualport="openvswitch"),
    "office": Link(network="office", filter="clean-traffic"),
}
HAS = replace(
    NODE, bridges={"br0": True, "ovs0": False}, filters=frozenset({"clean-traffic"})
)  # fmt: skip


def of_networks(
    node: RawNode = HAS, around: Surroundings = AROUND, *, active: bool = True, **links: Link
) -> list[Finding]:
    networks = {"office": NetworkReading(RawNetwork("office", "", active=active))}
    reading = Reading(node, {}, {}, {}, networks=networks)
    told = host_findings(reading, around, Named(networks=links or LINKS))
    return [each for each in told if each.subject == "network"]


def test_a_network_that_an_agent_made_does_in_place_of_libvirts_own() -> None:
    own = RawNetwork("gitvirt", "", active=True, fleet="default")
    for raw, level in ((own, "ok"), (replace(own, active=False), "problem")):
        node = replace(NODE, networks=frozenset())
        reading = Reading(node, {}, {}, {}, networks={"gitvirt": NetworkReading(raw)})
        levels = {each.subject: each.level for each in host_findings(reading, AROUND)}
        assert levels["network"] == level


def test_networks_of_the_settings_are_looked_for() -> None:
    assert [(each.level, each.message) for each in of_networks()] == [
        ("ok", "libvirt's network default is active"),
        ("ok", "lan is bridge br0"),
        ("ok", "ovs is bridge ovs0"),
        ("ok", "office is libvirt's network office"),
    ]


def test_libvirts_own_network_is_not_missed_where_main_is_another_one() -> None:
    node = replace(HAS, networks=frozenset())
    assert [each.level for each in of_networks(node, main=Link(bridge="br0"))] == ["ok"]


@pytest.mark.parametrize(
    ("node", "active", "message", "mend"),
    [
        ({"bridges": {"ovs0": False}}, True, "lan: Node host-a has no bridge br0", "ip link add name br0"),
        ({"bridges": {"br0": True}}, True, "ovs: Node host-a has no bridge ovs0", "ovs-vsctl add-br ovs0"),
        ({}, False, "office: libvirt's network office of node host-a is not active", "net-start office"),
        ({"filters": frozenset()}, True, "office: Node host-a has no network filter", ""),
        ({"filters": frozenset(), "session": True}, True, "office: Node host-a is a user's session", ""),
    ],
)  # fmt: skip
def test_what_a_host_lacks_for_a_network_is_a_problem(
    node: dict[str, Any], active: bool, message: str, mend: str
) -> None:
    (found,) = (
        each for each in of_networks(replace(HAS, **node), active=active) if each.level == "problem"
    )
    assert found.message.startswith(message)
    assert mend in found.mend
    assert bool(mend) == bool(found.mend)


def test_a_host_that_does_not_say_which_bridges_it_has_is_not_blamed() -> None:
    (lan,) = of_networks(replace(HAS, bridges=None), main=Link(bridge="br0"))
    assert lan.level == "ok"
    assert "does not say" in lan.message


def test_a_firewall_that_judges_bridges_is_told_where_there_are_any() -> None:
    around = replace(AROUND, filters_bridges=True)
    assert "bridge-nf-call-iptables" in of_networks(around=around)[-1].mend
    assert [each.level for each in of_networks(around=around, office=LINKS["office"])] == ["ok"] * 2
    remote = replace(HAS, uri="qemu+ssh://root@host-a/system")
    assert {each.level for each in of_networks(remote, around)} == {"ok"}


@pytest.mark.parametrize(
    ("rules", "helper", "well"),
    [("allow br0\n", True, True), ("allow br0\n", False, False), ("", True, False)],
)
def test_a_session_has_to_be_allowed_to_use_a_bridge(rules: str, helper: bool, well: bool) -> None:
    session = replace(HAS, session=True, uri="qemu:///session", bridges={"br0": True})
    around = replace(AROUND, bridge_rules=rules, bridge_helper=helper)
    listed = of_networks(session, around, main=Link(bridge="br0"))
    problems = [each for each in listed if each.level == "problem"]
    assert bool(problems) is not well
    assert all("allow br0" in each.mend and "chmod u+s" in each.mend for each in problems)
    assert (
        of_networks(replace(HAS, bridges={"br0": True}), around, main=Link(bridge="br0"))[-1].level
        == "ok"
    )


def test_a_remote_host_is_not_judged_by_this_machine() -> None:
    remote = replace(NODE, uri="qemu+ssh://root@host-a/system")
    assert "virtlogd" not in found(remote, replace(AROUND, virtlogd_socket=False))


def test_a_system_host_may_have_long_folders() -> None:
    assert "paths" not in found(NODE, replace(AROUND, folders={"XDG_CACHE_HOME": LONG}))


def test_the_repository_and_the_host_are_looked_at(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.agent()
    result = gitvirt("doctor", "--connect", "test:///default")
    words = {
        line.split(":")[0].split()[-1]: line.split()[0] for line in result.lines if ":" in line
    }
    for subject in ("libvirt", "repository", "branch", "status", "data"):
        assert words[subject] == "ok"
    # libvirt's test driver knows no QEMU
    assert words["QEMU"] == "problem"
    assert result.code == 1


def test_every_node_is_looked_at_and_named(gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path) -> None:
    fleet.agent()
    node = tmp_path / "node.xml"
    node.write_text(
        "<node><pool type='dir'><name>vms</name><target><path>/vms</path></target></pool></node>"
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        "nodes:\n"
        f"  pt-1: {{connect: 'test://{node}'}}\n"
        "  pt-2: {connect: 'qemu+tcp://127.0.0.1:1/system'}\n"
        "  pt-3: {connect: 'test:///default'}\n"
        "pools: {nfs: {pool: vms, shared: true}}\n"
    )
    lines = gitvirt("doctor", "--config", str(config)).lines
    assert "ok       pt-1: storage: pool vms at /vms" in lines
    lost = next(at for at, line in enumerate(lines) if "problem  pt-2: libvirt: " in line)
    assert "Connection refused" in lines[lost]
    assert lines[lost + 1].strip().startswith("→ look on 127.0.0.1 itself")
    wanted = "pt-3: storage: there is no active pool vms, which the setting pools names"
    assert f"note     {wanted}" in lines
    ok = [line for line in lines if line.startswith("ok ") and "libvirt:" in line]
    assert [line.split()[1] for line in ok] == ["pt-1:", "pt-3:"]
    assert sum("qemu-img" in line for line in lines) == 1


def test_two_nodes_that_are_one_host_are_a_problem() -> None:
    known: dict[str, str] = {}
    for name, host in (("pt-1", "a"), ("pt-2", "b"), ("pt-3", "a"), ("pt-4", ""), ("pt-5", "")):
        reading = Reading(replace(NODE, host=host), {}, {}, {})
        said = [
            each.message
            for each in _host(name, "test:///x", reading, AROUND, Named(), known)
            if each.subject == "host"
        ]
        assert said == (["is the same host as pt-1 (UUID a)"] if name == "pt-3" else [])


def test_another_fleet_and_a_missing_branch_are_problems(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.agent(fleet="theirs")
    out = gitvirt("doctor", "--connect", "test:///default", "--branch", "production").out
    assert "problem  branch: there is no branch 'production'" in out
    assert "is of fleet 'theirs', this one's is 'default'" in out


def test_no_connection_and_no_repository_are_problems_with_words(
    gitvirt: Gitvirt, tmp_path: Path
) -> None:
    result = gitvirt("doctor", "--connect", f"test://{tmp_path}/none.xml")
    assert result.code == 1
    assert "problem  libvirt: " in result.out
    assert (
        f"→ name a URI that libvirt knows with --connect, such as qemu:///system, not test://{tmp_path}"
        in result.out
    )
    assert "problem  repository: no repository is named" in result.out


@pytest.mark.parametrize(
    ("uri", "said", "mend"),
    [
        (
            "qemu+ssh://no-such-host.invalid/system",
            "no host of that name is known",
            "name a host that this machine can resolve in place of no-such-host.invalid",
        ),
        (
            "qemu+tcp://no-such-host.invalid/system",
            "no host of that name is known",
            "name a host that this machine can resolve in place of no-such-host.invalid",
        ),
        ("qemu+tcp://127.0.0.1:1/system", "Connection refused", "look on 127.0.0.1 itself"),
        (
            "qemu+unix:///system?socket=/nowhere/libvirt-sock",
            "Failed to connect socket",
            "sudo apt install libvirt-daemon-system",
        ),
    ],
)
def test_a_wrong_host_name_is_told_from_a_package_that_is_missing(
    gitvirt: Gitvirt, uri: str, said: str, mend: str
) -> None:
    lines = gitvirt("doctor", "--connect", uri).lines
    at = next(at for at, line in enumerate(lines) if line.startswith("problem  libvirt: "))
    assert said in lines[at]
    assert lines[at + 1].strip().startswith(f"→ {mend}")
    assert ("apt" in lines[at + 1]) == ("apt" in mend)
