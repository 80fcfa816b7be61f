"""The fields of a VirtualMachineIPAddress, as an accepted one has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast


class AddressSpec(TypedDict):
    """`staticIP` is there for type Static, and nowhere else."""

    type: Literal["Auto", "Static"]
    staticIP: NotRequired[str]


def address_spec(spec: Mapping[str, object]) -> AddressSpec:
    return cast("AddressSpec", spec)
