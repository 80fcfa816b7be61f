"""The processor that a class gives to guests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GuestCpu:
    """What a VirtualMachineClass gives to guests. `model` is empty but for mode custom."""

    mode: str
    model: str = ""
    features: tuple[str, ...] = ()
    """CPU flags that the guest must have, sorted."""
