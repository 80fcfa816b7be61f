"""Which way a guest gets its address, and what is done for it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import pytest

from agent.core import known
from agent.core.facts import View
from agent.core.known import Fact
from agent.core.links import Link
from agent.core.model import Key
from agent.core.network import Held, NatNetwork, RawNetwork
from agent.core.network_actions import HoldAddress, MakeNetwork, ReleaseAddress, StartNetwork
from agent.kinds.exports import AddressRanges
from agent.kinds.module_config import SETTINGS
from agent.kinds.uplink import Way, uplink
from agent.kinds.virtual_machine.delivery import Holding, Instance, holding, released
from tests.golden.case import NODE
from tests.kinds.deciding import READY, place_of, view_of
from tests.memory_networks import network

VM = Key("VirtualMachine", "shop", "web")
HERE = NODE.name
MAC, ADDRESS = "52:00:00:00:00:0A", "10.66.10.14"
SESSION = replace(NODE, session=True)
OFFICE = network("office", "10.66.10.1/24")
OWN = NatNetwork(
    "gitvirt", "default", "virbr-gitvirt", "52:a0:74:58:2d:48", (IPv4Interface("10.66.10.1/24"),)
)
RUNS = replace(network("gitvirt", "10.66.10.1/24"), fleet="default")
ENTRY = Held("gitvirt", MAC.lower(), ADDRESS, "web.shop.default.gitvirt")


def seen(
    *networks: RawNetwork,
    held: tuple[tuple[str, Held], ...] = (),
    ranges: tuple[str, ...] = ("10.66.10.0/24",),
    **links: Link,
) -> View:
    facts: dict[Fact, Any] = {
        **READY,
        (known.NETWORKS, None): links,
        (known.EXPORT, SETTINGS): AddressRanges(tuple(map(IPv4Network, ranges))),
        **{(known.NETWORK, (HERE, each.name)): each for each in networks},
    }
    for place in held:
        facts[known.HELD, place[1].name] = (*facts.get((known.HELD, place[1].name), ()), place)
    return view_of(facts)


def held(
    view: View, address: str = ADDRESS, now: str | None = None, on: str = "gitvirt"
) -> Holding:
    """`now` is the address of the instance that runs, `on` the network that it is on."""
    running = Instance(now, on) if now is not None else None
    found = holding(VM, view, uplink(view, place_of()), MAC.lower(), address, running)
    return replace(found, wanted=None)


# -- which way ------------------------------------------------------------------------------------


def test_where_nobody_says_what_main_is_the_agent_has_a_network_of_its_own() -> None:
    up = uplink(seen(), place_of())
    assert (up.link, up.own, up.way) == (Link("gitvirt"), OWN, Way.DHCP)
    assert up.problem(ADDRESS) == ""


def test_libvirts_own_network_is_main_where_it_serves_all_addresses() -> None:
    wide = network("default", "10.66.1.1/16")
    assert uplink(seen(wide), place_of()).link == Link("default")
    for other in (replace(wide, active=False), network("default", "10.66.10.1/25")):
        assert uplink(seen(other), place_of()).own == OWN


def test_a_users_session_gives_addresses_by_the_medium() -> None:
    up = uplink(seen(), place_of(SESSION))
    assert (up.link, up.way, up.user_mode, up.problem(ADDRESS)) == (Link(), Way.MEDIUM, True, "")


@pytest.mark.parametrize(
    ("link", "raw", "way"),
    [
        (Link("office"), OFFICE, Way.DHCP),
        (Link(bridge="br0"), None, Way.MEDIUM),
        (Link("office"), replace(OFFICE, forward="bridge", addresses=(), served=()), Way.MEDIUM),
    ],
    ids=["network", "bridge", "network-on-a-bridge"],
)
def test_the_settings_say_what_main_is(link: Link, raw: RawNetwork | None, way: Way) -> None:
    up = uplink(seen(*([raw] if raw else []), main=link), place_of())
    assert (up.link, up.own, up.way, up.problem(ADDRESS)) == (link, None, way, "")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (None, "no libvirt network office: make and start it"),
        (replace(OFFICE, active=False), "does not run: start it with `virsh net-start office`"),
        (network("office", "192.168.122.1/24"), "serves 192.168.122.0/24, and not 10.66.10.14"),
    ],
    ids=["missing", "inactive", "elsewhere"],
)
def test_a_network_that_cannot_give_the_address_is_told(raw: RawNetwork | None, words: str) -> None:
    view = seen(*([raw] if raw else []), main=Link("office"))
    assert words in uplink(view, place_of()).problem(ADDRESS)
    assert held(view) == Holding()


def test_a_plan_that_asks_no_host_finds_no_network_missing() -> None:
    view = seen(main=Link("office"))
    up = replace(uplink(view, place_of()), known=False)
    assert up.problem(ADDRESS) == ""
    assert uplink(view_of({**READY, (known.ANY_NODE, None): True}), place_of()).known is False


def test_a_network_of_another_fleet_with_the_name_of_our_own_is_left_alone() -> None:
    view = seen(replace(RUNS, fleet="green"))
    assert "that this fleet did not make" in uplink(view, place_of()).problem(ADDRESS)
    assert held(view) == Holding()


# -- what is done ---------------------------------------------------------------------------------


def test_a_start_waits_for_just_what_the_network_is_to_hold() -> None:
    for view, wanted in ((seen(RUNS), ENTRY), (seen(main=Link(bridge="br0")), None)):
        found = holding(VM, view, uplink(view, place_of()), MAC.lower(), ADDRESS)
        assert found.wanted == wanted


def test_a_new_network_is_made_and_holds_the_address_before_it_runs() -> None:
    assert held(seen()) == Holding((MakeNetwork(HERE, OWN), HoldAddress(HERE, ENTRY)), ready=False)
    made = replace(RUNS, active=False)
    assert held(seen(made)) == Holding((HoldAddress(HERE, ENTRY),), ready=False)
    there = seen(made, held=((HERE, ENTRY),))
    assert held(there) == Holding((StartNetwork(HERE, "gitvirt"),), ready=False)
    assert held(seen(RUNS, held=((HERE, ENTRY),))) == Holding()


def test_a_range_that_is_added_is_defined_and_served_as_soon_as_may_be() -> None:
    ranges = ("10.66.10.0/24", "10.66.20.0/24")
    address = "10.66.20.7"
    entry = replace(ENTRY, address=address)
    more = replace(OWN, addresses=(*OWN.addresses, IPv4Interface("10.66.20.1/24")))
    assert held(seen(RUNS, ranges=ranges), address).actions == (
        MakeNetwork(HERE, more),
        HoldAddress(HERE, entry),
    )
    later = replace(RUNS, serves_later=tuple(map(IPv4Network, ranges)))
    known_entry = ((HERE, entry),)
    found = held(seen(later, ranges=ranges, held=known_entry), address)
    assert found == Holding((StartNetwork(HERE, "gitvirt"),), ready=False)
    # whoever is in a range that is served waits for nobody
    assert held(seen(later, ranges=ranges, held=((HERE, ENTRY),))) == Holding()


@pytest.mark.parametrize(
    "there",
    [
        replace(ENTRY, address="10.66.10.15"),
        replace(ENTRY, mac="52:00:00:00:00:0b"),
        replace(ENTRY, half=True),
    ],
    ids=["address", "card", "half"],
)
def test_an_entry_that_says_something_else_is_replaced(there: Held) -> None:
    assert held(seen(RUNS, held=((HERE, there),))) == Holding(
        (HoldAddress(HERE, ENTRY),), ready=False
    )


def test_what_runs_keeps_the_address_that_it_was_started_with() -> None:
    before = replace(ENTRY, address="10.66.10.99")
    view = seen(RUNS, held=((HERE, before),))
    assert held(view, now="10.66.10.99") == Holding()
    # somebody started it before the entry was what its definition says
    assert held(view, now=ADDRESS) == Holding((HoldAddress(HERE, ENTRY),), ready=False)


def test_what_runs_since_before_it_had_an_address_is_given_none() -> None:
    assert held(seen(RUNS), now="", on="default") == Holding()
    assert held(seen(RUNS)).actions == (HoldAddress(HERE, ENTRY),)


def test_what_runs_keeps_its_entry_while_main_is_something_else_by_now() -> None:
    bridge = Link(bridge="br0")
    assert held(seen(RUNS, held=((HERE, ENTRY),), main=bridge), now=ADDRESS) == Holding()
    assert held(seen(RUNS, main=bridge), now=ADDRESS).actions == (HoldAddress(HERE, ENTRY),)
    assert held(seen(main=bridge), now=ADDRESS) == Holding()
    over = held(seen(RUNS, held=((HERE, ENTRY),), main=bridge), now=ADDRESS, on="")
    assert over.actions == (ReleaseAddress(HERE, ENTRY),)
    assert held(seen(RUNS, held=((HERE, ENTRY),), main=bridge)).actions == (
        ReleaseAddress(HERE, ENTRY),
    )


def test_what_another_network_or_node_holds_is_released_once_it_stands_here() -> None:
    old = replace(ENTRY, network="default")
    away = (NODE.name, old)
    assert held(seen(RUNS, held=(away,))).actions == (HoldAddress(HERE, ENTRY),)
    both = seen(RUNS, held=(away, (HERE, ENTRY)))
    assert held(both) == Holding((ReleaseAddress(HERE, old),))


def test_nothing_is_released_on_a_node_that_cannot_be_reached() -> None:
    elsewhere = ("node-lost", ENTRY)
    assert held(seen(RUNS, held=(elsewhere, (HERE, ENTRY)))) == Holding()


def test_an_address_that_is_not_reserved_any_more_is_released_while_it_is_off() -> None:
    view = seen(RUNS, held=((HERE, ENTRY),))
    assert held(view, "") == Holding((ReleaseAddress(HERE, ENTRY),))
    assert held(view, "", now=ADDRESS) == Holding()


def test_a_machine_that_goes_leaves_nothing_behind() -> None:
    lease = replace(ENTRY, leased=True)
    view = seen(RUNS, held=((HERE, ENTRY), (HERE, lease)))
    assert released(VM, view) == (ReleaseAddress(HERE, ENTRY),)
    assert released(VM._replace(name="other"), view) == ()


def test_on_a_bridge_nothing_is_held() -> None:
    assert held(seen(main=Link(bridge="br0"))) == Holding()
