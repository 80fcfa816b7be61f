"""What `gitvirt doctor` says of hosts that are to be one fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.cli.between_nodes import between, locks, peers
from agent.cli.finding import Finding
from agent.core.host import RawVolume, Reading
from agent.places import NodeSettings
from tests.memory_host import NODE, MemoryHost

SHARED = frozenset({"nfs"})


def reading(name: str, *volumes: str, pool: bool = True, **node: object) -> Reading:
    known = replace(NODE, name=name, **node)  # type: ignore[arg-type]
    there = {("nfs", each): RawVolume("nfs", each, f"/nfs/{each}", 1, 1) for each in volumes}
    return Reading(known, {}, there, {"nfs": "/nfs"} if pool else {})


def found(*readings: Reading) -> dict[str, Finding]:
    listed = between({each.node.name: each for each in readings}, SHARED)
    return {f"{each.subject} {each.level}": each for each in listed}


def test_hosts_that_are_alike() -> None:
    seen = found(reading("pt-1", "a"), reading("pt-2", "a"))
    assert {name.split()[-1] for name in seen} == {"ok"}
    assert seen["QEMU ok"].message == "7.2.0 on all nodes"
    assert seen["storage pool nfs ok"].message == "pt-1, pt-2 have the same 1 volumes there"


def test_one_host_alone_is_compared_with_nobody() -> None:
    assert found(reading("pt-1", "a")) == {}


@pytest.mark.parametrize(
    ("second", "subject", "said"),
    [
        (reading("pt-2", "a", qemu_version="8.0.0"), "QEMU note", "7.2.0 on pt-1, 8.0.0 on pt-2"),
        (reading("pt-2", "a", libvirt_version="10.0.0"), "libvirt note", "10.0.0 on pt-2"),
        (
            reading("pt-2", "a", cpu_models=frozenset({"qemu64"})),
            "CPU note",
            "models: pt-1 has beyond them Nehalem, Westmere",
        ),
        (
            reading("pt-2", "a", cpu_features=frozenset({"aes", "avx", "sse4.2", "avx2"})),
            "CPU note",
            "features: pt-2 has beyond them avx2",
        ),
        (
            reading("pt-2"),
            "storage pool nfs problem",
            "node pt-2 does not see a, which other nodes have there",
        ),
        (reading("pt-2", pool=False), "storage pool nfs note", "and only pt-1 has it"),
    ],
)
def test_what_one_host_has_and_another_lacks(second: Reading, subject: str, said: str) -> None:
    seen = found(reading("pt-1", "a"), second)
    assert said in seen[subject].message
    assert seen[subject].mend


def test_what_the_agent_saw_of_locks_is_told() -> None:
    wrong = {"type": "SharedStorageLocked", "status": "False", "message": "Node pt-2 could open."}
    right = {"type": "Ready", "status": "True", "message": ""}
    assert list(locks({"pt-1": [right], "pt-2": [right, wrong]})) == [
        Finding("problem", "pt-2: locks", "Node pt-2 could open")
    ]


def fleet(*names: str) -> tuple[dict[str, MemoryHost], dict[str, NodeSettings]]:
    hosts = {name: MemoryHost(replace(NODE, name=name)) for name in names}
    for each in hosts.values():
        each.peers = {f"qemu+tls://{name}/system": host for name, host in hosts.items()}
    return hosts, {name: NodeSettings("memory:///", f"qemu+tls://{name}/system") for name in names}


def test_a_guest_is_sent_from_each_host_to_each_and_none_is_left() -> None:
    hosts, nodes = fleet("pt-1", "pt-2", "pt-3")
    assert [str(each) for each in peers(hosts, nodes)] == [
        "ok       pt-1: peer: machines can go to pt-2, pt-3",
        "ok       pt-2: peer: machines can go to pt-1, pt-3",
        "ok       pt-3: peer: machines can go to pt-1, pt-2",
    ]
    assert [host.held for host in hosts.values()] == [{}, {}, {}]


def slip_in_peer(nodes: dict[str, NodeSettings]) -> None:
    nodes["pt-2"] = replace(nodes["pt-2"], peer="qemu+tls://pt2/system")


def no_peer(nodes: dict[str, NodeSettings]) -> None:
    nodes["pt-2"] = replace(nodes["pt-2"], peer="")


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        (slip_in_peer, "problem  pt-1: peer: pt-2: no way to qemu+tls://pt2/system"),
        (no_peer, "ok       pt-2: peer: machines can go to pt-1"),
    ],
)
def test_a_slip_in_the_settings_is_told_with_the_place_to_look_at(
    slip: Callable[[dict[str, NodeSettings]], None], said: str
) -> None:
    hosts, nodes = fleet("pt-1", "pt-2")
    slip(nodes)
    told = [str(each) for each in peers(hosts, nodes)]
    assert any(each.startswith(said) for each in told), told
    wrong = [each for each in told if each.startswith("problem")]
    assert all("look at peer and migrate in the setting nodes.pt-2" in each for each in wrong)


@pytest.mark.parametrize(
    ("peer", "migrate", "told"),
    [
        ("qemu+tls://pt-2/system", "", []),
        ("qemu+tls://pt-2/system", "tcp://10.0.0.2", ["(tcp://10.0.0.2)"]),
        ("qemu+tcp://pt-2/system", "", ["(qemu+tcp://pt-2/system)"]),
    ],
)
def test_memory_that_travels_unencrypted_is_told(peer: str, migrate: str, told: list[str]) -> None:
    hosts, nodes = fleet("pt-1", "pt-2")
    hosts["pt-1"].peers[peer] = hosts["pt-2"]
    nodes["pt-2"] = NodeSettings("memory:///", peer, migrate)
    notes = [each.message for each in peers(hosts, nodes) if each.level == "note"]
    assert [each.partition("unencrypted ")[2] for each in notes] == told
