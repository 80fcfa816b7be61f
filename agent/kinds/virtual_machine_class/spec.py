"""The fields of a VirtualMachineClass that rules read, as an accepted one has them. A field that no
rule reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict, cast


class Discovery(TypedDict):
    nodeSelector: NotRequired[Mapping[str, object]]


class ClassCpu(TypedDict):
    """What `type` names is there, and nothing else."""

    type: Literal["Host", "HostPassthrough", "Discovery", "Model", "Features"]
    model: NotRequired[str]
    features: NotRequired[Sequence[str]]
    discovery: NotRequired[Discovery]


class Cores(TypedDict):
    min: int
    max: int
    step: NotRequired[int]


class MemoryPerCore(TypedDict):
    min: NotRequired[str | int]
    max: NotRequired[str | int]


class MemorySizes(TypedDict):
    min: NotRequired[str | int]
    max: NotRequired[str | int]
    step: NotRequired[str | int]
    perCore: NotRequired[MemoryPerCore]


class SizingPolicy(TypedDict):
    """Shares are whole numbers (v1alpha2) or text such as "20%" (v1alpha3)."""

    cores: Cores
    coreFractions: NotRequired[Sequence[int | str]]
    defaultCoreFraction: NotRequired[int | str]
    memory: NotRequired[MemorySizes]


class ClassSpec(TypedDict):
    cpu: ClassCpu
    sizingPolicies: NotRequired[Sequence[SizingPolicy]]


def class_spec(spec: Mapping[str, object]) -> ClassSpec:
    """A class's spec."""
    return cast("ClassSpec", spec)
