"""`gitvirt completion`: a script that has a shell complete what is typed."""

from __future__ import annotations

import argparse

import shtab

from agent import cli
from agent.cli.command import Subparsers
from agent.cli.targets import ALL
from agent.core.schema import Catalogue
from agent.settings import Settings

SHELLS = ("bash", "zsh", "fish", "tcsh")
_EPILOG = """\
examples:
  source <(gitvirt completion bash)                                in this shell
  gitvirt completion bash > /etc/bash_completion.d/gitvirt         in every one, of all users
  gitvirt completion zsh > ~/.local/share/zsh_completion/_gitvirt  in a folder of fpath
  gitvirt completion fish > ~/.config/fish/completions/gitvirt.fish
"""
_PLACES = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY}
"""What is completed for arguments that are named so."""
_FIELD = "--sort-by"
"""A PATH that leads into an object."""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="a script for completion in a shell",
        description="Print a script that has a shell complete commands, options and kinds.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(args: argparse.Namespace, _: Settings) -> int:
    print(script(args.shell), end="")
    return 0


def script(shell: str) -> str:
    parser = cli.whole_parser()
    kinds = [word for kind in Catalogue.load().kinds.values() for word in kind.words]
    for command in (parser, *parser.parsers.values()):
        for argument in command.arguments:
            named = argument.metavar if isinstance(argument.metavar, str) else ""
            if named.startswith("KIND"):
                argument.choices = [*kinds, ALL]
            elif named in _PLACES and _FIELD not in argument.option_strings:
                setattr(argument, "complete", _PLACES[named])  # noqa: B010  # shtab looks for it
    text: str = shtab.complete(parser, shell=shell)
    return text
