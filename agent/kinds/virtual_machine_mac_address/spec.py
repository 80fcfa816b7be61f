"""The fields of a VirtualMachineMACAddress, as an accepted one has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast


class MacAddressSpec(TypedDict):
    address: NotRequired[str]


def address_of(spec: Mapping[str, object]) -> str:
    """The address that it asks for, as libvirt writes it; empty for any."""
    return cast("MacAddressSpec", spec).get("address", "").lower().replace("-", ":")
