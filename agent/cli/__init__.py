"""The command line: one module a command. Builds the real adapters, prints, and says by the exit
code how it went: 0 fine, 1 error; `plan` 2 for "there are changes"; `ssh` and `scp` as OpenSSH's;
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from agent import settings as configuration
from agent.cli import streams
from agent.cli.command import (
    INTERRUPTED,
    Command,
    CommandError,
    Parser,
    add_settings,
    given_settings,
)
from agent.core.host import HostError
from agent.gitrepo.repository import RepositoryError

__all__ = ["COMMANDS", "INTERRUPTED", "main", "whole_parser"]

COMMANDS = {
    "run": "run",
    "plan": "plan",
    "validate": "validate",
    "get": "get",
    "describe": "describe",
    "status": "status",
    "dashboard": "dashboard",
    "wait": "wait",
    "start": "operation",
    "stop": "operation",
    "restart": "operation",
    "evict": "operation",
    "migrate": "operation",
    "restore": "operation",
    "clone": "operation",
    "cordon": "maintenance",
    "uncordon": "maintenance",
    "drain": "maintenance",
    "node": "forgetting",
    "upload": "upload",
    "console": "console",
    "vnc": "vnc",
    "screenshot": "screenshot",
    "ssh": "ssh",
    "scp": "ssh",
    "ssh-config": "ssh",
    "port-forward": "port_forward",
    "explain": "explain",
    "doctor": "doctor",
    "completion": "completion",
    "systemd-unit": "systemd_unit",
    "help": "help",
}
"""The module of each command, in the order in which `--help` lists them."""

_EPILOG = """\
examples:
  gitvirt validate                        check the manifests of the folder one stands in
  gitvirt plan --revision my-branch       what a merge of that branch would do
  gitvirt get vm -o wide                  the virtual machines, as the agent saw them last
  gitvirt restart linux-vm --wait         restart one and wait for it

The repository is --repo, else GITVIRT_REPO, else the origin of the clone one stands in.
`gitvirt help COMMAND` says more about a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Never raises for what a user or the world did wrong."""
    streams.prepare()
    try:
        code = _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        if not streams.lost(error):
            raise
        return streams.finish(streams.FAILED, error)
    return streams.finish(code)


def _main(argv: Sequence[str]) -> int:
    parser, commands = _parser(_modules(argv))
    try:
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            parser.parsers.get(args.command, parser).refuse(unknown)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    if args.command is None:
        parser.print_help()
        return 0
    try:
        flags = given_settings(args)
        settings = configuration.load(flags, config=flags.pop("config", ""))
        return commands[args.command].run(args, settings)
    except (
        CommandError,
        RepositoryError,
        HostError,
        configuration.SettingsError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return int(getattr(args, "failure", 1))


def whole_parser() -> Parser:
    """Of all commands, with all options in sight."""
    return _parser(_modules(()), shown=True)[0]


def _parser(modules: Iterable[str], *, shown: bool = False) -> tuple[Parser, dict[str, Command]]:
    parser = Parser(
        prog="gitvirt",
        usage="gitvirt [SETTINGS] COMMAND …",
        description="A Git repository as the control plane of libvirt virtual machines.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", prog="gitvirt"
    )
    commands: dict[str, Command] = {}
    for name in modules:
        module = importlib.import_module(f"agent.cli.{name}")
        module.add(subparsers)
        for new in subparsers.choices.keys() - commands.keys():
            add_settings(subparsers.choices[new], shown=shown)
            commands[new] = module
    add_settings(parser, shown=shown)
    parser.commands = COMMANDS
    parser.parsers = subparsers.choices
    return parser, commands


def _modules(argv: Sequence[str]) -> Iterable[str]:
    """The modules whose commands the arguments name, for loading all of them takes long; all where
    none is named, which is a call for help.
    """
    there = [
        name
        for name in dict.fromkeys(COMMANDS.values())
        if importlib.util.find_spec(f"agent.cli.{name}") is not None
    ]
    asked = {COMMANDS[word] for word in argv if word in COMMANDS}
    first = next(iter(argv), "")
    if first in ("-h", "--help") or not asked:
        return there
    return [name for name in there if name in asked]


class _Version(argparse.Action):
    """Prints the version, which only whoever asks for it has to wait for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib import metadata

        try:
            version = metadata.version("gitvirt")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"gitvirt {version}")
        parser.exit()
