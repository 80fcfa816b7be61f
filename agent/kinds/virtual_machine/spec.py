"""The fields of a VirtualMachine that rules read, as an accepted one has them: with the schema's
defaults, and completed (see defaults). A field that no rule reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final, Literal, NotRequired, TypedDict, cast

RunPolicy = Literal["AlwaysOn", "AlwaysOff", "Manual", "AlwaysOnUnlessStoppedManually"]


class Cpu(TypedDict):
    cores: int
    coreFraction: str


class Memory(TypedDict):
    size: str


class BlockDeviceRef(TypedDict):
    kind: Literal["ClusterVirtualImage", "VirtualImage", "VirtualDisk"]
    name: str
    bootOrder: NotRequired[int]


class SecretRef(TypedDict):
    name: str


class Provisioning(TypedDict):
    """What `type` names is there, and nothing else."""

    type: Literal["UserData", "UserDataRef", "SysprepRef"]
    userData: NotRequired[str]
    userDataRef: NotRequired[SecretRef]
    sysprepRef: NotRequired[SecretRef]


class NetworkRef(TypedDict):
    """`name` is there unless it is Main."""

    id: NotRequired[int]
    type: Literal["Main", "Network", "ClusterNetwork"]
    name: NotRequired[str]
    virtualMachineMACAddressName: NotRequired[str]


class Disruptions(TypedDict):
    restartApprovalMode: Literal["Manual", "Automatic"]


class MachineSpec(TypedDict):
    virtualMachineClassName: NotRequired[str]
    runPolicy: RunPolicy
    cpu: Cpu
    memory: Memory
    blockDeviceRefs: Sequence[BlockDeviceRef]
    provisioning: NotRequired[Provisioning]
    disruptions: Disruptions
    terminationGracePeriodSeconds: int
    bootloader: Literal["BIOS", "EFI", "EFIWithSecureBoot"]
    osType: Literal["Windows", "Generic", "Legacy"]
    enableParavirtualization: bool
    networks: NotRequired[Sequence[NetworkRef]]
    virtualMachineIPAddressName: NotRequired[str]
    liveMigrationPolicy: Literal["AlwaysSafe", "PreferSafe", "AlwaysForced", "PreferForced"]


MAIN: Final = "Main"
_ONLY_MAIN: Final[tuple[NetworkRef, ...]] = ({"id": 1, "type": MAIN},)


def networks(spec: Mapping[str, object]) -> tuple[NetworkRef, ...]:
    """The networks of a machine in their order, each with its id: Main where none is named."""
    listed = machine_spec(spec).get("networks")
    return numbered(listed) if listed else _ONLY_MAIN


def has_main(spec: Mapping[str, object]) -> bool:
    return any(network["type"] == MAIN for network in networks(spec))


def numbered(
    listed: Sequence[NetworkRef], earlier: Sequence[NetworkRef] = ()
) -> tuple[NetworkRef, ...]:
    """The same networks with an id each: the one that is written, else the one that it had earlier,
    else the lowest that is free. Main has 1.
    """
    had = {_network(network): network["id"] for network in earlier if "id" in network}
    ids: dict[int, int] = {}
    for at, network in enumerate(listed):
        written = 1 if network["type"] == MAIN else network.get("id")
        if written is not None:
            ids[at] = written
    for at, network in enumerate(listed):
        before = had.get(_network(network))
        if at not in ids and before is not None and before not in ids.values():
            ids[at] = before
    free = (number for number in count(2) if number not in ids.values())
    for at in range(len(listed)):
        if at not in ids:
            ids[at] = next(free)
    return tuple({**network, "id": ids[at]} for at, network in enumerate(listed))


def _network(network: NetworkRef) -> tuple[str, str]:
    return network["type"], network.get("name", "")


def machine_spec(spec: Mapping[str, object]) -> MachineSpec:
    """A machine's spec. Of one that a domain or the ledger remembers from an earlier version, and
    of one that is not complete yet, use `get` for what may be missing.
    """
    return cast("MachineSpec", spec)
