"""`gitvirt help`: what `--help` says, in the words that people try first."""

from __future__ import annotations

import argparse

from agent import cli
from agent.cli.command import Subparsers
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt help
  gitvirt help get
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "help",
        help="what a command does",
        description="Show what there is, or what one command does: `gitvirt COMMAND --help`.",
        epilog=_EPILOG,
    )
    parser.add_argument("topic", metavar="COMMAND", nargs="?", help="a command")


def run(args: argparse.Namespace, _: Settings) -> int:
    return cli.main([*([args.topic] if args.topic else []), "--help"])
