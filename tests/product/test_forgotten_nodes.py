"""A node that no setting names any more is not absent, until somebody says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.status import timestamp
from tests.memory_host import MemoryHost
from tests.product.test_several_nodes import go, runs, spread, status, three
from tests.rig import OPERATIONS, Rig, condition

MARK = "nodes/pt-2.yaml"


@pytest.fixture
def there(tmp_path: Path) -> Rig:
    rig = three(tmp_path)
    spread(rig)
    return rig


@pytest.fixture
def gone(there: Rig) -> MemoryHost:
    """pt-2."""
    return there.others[0]


@pytest.fixture
def rig(there: Rig, gone: MemoryHost) -> Rig:
    """vm-2 and its disk are on pt-2, which was taken out of the settings."""
    rig = there
    rig.others = rig.others[1:]
    rig.start()
    go(rig, 600)
    assert "not among the nodes" in condition(rig.vm("vm-2"), "Running")["message"]
    return rig


def forget(rig: Rig, name: str = "pt-2", until: float = 3600) -> None:
    annotations = {"gitvirt.io/forget": timestamp(rig.now + until)}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}
    node["metadata"] = {"name": name, "annotations": annotations}
    rig.push({f"nodes/{name}.yaml": node}, OPERATIONS)
    go(rig)


def nodes(rig: Rig) -> list[str]:
    agent = rig.document("agent.yaml")
    return [node["name"] for node in agent.get("nodes") or [agent["node"]]]


def test_it_is_absent_once_it_is_forgotten_and_stays_so(rig: Rig) -> None:
    assert "pt-2" in nodes(rig)
    forget(rig)
    rig.push({MARK: None}, OPERATIONS)
    go(rig)
    for _ in range(2):
        assert nodes(rig) == ["pt-1", "pt-3"]
        assert rig.document("agent.yaml")["forgotten"] == ["pt-2"]
        assert "cluster/nodes/pt-2.yaml" not in rig.documents()
        rig.start()
        go(rig, 60)


def test_a_disk_that_it_alone_had_is_lost_and_not_made_anew(rig: Rig) -> None:
    volumes = [set(host._volumes) for host in rig.hosts.values()]
    forget(rig)
    told = rig.document("namespaces/default/virtualdisks/d2.yaml")["status"]
    assert told["phase"] == "PVCLost"
    assert [set(host._volumes) for host in rig.hosts.values()] == volumes
    assert runs(rig, "vm-2") == []
    assert status(rig, "vm-2")["phase"] == "Pending"


def test_machines_of_the_others_go_on(rig: Rig) -> None:
    rig.verbs()
    forget(rig)
    assert (runs(rig, "vm-1"), runs(rig, "vm-3")) == (["pt-1"], ["pt-3"])
    assert rig.verbs() == []


def test_a_node_of_the_settings_is_not_forgotten(rig: Rig) -> None:
    forget(rig, "pt-3")
    assert "pt-3" in nodes(rig)
    assert "forgotten" not in rig.document("agent.yaml")
    assert runs(rig, "vm-3") == ["pt-3"]


def test_a_word_that_is_out_of_date_counts_for_nothing(rig: Rig) -> None:
    forget(rig, until=-1)
    assert "pt-2" in nodes(rig)


def test_one_that_comes_back_to_the_settings_has_its_machines(rig: Rig, gone: MemoryHost) -> None:
    forget(rig)
    rig.push({MARK: None}, OPERATIONS)
    go(rig)
    rig.others = (gone, *rig.others)
    rig.start()
    go(rig, 60)
    assert nodes(rig) == ["pt-1", "pt-2", "pt-3"]
    assert "forgotten" not in rig.document("agent.yaml")
    assert runs(rig, "vm-2") == ["pt-2"]
    assert status(rig, "vm-2")["nodeName"] == "pt-2"
