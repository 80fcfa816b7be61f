"""What `gitvirt evict` and `gitvirt migrate` ask for: another node."""

from __future__ import annotations

import argparse
from typing import Any

from agent.core.entries import Entry

HOSTNAME = "kubernetes.io/hostname"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target-node",
        "--target-node-name",
        metavar="NODE",
        help="the node to go to (default: whichever fits best)",
    )
    parser.add_argument(
        "-f",
        "--force",
        action=argparse.BooleanOptionalAction,
        help="slow the guest down where it writes memory too fast (default: as "
        "spec.liveMigrationPolicy says)",
    )


def spec(args: argparse.Namespace, vm: Entry) -> dict[str, Any]:
    """The spec of the operation. Only one of type Migrate names a node."""
    kind = "Evict" if args.command == "evict" and not args.target_node else "Migrate"
    made: dict[str, Any] = {"type": kind, "virtualMachineName": vm.name}
    if args.target_node:
        made["migrate"] = {"nodeSelector": {HOSTNAME: args.target_node}}
    if args.force is not None:
        made["force"] = args.force
    return made
