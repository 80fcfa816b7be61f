"""How the guest of a VM gets the address that is reserved for it: what a network has to hold for it
before it starts, and what its medium has to say.

What runs keeps the address that it was started with, whatever is reserved meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.core.actions import Action
from agent.core.facts import View
from agent.core.host import GuestInfo
from agent.core.identity import entry_name
from agent.core.known import HELD, NETWORK
from agent.core.metadata import DomainMetadata
from agent.core.model import Condition, Key, Object
from agent.core.network import Held
from agent.core.network_actions import HoldAddress, MakeNetwork, ReleaseAddress, StartNetwork
from agent.kinds.local import away
from agent.kinds.uplink import Uplink, Way
from agent.kinds.virtual_machine import addresses
from agent.kinds.virtual_machine.addresses import Address, Told
from agent.kinds.virtual_machine.dependencies import Dependencies
from agent.kinds.virtual_machine.network_config import (
    SLIRP_GATEWAY,
    SLIRP_NAMESERVER,
    bridged,
    gateway_of,
    user_mode,
)
from agent.kinds.virtual_machine.networks import NOT_READY, READY, Cabling
from agent.kinds.virtual_machine.provisioning import with_network


def delivered(needs: Dependencies, vm: Object, cables: Cabling) -> Dependencies:
    """What a machine needs, with what its medium tells of its address; not ready where nobody can
    give it that.
    """
    address = needs.address
    lacks = any((each.type, each.status) == (READY, "False") for each in needs.conditions)
    if address.vmip is None or lacks:
        return needs
    problem = cables.uplink.problem(address.data.address)
    if problem:
        told = Condition(READY, "False", NOT_READY, problem)
        others = tuple(each for each in needs.conditions if each.type != READY)
        return replace(needs, conditions=(*others, told), ready=False, waiting=False)
    files = on_medium(cables.uplink, cables.main_mac(vm.spec), address)
    return replace(needs, medium=with_network(vm, needs.medium, files))


def on_medium(up: Uplink, mac: str, address: Address) -> Mapping[str, bytes]:
    """What the medium says of the network; nothing where DHCP says it."""
    data = address.data
    if up.way is not Way.MEDIUM or not address.ready:
        return {}
    if up.user_mode:
        return user_mode(mac, data.address)
    return bridged(mac, data.address, data.prefix, up.link.gateways, up.link.nameservers)


def told(
    wanted: Address,
    up: Uplink | None,
    running: DomainMetadata | None,
    guest: GuestInfo | None,
    seen: str,
) -> Told:
    """What a VM's status says of its address, and what a guest has to do that does not take it from
    its medium, until it says that it has it. `up` is None where the instance is not on it.
    """
    found = addresses.told(wanted, running, guest, seen)
    address = addresses.address_of(running)
    if not address or up is None or up.way is not Way.MEDIUM or _confirmed(address, guest):
        return found
    message = f"{found.condition.message} {_advice(up, address)}".strip()
    return replace(found, condition=replace(found.condition, message=message))


def _confirmed(address: str, guest: GuestInfo | None) -> bool:
    listed = guest.addresses.values() if guest is not None else ()
    return any(address in each for each in listed)


def _advice(up: Uplink, address: str) -> str:
    if up.user_mode:
        return _ADVICE.format(f"{address}/32") + (
            f"that address, {SLIRP_GATEWAY} as its gateway, which it reaches directly, and the "
            f"name server {SLIRP_NAMESERVER}."
        )
    prefix = up.prefix(address)
    gateway = gateway_of(address, prefix, up.link.gateways)
    way = f"the gateway {gateway}." if gateway else _NO_GATEWAY
    return _ADVICE.format(f"{address}/{prefix}") + f"that address and {way}"


_ADVICE = (
    "Its medium tells cloud-init to have {}. A guest without cloud-init has to be given, in it, "
)
_NO_GATEWAY = (
    "a gateway, of which the medium says nothing: name it as `gateway` of main in the setting "
    "networks."
)


@dataclass(frozen=True)
class Holding:
    """What a network holds for a machine, and what is to be done about that."""

    actions: tuple[Action, ...] = ()
    """All on one node."""
    ready: bool = True
    """True if the guest gets its address once it starts."""
    wanted: Held | None = None
    """What a network is to hold for it then."""


@dataclass(frozen=True)
class Instance:
    """What runs: the address that it was started with, and libvirt's network that its Main is; both
    empty where it has none.
    """

    address: str
    network: str


def holding(
    key: Key, view: View, up: Uplink, mac: str, address: str, running: Instance | None = None
) -> Holding:
    """Have the network hold what the machine is to have; `address` is that of its next start, empty
    for none. What runs keeps what it has, on the network that it is on.
    """
    name = entry_name(view.fleet, key)
    present = view.read(HELD, name) or ()
    if running is not None:
        return _of_instance(present, view, up, Held(running.network, mac, running.address, name))
    wanted = _wanted(up, name, mac, address)
    if wanted is None:
        return Holding(_released(present, view))
    return Holding(*_held(present, view, up, wanted), wanted)


def _of_instance(
    present: tuple[tuple[str, Held], ...], view: View, up: Uplink, has: Held
) -> Holding:
    if not has.address:
        return Holding()  # what it has, it has from elsewhere
    if has.network and has.network == up.link.network:
        wanted = _wanted(up, has.name, has.mac, has.address)
        return Holding() if wanted is None else Holding(*_held(present, view, up, wanted))
    raw = view.read(NETWORK, (up.node, has.network))
    there = raw is not None and raw.active and raw.covers(has.address)
    if there and (up.node, has) not in present:
        return Holding((HoldAddress(up.node, has),))
    return Holding(_released(_others(present, up.node, has.network), view))


def awaited(key: Key, view: View, up: Uplink, mac: str, running: Instance) -> tuple[Action, ...]:
    """Have a network of a node that what runs comes to hold what it has. Nothing is taken away."""
    asked = holding(key, view, up, mac, running.address, running).actions
    return tuple(action for action in asked if not isinstance(action, ReleaseAddress))


def released(key: Key, view: View) -> tuple[Action, ...]:
    """Take away whatever networks hold for a machine that goes."""
    return _released(view.read(HELD, entry_name(view.fleet, key)) or (), view)


def _wanted(up: Uplink, name: str, mac: str, address: str) -> Held | None:
    if not address or up.way is not Way.DHCP or up.problem(address):
        return None
    return Held(up.link.network, mac.lower(), address, name)


def _held(
    present: tuple[tuple[str, Held], ...], view: View, up: Uplink, wanted: Held
) -> tuple[tuple[Action, ...], bool]:
    stands = (up.node, wanted) in present
    make, starts = _own(up, wanted.address)
    hold = () if stands else (HoldAddress(up.node, wanted),)
    if make or hold:
        return (*make, *hold), False
    if starts:
        return starts, False
    return _released(_others(present, up.node, wanted.network), view), True


def _others(
    present: tuple[tuple[str, Held], ...], node: str, network: str
) -> tuple[tuple[str, Held], ...]:
    return tuple(each for each in present if (each[0], each[1].network) != (node, network))


def _own(up: Uplink, address: str) -> tuple[tuple[Action, ...], tuple[Action, ...]]:
    """What makes the agent's own network, and what has it run with the subnet of an address. Apart:
    what several machines have it hold costs next to nothing before it runs.
    """
    if up.own is None:
        return (), ()
    raw = up.network
    later = set(raw.serves_later) if raw is not None else set()
    lacks = any(each.network not in later for each in up.own.addresses)
    make = (MakeNetwork(up.node, up.own),) if raw is None or lacks else ()
    runs = raw is not None and raw.active and raw.covers(address)
    return make, () if runs else (StartNetwork(up.node, up.own.name),)


def _released(present: tuple[tuple[str, Held], ...], view: View) -> tuple[Action, ...]:
    """On one node at a time, and on none that nobody can reach."""
    within = [(node, each) for node, each in present if not each.leased and not away(view, node)]
    return tuple(ReleaseAddress(node, each) for node, each in within if node == within[0][0])
