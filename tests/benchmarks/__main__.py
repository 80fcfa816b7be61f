"""Runs benchmarks and prints their figures."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module

BENCHMARKS = {
    "unchanged": "passes",
    "one-change": "passes",
    "full-read": "reading",
    "push-to-running": "starting",
    "push-to-defined": "defining",
    "nat": "nat",
    "idle": "idle",
    "attach": "devices",
    "grow": "devices",
    "disk": "disks",
    "snapshot": "snapshots",
    "image": "images",
    "start": "planning",
    "restart": "planning",
    "plan": "planning",
    "one-away": "nodes",
    "addresses": "addresses",
    "placing": "placing",
    "migrate": "migrations",
    "endurance": "endurance",
    "page": "page",
    "commands": "commands",
    "ssh": "access",
    "differences": "differences",
}
"""The module of each, which has a function of that name. Only what is measured is loaded: it counts as memory."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=f"Figures of one run on this machine: {', '.join(BENCHMARKS)}.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="what to measure; without any, all"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.names or list(BENCHMARKS)
    if unknown := sorted(set(names) - BENCHMARKS.keys()):
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    if not args.here:
        return max(_apart(name) for name in names)
    module = import_module(f"tests.benchmarks.{BENCHMARKS[names[0]]}")
    for figure in getattr(module, names[0].replace("-", "_"))():
        print(figure, flush=True)
    return 0


def _apart(name: str) -> int:
    """In a process of its own, so that memory is its own too."""
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", "tests.benchmarks", "--here", name]).returncode


if __name__ == "__main__":
    raise SystemExit(main())
