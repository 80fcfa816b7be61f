"""`<address>`: where a device sits in the machine. It is written out for every device that can have
one, so that none moves when another one comes or goes.
"""

from __future__ import annotations

from functools import lru_cache

from agent.core.xml import Element
from agent.kinds.virtual_machine.elements.xml import get, hexadecimal

Address = tuple[tuple[str, str], ...]
"""The attributes as libvirt prints them; empty where a device has no address."""
_PCI = ("domain", "bus", "slot", "function")


@lru_cache(maxsize=256)  # machines have much the same devices in the same places
def pci(bus: int, slot: int, function: int = 0, *, multifunction: bool = False) -> Address:
    parts = {"domain": 0, "bus": bus, "slot": slot}
    return (
        ("type", "pci"),
        *((name, f"0x{number:0{4 if name == 'domain' else 2}x}") for name, number in parts.items()),
        ("function", f"0x{function:x}"),
        *((("multifunction", "on"),) if multifunction else ()),
    )


def drive(controller: int, bus: int, unit: int) -> Address:
    numbers = {"controller": controller, "bus": bus, "target": 0, "unit": unit}
    return (("type", "drive"), *((name, str(number)) for name, number in numbers.items()))


def usb(port: int) -> Address:
    return (("type", "usb"), ("bus", "0"), ("port", str(port)))


def virtio_serial(port: int) -> Address:
    return (("type", "virtio-serial"), ("controller", "0"), ("bus", "0"), ("port", str(port)))


def read_pci(address: Element | None) -> Address:
    """A device's place on PCI; empty where it is elsewhere."""
    bus, slot, function = (hexadecimal(get(address, name)) for name in ("bus", "slot", "function"))
    return pci(bus, slot, function) if min(bus, slot, function) >= 0 else ()


def told(address: Address) -> str:
    """A place on PCI as people write it: `0000:01:00.0`."""
    numbers = [value.removeprefix("0x") for name, value in address if name in _PCI]
    return ":".join(numbers[:-1]) + "." + numbers[-1] if numbers else ""
