"""Reads of a host arrive in any order: the newest word counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.facts import Engine
from agent.core.host import RawDomain, RawVolume, Reading
from agent.core.identity import POOL
from agent.core.known import DOMAIN
from agent.reconcile.world import DomainRead, FullRead, VolumeRead, World
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
    world.take(one(2, ON))
    world.take(one(1, OFF))
    assert seen(engine) == ON
    world.take(one(3, OFF))
    assert seen(engine) == OFF


def test_a_full_read_does_not_undo_what_was_read_after_its_begin(
    world: World, engine: Engine
) -> None:
    world.take(one(2, ON))
    world.take(whole(1, OFF))
    assert seen(engine) == ON
    world.take(whole(3))
    assert seen(engine) is None


def test_a_read_from_before_the_last_full_read_brings_nothing_back(
    world: World, engine: Engine
) -> None:
    world.take(one(1, ON))
    world.take(whole(4))
    world.take(one(3, ON))
    assert seen(engine) is None
    world.take(one(5, ON))
    assert seen(engine) == ON


def test_domains_that_come_and_go_leave_nothing_behind(world: World) -> None:
    world.take(whole(0))
    kept = {name: len(each) for name, each in vars(world).items() if isinstance(each, dict | set)}
    for number in range(1, 50):
        world.take(whole(number, replace(ON, uuid=f"uuid-{number}", name=f"vm-{number}")))
    world.take(whole(50))
    assert kept == {
        name: len(each) for name, each in vars(world).items() if isinstance(each, dict | set)
    }


def test_volumes_are_found_by_what_a_disks_name_begins_with(world: World) -> None:
    def volume(name: str, there: bool = True) -> None:
        raw = RawVolume(POOL, name, f"/{name}", 1, 1) if there else None
        world.take(VolumeRead(NODE.name, POOL, name, raw))

    one, two = (f"default_disk_team_data_{digit * 36}.qcow2" for digit in "12")
    for name in (one, two, "default_disk_team_data_2.raw", "x.qcow2"):
        volume(name)
    assert world.named == {"default_disk_team_data_": {one, two}}
    volume(one, there=False)
    assert world.named == {"default_disk_team_data_": {two}}
    volume(two, there=False)
    assert world.named == {}
