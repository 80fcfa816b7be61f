"""The settings `nodes` and `pools`: what they say, and what is said where they do not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import settings
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


def test_a_manifest_names_pools_by_the_settings_and_always_the_one_of_most() -> None:
    assert Pools().named == Pools.of({}).named == {"gitvirt": "gitvirt"}
    found = Pools.of({"nfs": PoolSettings("vms", shared=True), "local": PoolSettings("gitvirt")})
    assert found.named == {"gitvirt": "gitvirt", "nfs": "vms", "local": "gitvirt"}
    assert found.names == {"gitvirt", "vms"}
    assert found.shared == {"vms"}


def test_without_them_there_is_the_one_host_of_connect(tmp_path: Path) -> None:
    found = load(tmp_path, "branch: main\n", connect="qemu:///system")
    assert (found.nodes, found.pools, found.connect) == ({}, {}, "qemu:///system")


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
        (
            "connect: qemu:///system\nnodes:\n  a: {connect: 'qemu:///system'}\n",
            "connect and nodes both say where the hosts are",
        ),
        ("node: {}\n", "config.yaml:1: node is no setting: did you mean nodes?"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_said_with_its_line_and_path(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        load(tmp_path, text)
