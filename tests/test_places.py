"""The settings `nodes`, `pools` and `networks`: what they say, and what is said where they do not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import settings
from agent.core.links import Link
from agent.core.migrating import Manner
from agent.places import NodeSettings, Pools, PoolSettings
from agent.settings import Settings, SettingsError

WHOLE = """\
nodes:
  pt-2: {connect: "qemu+ssh://gitvirt@pt-2/system"}
  pt-1:
    connect: qemu+ssh://gitvirt@pt-1/system
    peer: qemu+tls://pt-1/system
    migrate: tcp://10.0.0.1
pools:
  local: {pool: gitvirt}
  nfs: {pool: vms, shared: true}
networks:
  main: {network: default, filter: clean-traffic}
  lan: {bridge: br0}
  office.2: {bridge: br-office, vlan: 20}
  ovs: {bridge: ovsbr0, vlan: 4094, virtualport: openvswitch}
  fast: {network: storage, portgroup: gold}
"""


def load(folder: Path, text: str, **flags: str) -> Settings:
    file = folder / "config.yaml"
    file.write_text(text)
    return settings.load(flags, config=str(file), environment={}, root=True)


def test_nodes_and_pools_are_read_in_their_order(tmp_path: Path) -> None:
    found = load(tmp_path, WHOLE)
    assert list(found.nodes.items()) == [
        ("pt-2", NodeSettings("qemu+ssh://gitvirt@pt-2/system")),
        (
            "pt-1",
            NodeSettings(
                "qemu+ssh://gitvirt@pt-1/system", "qemu+tls://pt-1/system", "tcp://10.0.0.1"
            ),
        ),
    ]
    assert list(found.pools.items()) == [
        ("local", PoolSettings("gitvirt")),
        ("nfs", PoolSettings("vms", shared=True)),
    ]
    assert list(found.networks.items()) == [
        ("main", Link(network="default", filter="clean-traffic")),
        ("lan", Link(bridge="br0")),
        ("office.2", Link(bridge="br-office", vlan=20)),
        ("ovs", Link(bridge="ovsbr0", vlan=4094, virtualport="openvswitch")),
        ("fast", Link(network="storage", portgroup="gold")),
    ]


def test_a_manifest_names_pools_by_the_settings_and_always_the_one_of_most() -> None:
    assert Pools().named == Pools.of({}).named == {"gitvirt": "gitvirt"}
    found = Pools.of({"nfs": PoolSettings("vms", shared=True), "local": PoolSettings("gitvirt")})
    assert found.named == {"gitvirt": "gitvirt", "nfs": "vms", "local": "gitvirt"}
    assert found.names == {"gitvirt", "vms"}
    assert found.shared == {"vms"}


def test_how_machines_move_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, "branch: main\n").migration == Manner()
    switches = "firmwareUpdates: false, loadShifting: true"
    text = f"migration: {{atOnce: 2, bandwidth: 500Mi, downtime: 300, {switches}}}\n"
    assert load(tmp_path, text).migration == Manner(
        500 << 20, 300, 2, firmware_updates=False, load_shifting=True
    )


def test_without_them_there_is_the_one_host_of_connect(tmp_path: Path) -> None:
    found = load(tmp_path, "branch: main\n", connect="qemu:///system")
    assert (found.nodes, found.pools, found.connect) == ({}, {}, "qemu:///system")
    assert found.networks == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: pt-1\n", 'config.yaml:1: nodes must be a mapping, such as pt-1.*not "pt-1"'),
        ("nodes: {}\n", "config.yaml:1: nodes must be a mapping"),
        ("nodes:\n  Pt: {connect: 'qemu:///system'}\n", "config.yaml:2: nodes.Pt is no node's name"),
        ("nodes:\n  a: qemu:///system\n", "config.yaml:2: nodes.a must be a mapping with connect"),
        ("nodes:\n  a: {}\n", "config.yaml:2: nodes.a must say with connect"),
        ("nodes:\n  a: {connect: pt-1}\n", 'nodes.a.connect must look like qemu.*not "pt-1"'),
        ("nodes:\n  a: {conect: 'qemu:///system'}\n", "nodes.a.conect is no setting: did you mean c"),
        ("nodes:\n  a: {xyzzy: 1}\n", "nodes.a.xyzzy is no setting: known are connect, peer, migrate"),
        (
            "nodes:\n  a:\n    connect: qemu:///system\n    peer: qemu:///system\n",
            "config.yaml:4: nodes.a.peer must look like qemu.tls://pt-1/system",
        ),
        (
            "nodes:\n  a: {connect: 'qemu:///system', migrate: 10.0.0.1}\n",
            "nodes.a.migrate must look like tcp://10.0.0.1",
        ),
        (
            "nodes:\n  a: {connect: 'qemu:///system'}\n  b: {connect: 'qemu:///system'}\n",
            "config.yaml:3: nodes.b.connect is that of a, too",
        ),
        ("pools: [gitvirt]\n", "pools must be a mapping, such as local: {pool: gitvirt}, not a list"),
        ("pools:\n  a_b: {pool: x}\n", "config.yaml:2: pools.a_b is no pool's name"),
        ("pools:\n  a: {shared: true}\n", "pools.a must say with pool what libvirt calls it"),
        ("pools:\n  a: {pool: /srv}\n", 'pools.a.pool must look like gitvirt, not "/srv"'),
        ("pools:\n  a: {pool: x, shared: 'yes'}\n", "pools.a.shared must be true or false"),
        ("pools:\n  a: {pool: x}\n  b: {pool: x, shared: true}\n", "pools.b.pool is that of a, too"),
        ("migration: {atOnce: 0}\n", "migration.atOnce must be a whole number from 1 to 100, not 0"),
        ("migration: {bandwidth: fast}\n", "migration.bandwidth .*such as 100Mi for each second"),
        (
            "migration: {loadShifting: 'yes'}\n",
            'migration.loadShifting must be true or false, not "yes"',
        ),
        ("networks: {}\n", "networks must be a mapping, such as main: {network: default}"),
        ("networks:\n  Lan: {bridge: br0}\n", "config.yaml:2: networks.Lan is no network's name"),
        ("networks:\n  a: br0\n", "config.yaml:2: networks.a must be a mapping with network"),
        ("networks:\n  a: {}\n", "networks.a must say either with network .* or with bridge"),
        ("networks:\n  a: {bridge: b, network: n}\n", "networks.a must say either with network"),
        ("networks:\n  a: {bridge: a b}\n", 'networks.a.bridge must look like br0, not "a b"'),
        ("networks:\n  a: {bridge: ..}\n", "networks.a.bridge must look like br0"),
        ("networks:\n  a: {bridge: sixteen-letters-}\n", "networks.a.bridge must look like br0"),
        ("networks:\n  a: {network: n/}\n", "networks.a.network must look like default"),
        ("networks:\n  a: {bridge: b, vlan: 4095}\n", "networks.a.vlan must be a whole .* 4094, not 40"),
        ("networks:\n  a: {bridge: b, vlan: 0}\n", "networks.a.vlan must be a whole number from 1"),
        ("networks:\n  a: {bridge: b, vlan: '2'}\n", "networks.a.vlan must be a whole number from 1"),
        ("networks:\n  a: {bridge: b, vlan: true}\n", "networks.a.vlan must be a whole number from 1"),
        ("networks:\n  a: {network: n, vlan: 2}\n", "networks.a.vlan can only be said of a bridge"),
        ("networks:\n  a: {bridge: b, portgroup: g}\n", "networks.a.portgroup can only be said of a l"),
        ("networks:\n  a: {network: n, virtualport: openvswitch}\n", "virtualport can only be said of a b"),
        ("networks:\n  a: {bridge: b, virtualport: midonet}\n", "virtualport must look like openvswitch"),
        ("networks:\n  a: {bridge: b, gateway: 10.0.0.1}\n", "networks.a.gateway can only be said of main"),
        ("networks:\n  main: {bridge: b, gateway: 10.0.0.1/8}\n", "networks.main.gateway must be an address"),
        ("networks:\n  main: {bridge: b, nameservers: [1]}\n", "networks.main.nameservers must be .* not 1"),
        ("networks:\n  a: {bridge: b, filter: 'a/b'}\n", "networks.a.filter must look like clean-traffic"),
        (
            "connect: qemu:///system\nnodes:\n  a: {connect: 'qemu:///system'}\n",
            "connect and nodes both say where the hosts are",
        ),
        ("node: {}\n", "config.yaml:1: node is no setting: did you mean nodes?"),
        ("network: {}\n", "network is no setting: did you mean networks?"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_said_with_its_line_and_path(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        load(tmp_path, text)


def test_main_says_how_guests_on_its_bridge_reach_the_world(tmp_path: Path) -> None:
    text = "networks:\n  main: {bridge: b, gateway: [10.0.1.1, 10.0.2.1], nameservers: 10.0.0.53}\n"
    main = load(tmp_path, text).networks["main"]
    assert (main.gateways, main.nameservers) == (("10.0.1.1", "10.0.2.1"), ("10.0.0.53",))
    assert load(tmp_path, WHOLE).networks["main"].gateways == ()
