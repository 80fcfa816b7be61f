"""What `gitvirt clone` asks for: names for the new machine and all that belongs to it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from agent.core.entries import Entry

MODES = ("DryRun", "Strict", "BestEffort")
MACHINE, DISK = "VirtualMachine", "VirtualDisk"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("new", metavar="NEW", help="name of the new machine, in its namespace")
    parser.add_argument(
        "--snapshot",
        metavar="NAME",
        help="make it from this VirtualMachineSnapshot (default: from the machine as it is now)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="Strict",
        help="DryRun: only say what would be made; Strict: all or nothing (default); BestEffort: "
        "leave out what is missing",
    )


def spec(args: argparse.Namespace, vm: Entry) -> dict[str, Any]:
    """The spec of the operation."""
    how = naming(vm.value, vm.name, args.new, args.mode)
    if args.snapshot is None:
        return {"type": "Clone", "virtualMachineName": vm.name, "clone": how}
    return {
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": args.snapshot,
        "createVirtualMachine": how,
    }


def naming(vm: Mapping[str, Any], old: str, new: str, mode: str) -> dict[str, Any]:
    """How things are named: those after the machine after the new one."""
    names = {(MACHINE, old): new}
    names |= {(DISK, name): _after(name, old, new) for name in _disks(vm)}
    replacement = [
        {"from": {"kind": kind, "name": name}, "to": to} for (kind, name), to in names.items()
    ]
    rest = {"namePrefix": f"{new}-"}
    return {"mode": mode, "nameReplacement": replacement, "customization": rest}


def _disks(vm: Mapping[str, Any]) -> Iterator[str]:
    listed = [*(vm.get("spec") or {}).get("blockDeviceRefs", ())]
    listed += vm["status"].get("blockDeviceRefs", ())
    return (each["name"] for each in listed if each["kind"] == DISK)


def _after(name: str, old: str, new: str) -> str:
    own = name.startswith((f"{old}-", f"{old}."))
    return f"{new}{name[len(old) :]}" if own else f"{new}-{name}"
