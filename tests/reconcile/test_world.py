"""Reads of a host arrive in any order: the newest word counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.facts import Engine
from agent.core.host import RawDomain, RawVolume, Reading
from agent.core.identity import POOL
from agent.core.known import (
    DISK_VOLUMES,
    DOMAIN,
    DOMAIN_AT,
    POOL_PATH,
    POOL_TYPE,
    VOLUME_AT,
    VOLUMES_OF,
)
from agent.reconcile.world import DomainRead, FullRead, NodeLost, VolumeRead, World
from tests.memory_host import NODE

UUID = "11111111-1111-4111-8111-111111111111"
OFF = RawDomain(UUID, "db", "shutoff", "unknown", "<domain/>")
ON = replace(OFF, state="running", active_xml="<domain/>")


@pytest.fixture
def engine() -> Engine:
    return Engine({}, {})


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine, "default")


def whole(number: int, *domains: RawDomain) -> FullRead:
    return FullRead(number, Reading(NODE, {each.uuid: each for each in domains}, {}, {POOL: "/"}))


def one(number: int, raw: RawDomain | None) -> DomainRead:
    return DomainRead(number, NODE.name, UUID, raw)


def seen(engine: Engine) -> RawDomain | None:
    found: RawDomain | None = engine.get(DOMAIN, (NODE.name, UUID))
    return found


def test_of_two_reads_of_a_domain_the_one_that_began_later_counts(
    world: World, engine: Engine
) -> None:
    world.observe(one(2, ON))
    world.observe(one(1, OFF))
    assert seen(engine) == ON
    world.observe(one(3, OFF))
    assert seen(engine) == OFF


def test_a_full_read_does_not_undo_what_was_read_after_its_begin(
    world: World, engine: Engine
) -> None:
    world.observe(one(2, ON))
    world.observe(whole(1, OFF))
    assert seen(engine) == ON
    world.observe(whole(3))
    assert seen(engine) is None


def test_a_read_from_before_the_last_full_read_brings_nothing_back(
    world: World, engine: Engine
) -> None:
    world.observe(one(1, ON))
    world.observe(whole(4))
    world.observe(one(3, ON))
    assert seen(engine) is None
    world.observe(one(5, ON))
    assert seen(engine) == ON


def test_domains_that_come_and_go_leave_nothing_behind(world: World) -> None:
    world.observe(whole(0))
    kept = held(world)
    for number in range(1, 50):
        world.observe(whole(number, replace(ON, uuid=f"uuid-{number}", name=f"vm-{number}")))
    world.observe(whole(50))
    assert kept == held(world)


def held(world: World) -> dict[str, int]:
    """How much it remembers, by what: of each node what it remembers of it."""
    return {
        name: sum(len(each) if isinstance(each, dict) else 1 for each in known.values())
        for name, known in vars(world).items()
        if isinstance(known, dict)
    }


def test_a_domain_is_found_by_its_uuid_on_every_node_that_has_it(
    world: World, engine: Engine
) -> None:
    other = replace(NODE, name="node-2")
    world.observe(whole(1, OFF))
    assert engine.get(DOMAIN_AT, UUID) == (NODE.name,)
    world.observe(FullRead(2, Reading(other, {UUID: ON}, {}, {})))
    assert engine.get(DOMAIN_AT, UUID) == (NODE.name, other.name)
    world.observe(NodeLost(other.name, "no route"))
    assert engine.get(DOMAIN_AT, UUID) == (NODE.name, other.name)  # it is there still
    world.observe(whole(3))
    assert engine.get(DOMAIN_AT, UUID) == (other.name,)
    assert (engine.get(DOMAIN, (NODE.name, UUID)), engine.get(DOMAIN, (other.name, UUID))) == (
        None,
        ON,
    )


def test_what_a_node_has_says_nothing_of_another(world: World, engine: Engine) -> None:
    other = replace(NODE, name="node-2")
    volume = RawVolume(POOL, "default_seed_uid_1.iso", "/x", 1, 1)
    for node in (NODE, other):
        world.observe(FullRead(1, Reading(node, {}, {(POOL, volume.name): volume}, {POOL: "/"})))
    assert engine.get(VOLUME_AT, (POOL, volume.name)) == (NODE.name, other.name)
    world.observe(FullRead(2, Reading(NODE, {}, {}, {POOL: "/"})))
    assert engine.get(VOLUME_AT, (POOL, volume.name)) == (other.name,)
    assert engine.get(VOLUMES_OF, (NODE.name, "uid")) is None
    assert engine.get(VOLUMES_OF, (other.name, "uid")) == (volume.name,)


def test_a_pool_that_is_not_active_has_lost_nothing(world: World, engine: Engine) -> None:
    volume = RawVolume("nfs", "x.qcow2", "/x", 1, 1)
    world.observe(FullRead(1, Reading(NODE, {}, {("nfs", "x.qcow2"): volume}, {"nfs": "/"})))
    world.observe(FullRead(2, Reading(NODE, {}, {}, {POOL: "/"})))
    assert engine.get(VOLUME_AT, ("nfs", "x.qcow2")) == (NODE.name,)
    world.observe(FullRead(3, Reading(NODE, {}, {}, {"nfs": "/"})))
    assert engine.get(VOLUME_AT, ("nfs", "x.qcow2")) is None


def test_volumes_are_found_by_what_a_disks_name_begins_with(world: World) -> None:
    def volume(name: str, there: bool = True) -> None:
        raw = RawVolume(POOL, name, f"/{name}", 1, 1) if there else None
        world.observe(VolumeRead(NODE.name, POOL, name, raw))

    one, two = (f"default_disk_team_data_{digit * 36}.qcow2" for digit in "12")
    for name in (one, two, "default_disk_team_data_2.raw", "x.qcow2"):
        volume(name)
    assert world.named == {"default_disk_team_data_": {one, two}}
    volume(one, there=False)
    assert world.named == {"default_disk_team_data_": {two}}
    volume(two, there=False)
    assert world.named == {}


def test_the_volumes_of_a_disk_are_found_in_every_pool_by_its_uid(
    world: World, engine: Engine
) -> None:
    uid = "1" * 36
    one, two = f"default_disk_a_b_{uid}.qcow2", f"default_disk_a_b_{uid}.1.raw"
    for pool, name in ((POOL, one), ("vms", two), ("vms", f"other_disk_a_b_{uid}.qcow2")):
        world.observe(VolumeRead(NODE.name, pool, name, RawVolume(pool, name, f"/{name}", 1, 1)))
    assert engine.get(DISK_VOLUMES, uid) == ((POOL, one), ("vms", two))
    assert world.named == {"default_disk_a_b_": {one, two}}
    world.observe(VolumeRead("node-2", "vms", two, RawVolume("vms", two, f"/{two}", 1, 1)))
    for node in ("node-2", NODE.name):
        assert engine.get(DISK_VOLUMES, uid) == ((POOL, one), ("vms", two))
        world.observe(VolumeRead(node, "vms", two, None))
    assert engine.get(DISK_VOLUMES, uid) == ((POOL, one),)
    assert world.named == {"default_disk_a_b_": {one}}


def test_a_pool_that_is_not_active_any_more_has_no_folder(world: World, engine: Engine) -> None:
    world.observe(FullRead(1, Reading(NODE, {}, {}, {POOL: "/", "nfs": "/nfs"})))
    assert engine.get(POOL_PATH, (NODE.name, "nfs")) == "/nfs"
    world.observe(FullRead(2, Reading(NODE, {}, {}, {POOL: "/"})))
    assert engine.get(POOL_PATH, (NODE.name, "nfs")) is None
    assert engine.get(POOL_PATH, (NODE.name, POOL)) == "/"


def test_the_type_of_a_pool_is_known_where_it_is_no_plain_directory(
    world: World, engine: Engine
) -> None:
    paths = {POOL: "/", "vms": "/dev/vg0"}
    world.observe(FullRead(1, Reading(NODE, {}, {}, paths, {"vms": "logical"})))
    assert engine.get(POOL_TYPE, (NODE.name, "vms")) == "logical"
    assert engine.get(POOL_TYPE, (NODE.name, POOL)) is None
    world.observe(FullRead(2, Reading(NODE, {}, {}, paths)))
    assert engine.get(POOL_TYPE, (NODE.name, "vms")) is None
