"""What every command is made of."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from agent.core.spelling import nearest
from agent.options import OPTIONS
from agent.settings import Settings

INTERRUPTED = 130
_ABOUT_SETTINGS = """\
Each is also an environment variable and a line of a configuration file:
--data-dir, GITVIRT_DATA_DIR, data-dir. A password stands in GITVIRT_PASSWORD or in
a file, never in the arguments."""
_CHOICE = re.compile(r"argument COMMAND: invalid choice: '([^']*)'")


class CommandError(Exception):
    """The command cannot do what was asked. The message is for the user; the exit code is 1."""


def confirm(question: str, otherwise: str, yes: str) -> None:
    """Ask at the terminal. Raises CommandError, which says what is `otherwise`, unless the answer
    is yes; where nobody can answer, it says what --yes would.
    """
    if not sys.stdin.isatty():
        raise CommandError(f"{otherwise}: say --yes to {yes}")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError(otherwise)


class Subparsers(Protocol):
    """Where a command adds its parser."""

    @property
    def choices(self) -> Mapping[str, argparse.ArgumentParser]:
        """The parsers by the commands' names."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """A parser for `gitvirt <name>`; takes `help`, `description`, `epilog` and the like."""


class Command(Protocol):
    """A module of this package that brings one or more commands."""

    def add(self, subparsers: Subparsers, /) -> None:
        """Add the parsers of the commands."""

    def run(self, args: argparse.Namespace, settings: Settings, /) -> int:
        """Do it; `args.command` is the command's name. Returns the exit code."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps what has no lines of its own."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return super()._fill_text(text, width, indent)
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


class Parser(argparse.ArgumentParser):
    """Wrong usage is an error like any other: a sentence, and exit code 1."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(allow_abbrev=False, add_help=False, **options)
        self.add_argument("-h", "--help", action="help", help="show this help")
        self.commands: Iterable[str] = ()
        self.parsers: Mapping[str, Parser] = {}

    @property
    def arguments(self) -> Sequence[argparse.Action]:
        """All that may stand behind the command."""
        return self._actions

    @property
    def _failure(self) -> int:
        return int(self.get_default("failure") or 1)

    def format_help(self) -> str:
        return f"{super().format_help()}\n{_settings_help()}"

    def error(self, message: str) -> NoReturn:
        wrong = _CHOICE.match(message)
        if wrong:
            meant = nearest(wrong[1], self.commands)
            hint = f"did you mean {meant}?" if meant else f"see `{self.prog} --help`"
            message = f"there is no command {wrong[1]!r}: {hint}"
        else:
            message = f"{message}; see `{self.prog} --help`"
        self.exit(self._failure, f"error: {message}\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End with what is to be said of words that this parser knows nothing of."""
        option = next((word for word in words if word.startswith("-")), "").partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings]
        meant = nearest(option, known) if option else None
        hint = f": did you mean {meant}?" if meant else ""
        self.exit(
            self._failure,
            f"error: unrecognized arguments: {' '.join(words)}{hint}; see `{self.prog} --help`\n",
        )


def add_settings(parser: argparse.ArgumentParser, *, shown: bool = False) -> None:
    """The options of settings.py. What is not given leaves no trace in the namespace, so that they
    may stand before and after the command. They are the same for every command: unless they are to
    be `shown`, the help tells of them behind the command's own.
    """
    group = parser.add_argument_group("settings", _ABOUT_SETTINGS if shown else None)

    def add(*names: str, metavar: str, dest: str, text: str) -> None:
        group.add_argument(
            *names,
            metavar=metavar,
            dest=f"setting:{dest}",
            default=argparse.SUPPRESS,
            help=text if shown else argparse.SUPPRESS,
        )

    add(
        "--config",
        metavar="FILE",
        dest="config",
        text="read this file instead of ~/.config/gitvirt/config.yaml and /etc/gitvirt/config.yaml",
    )
    for option in OPTIONS:
        if not option.secret:
            names = ([f"-{option.short}"] if option.short else []) + [f"--{option.name}"]
            add(*names, metavar=option.metavar, dest=option.name, text=option.help)


def _settings_help() -> str:
    """What help says of the settings."""
    formatter = argparse.RawDescriptionHelpFormatter
    alone = argparse.ArgumentParser(
        usage=argparse.SUPPRESS, add_help=False, formatter_class=formatter
    )
    add_settings(alone, shown=True)
    return alone.format_help()


def given_settings(args: argparse.Namespace) -> dict[str, str]:
    """What `add_settings` took in, by the option's name."""
    return {
        name.removeprefix("setting:"): value
        for name, value in vars(args).items()
        if name.startswith("setting:")
    }


def program() -> Sequence[str]:
    """The words that start this very program anew, from anywhere."""
    started = Path(sys.argv[0]).absolute()
    if started.name == "gitvirt":
        return (str(started),)
    return (sys.executable, "-m", "agent")


def warn(message: str) -> None:
    """One line for the user beside the output."""
    print(f"warning: {message}", file=sys.stderr)
