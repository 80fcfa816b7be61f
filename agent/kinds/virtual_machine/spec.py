"""The fields of a VirtualMachine that rules read, as an accepted one has them: with the schema's
defaults, and completed (see defaults). A field that no rule reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict, cast

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


def machine_spec(spec: Mapping[str, object]) -> MachineSpec:
    """A machine's spec. Of one that a domain or the ledger remembers from an earlier version, and
    of one that is not complete yet, use `get` for what may be missing.
    """
    return cast("MachineSpec", spec)
