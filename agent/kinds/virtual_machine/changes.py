"""What a change of a VM's spec takes where its field alone does not say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agent.core.changes import Change, Disposition, Rules, diff
from agent.kinds.virtual_machine.spec import MAIN, NetworkRef, networks
from agent.kinds.virtual_machine.wanted import FREE_PLACES, can_be_plugged

NETWORKS = "networks"


def differences(
    rules: Rules, current: Mapping[str, object], desired: Mapping[str, object]
) -> tuple[Change, ...]:
    """What is different in `desired`, sorted by path. Rules here may only raise what the field's
    own one says.
    """
    return tuple(
        _raised(change, current, desired)
        for change in diff(rules, current, desired)
        if change.path != NETWORKS or _connected(current) != _connected(desired)
    )


def _connected(spec: Mapping[str, object]) -> list[tuple[object, ...]]:
    """What of its networks has an effect."""
    names = ("id", "type", "name", "virtualMachineMACAddressName")
    return [tuple(each.get(name) for name in names) for each in networks(spec)]


def _raised(change: Change, current: Mapping[str, object], desired: Mapping[str, object]) -> Change:
    if change.path == NETWORKS and not _interfaces_can_be_plugged(current, desired):
        return replace(change, disposition=Disposition.RESTART)
    return change


def _interfaces_can_be_plugged(
    current: Mapping[str, object], desired: Mapping[str, object]
) -> bool:
    """True if a machine that runs can get and lose these interfaces: there is a place free for
    each, and Main, by which it has its address, neither comes nor goes.
    """
    if not can_be_plugged(current) or _main(current) != _main(desired):
        return False
    before, after = (
        sum(network["type"] != MAIN for network in networks(spec)) for spec in (current, desired)
    )
    return after <= max(before, FREE_PLACES) and _same_numbers(current, desired)


def _main(spec: Mapping[str, object]) -> list[NetworkRef]:
    """Main, if it is there, with what is reserved for it."""
    return [network for network in networks(spec) if network["type"] == MAIN]


def _same_numbers(current: Mapping[str, object], desired: Mapping[str, object]) -> bool:
    """An interface has its number for as long as it is there."""
    before, after = (
        {(network["type"], network.get("name")): network["id"] for network in networks(spec)}
        for spec in (current, desired)
    )
    return all(after[name] == number for name, number in before.items() if name in after)
