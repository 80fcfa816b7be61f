"""`gitvirt screenshot`: what a virtual machine's screen shows, as a picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.cli.command import CommandError, Subparsers
from agent.cli.visits import reached
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt screenshot linux-vm                  writes linux-vm.png
  gitvirt screenshot linux-vm boot.png
  gitvirt screenshot linux-vm - | display
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "screenshot",
        help="a picture of a virtual machine's screen",
        description="Write what the screen of a virtual machine shows into a PNG file.",
        epilog=_EPILOG,
    )
    parser.add_argument("vm", metavar="VM", help="NAME, NAME.NAMESPACE or vm/NAME")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="- for the output (default: VM.png)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.file == "-" and sys.stdout.isatty():
        raise CommandError("a terminal shows no PNG: name a file, or a program behind a pipe")
    with reached(settings, args.vm) as (one, visit):
        picture = visit.picture()
    if args.file == "-":
        sys.stdout.buffer.write(picture)
        return 0
    path = Path(args.file or f"{one.name}.png")
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    print(path)
    return 0
