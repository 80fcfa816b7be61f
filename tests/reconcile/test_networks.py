"""What readings of libvirt's networks become."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.facts import Engine
from agent.core.host import Reading
from agent.core.known import HELD, NETWORK
from agent.core.network import Held, NetworkReading
from agent.reconcile.world import FullRead, NetworkRead, World
from tests.memory_host import NODE
from tests.memory_networks import network

OFFICE = network("office", "10.66.10.1/24")
WEB = Held("office", "52:54:00:00:00:0a", "10.66.10.5", "web.default.blue.gitvirt")
LEASE = Held("office", "52:54:00:00:00:0b", "10.66.10.5", leased=True)


@pytest.fixture
def engine() -> Engine:
    return Engine({}, {})


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine, "default")


def whole(number: int, *readings: NetworkReading) -> FullRead:
    networks = {each.network.name: each for each in readings}
    return FullRead(number, Reading(NODE, {}, {}, {}, networks=networks))


def one(number: int, reading: NetworkReading | None) -> NetworkRead:
    return NetworkRead(number, NODE.name, "office", reading)


def test_a_network_is_found_by_its_node_and_name(world: World, engine: Engine) -> None:
    world.observe(whole(1, NetworkReading(OFFICE)))
    assert engine.get(NETWORK, (NODE.name, "office")) == OFFICE
    world.observe(whole(2))
    assert engine.get(NETWORK, (NODE.name, "office")) is None


def test_what_is_held_is_found_by_address_card_and_name(world: World, engine: Engine) -> None:
    world.observe(whole(1, NetworkReading(OFFICE, (WEB, LEASE))))
    mine, theirs = (NODE.name, WEB), (NODE.name, LEASE)
    assert engine.get(HELD, WEB.address) == (mine, theirs)
    assert engine.get(HELD, WEB.mac) == engine.get(HELD, WEB.name) == (mine,)
    assert engine.get(HELD, LEASE.mac) == (theirs,)
    world.observe(one(2, NetworkReading(OFFICE, (LEASE,))))
    assert engine.get(HELD, WEB.address) == (theirs,)
    assert engine.get(HELD, WEB.mac) is None
    assert engine.get(HELD, WEB.name) is None
    world.observe(one(3, None))
    assert engine.get(HELD, WEB.address) is None


def test_an_address_held_on_two_nodes_is_found_on_both(world: World, engine: Engine) -> None:
    other = replace(NODE, name="node-2")
    world.observe(whole(1, NetworkReading(OFFICE, (WEB,))))
    seen = Reading(other, {}, {}, {}, networks={"office": NetworkReading(OFFICE, (WEB,))})
    world.observe(FullRead(2, seen))
    assert engine.get(HELD, WEB.address) == ((NODE.name, WEB), ("node-2", WEB))
    world.observe(whole(3))
    assert engine.get(HELD, WEB.address) == (("node-2", WEB),)


def test_of_two_reads_of_a_network_the_one_that_began_later_counts(
    world: World, engine: Engine
) -> None:
    world.observe(one(2, NetworkReading(OFFICE)))
    world.observe(one(1, None))
    world.observe(whole(1))
    assert engine.get(NETWORK, (NODE.name, "office")) == OFFICE
    world.observe(whole(4))
    world.observe(one(3, NetworkReading(OFFICE)))
    assert engine.get(NETWORK, (NODE.name, "office")) is None


def test_what_is_held_changes_nothing_for_those_who_look_at_the_network_alone(
    world: World, engine: Engine
) -> None:
    world.observe(whole(1, NetworkReading(OFFICE)))
    before = engine.get(NETWORK, (NODE.name, "office"))
    world.observe(one(2, NetworkReading(OFFICE, (WEB,))))
    assert engine.get(NETWORK, (NODE.name, "office")) is before
