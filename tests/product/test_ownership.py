"""What is not this fleet's is never touched."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from agent.core.identity import disk_volume
from agent.core.model import Key
from agent.kinds.virtual_machine.spec import machine_spec
from tests.memory_host import MemoryHost, Volume
from tests.memory_repository import MemoryRepository
from tests.rig import STATUS, Rig, condition, disk, machine

DOMAIN = "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory>1048576</memory><vcpu>1</vcpu></domain>"
SOMEBODYS = "11111111-1111-4111-8111-111111111111"


def declare(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()


def test_a_domain_of_that_name_that_somebody_made(rig: Rig) -> None:
    rig.host.define(DOMAIN.format("default.vm", SOMEBODYS))
    rig.host.start(SOMEBODYS)
    before = rig.host.read_domain(SOMEBODYS)
    rig.verbs()
    declare(rig)
    found = condition(rig.vm(), "Running")
    assert found["reason"] == "DomainNotOwned"
    assert "default.vm" in found["message"]
    rig.push({"vm.yaml": disk()})
    rig.settle()
    assert "namespaces/default/virtualmachines/vm.yaml" not in rig.documents()
    assert rig.host.read_domain(SOMEBODYS) == before
    assert rig.verbs() == ["create_volume"]


def test_the_machine_comes_once_the_name_is_free(rig: Rig) -> None:
    rig.host.define(DOMAIN.format("default.vm", SOMEBODYS))
    declare(rig)
    rig.host.undefine(SOMEBODYS)
    rig.settle()
    assert rig.running()


def test_our_uuid_without_metadata(rig: Rig) -> None:
    rig.host.define(DOMAIN.format("default.vm", rig.uuid()))
    before = rig.host.read_domain(rig.uuid())
    declare(rig)
    assert condition(rig.vm(), "Running")["reason"] == "DomainNotOwned"
    assert rig.host.read_domain(rig.uuid()) == before


def test_the_metadata_of_a_machine_that_we_know_is_written_again(rig: Rig) -> None:
    declare(rig)
    uid = rig.memory().uid
    instance = rig.memory(active=True).instance
    rig.host.edit(rig.uuid(), lambda root: etree.strip_elements(root, "metadata"))
    rig.settle()
    assert rig.memory().uid == uid
    assert rig.memory(active=True).instance == instance


def test_two_fleets_share_a_host(tmp_path: Path) -> None:
    host = MemoryHost()
    one = Rig(tmp_path / "one", host=host, fleet="one")
    declare(one)
    mine = one.host.read_domain(one.uuid())
    volumes = dict(host.pools["gitvirt"])
    two = Rig(tmp_path / "two", host=host, fleet="two")
    two.push({"vm.yaml": [disk(), machine(), disk("d2"), machine("own", disks=("d2",))]})
    two.settle()
    assert condition(two.vm(), "Running")["reason"] == "DomainNotOwned"
    assert two.running("own")
    two.push({"vm.yaml": disk()})
    two.settle()
    assert host.read_domain(one.uuid()) == mine
    assert {name: host.pools["gitvirt"][name] for name in volumes} == volumes


def test_the_ledger_of_another_fleet_is_refused(tmp_path: Path) -> None:
    repository = MemoryRepository()
    first = Rig(tmp_path / "one", repository=repository, fleet="one")
    declare(first)
    tip = repository.refs[STATUS]
    second = Rig(tmp_path / "two", repository=repository, fleet="two", now=first.now + 1000)
    for _ in range(10):
        second.step()
        second.now += 10
    assert "fleet one" in second.agent.reconciler.summary().git_error
    assert "--fleet" in second.agent.reconciler.summary().git_error
    assert repository.refs[STATUS] == tip
    assert second.verbs() == []


def test_a_copy_of_a_domain_is_not_ours(rig: Rig) -> None:
    declare(rig)
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    copy = raw.inactive_xml.replace(rig.uuid(), SOMEBODYS).replace(">default.vm<", ">copy<")
    rig.host.define(copy)
    before = rig.host.read_domain(SOMEBODYS)
    rig.push({"vm.yaml": disk()})
    rig.settle()
    rig.repo.refs.pop(STATUS)  # type: ignore[attr-defined]
    rig.start()
    rig.settle()
    assert rig.host.read_domain(SOMEBODYS) == before


def test_volumes_that_somebody_made_stay(rig: Rig) -> None:
    key = Key("VirtualDisk", "default", "root")
    strange = {
        "mine.qcow2": Volume("/p/mine.qcow2", 1),
        "default_disk_default_root_by-hand.qcow2": Volume("/p/x", 1),
        disk_volume("other", key, SOMEBODYS): Volume("/p/y", 1),
        "default_seed_by-hand.iso": Volume("/p/z", 1),
    }
    rig.host.pools["gitvirt"] = dict(strange)
    declare(rig)
    rig.push({"vm.yaml": None})
    rig.settle()
    for name, volume in strange.items():
        assert rig.host.pools["gitvirt"][name] is volume
    assert not any(verb == "delete_volume" for verb, _ in rig.host.verbs)


# -- what a domain remembers and what the ledger knows ------------------------------------------


def test_of_a_machine_that_the_ledger_knows_the_ledgers_word_counts(rig: Rig) -> None:
    """It was accepted and cannot start yet: the domain remembers an earlier version."""
    rig.push({"disk.yaml": disk(), "vm.yaml": machine()})
    rig.settle()
    rig.push({"vm.yaml": machine(cpu={"cores": 3}, disks=("root", "missing"))})
    rig.settle()
    rig.push({"vm.yaml": machine(cpu={"cores": 0})})
    rig.settle()
    before = rig.vm()
    assert before["spec"]["cpu"]["cores"] == 3
    assert machine_spec(rig.memory().spec)["cpu"]["cores"] == 1
    rig.start()
    rig.settle()
    assert rig.vm() == before


def test_of_a_machine_that_an_old_ledger_knows_by_another_uid_the_domain_tells(rig: Rig) -> None:
    """The ledger is from before the machine was deleted and made again."""
    rig.push({"disk.yaml": disk(), "vm.yaml": machine()})
    rig.settle()
    old = rig.repo.fetch()[STATUS]
    rig.push({"vm.yaml": None})
    rig.settle()
    rig.push({"vm.yaml": machine(cpu={"cores": 2})})
    rig.settle()
    uid, instance = rig.vm()["metadata"]["uid"], rig.memory(active=True).instance
    rig.repo.refs[STATUS] = old  # type: ignore[attr-defined]
    assert rig.vm()["metadata"]["uid"] != uid
    rig.push({"vm.yaml": machine(cpu={"cores": 0})})
    rig.start()
    rig.verbs()
    rig.settle()
    assert rig.vm()["metadata"]["uid"] == uid
    assert rig.vm()["spec"]["cpu"]["cores"] == 2
    assert rig.memory(active=True).instance == instance
    assert {"destroy", "shutdown", "undefine"}.isdisjoint(rig.verbs())
