"""From the settings to the page's server, for the commands that serve it. What it is made of takes
long to load: it is loaded when it is asked for.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.command import CommandError
from agent.cli.repositories import opened
from agent.core.schema import Catalogue
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.web.server import Server
    from agent.web.source import Source


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="serve other machines without TLS: something else encrypts it",
    )


@dataclass(frozen=True)
class Page:
    """A server, which is to be started, and what it shows."""

    server: Server
    source: Source
    address: str
    token: str = field(repr=False)
    """What opens consoles and buttons; empty where a file has it, or nobody is told it."""

    @property
    def invitation(self) -> str:
        """The address that lets a browser in, or the plain one."""
        return f"{self.address}?token={self.token}" if self.token else self.address


def served(
    args: argparse.Namespace, settings: Settings, listen: str, *, eager: bool = False
) -> Page:
    """What serves the page, which reads before somebody asks if it is `eager`. CommandError where
    that is not possible.
    """
    app, collector, door, inside, server, source = (
        import_module(f"agent.web.{name}")
        for name in ("app", "collector", "door", "inside", "server", "source")
    )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise CommandError("--tls-cert and --tls-key belong together: give both, or none")
    certificate = (
        server.Certificate(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    )
    given = _token(settings.token_file) if settings.token_file is not None else ""
    token = given or door.new_token()
    entry = door.Door(token, settings.page_names, secure=certificate is not None)
    hands = import_module("agent.cli.hands").CommandsHands(settings)
    terms = collector.Terms(settings.fleet, settings.status_branch, settings.branch)
    shown = source.Source(lambda: opened(settings), terms, Catalogue.load(), eager=eager)
    try:
        where = server.address(listen)
        listening = server.bound(where, certificate, insecure=args.insecure)
        site = app.Site(shown, settings.forge_url, visitor=inside.visitor)
        behind = inside.behind(site, entry, hands)
        made = server.Server(app.application(site, **behind), listening, certificate, shown.end)
    except ValueError as error:
        raise CommandError(f"--listen {error}") from error
    except server.ListenError as error:
        raise CommandError(str(error)) from error
    return Page(made, shown, server.url(listening, certificate), "" if given else token)


def _token(file: Path) -> str:
    """What a file holds that nobody else may read."""
    door = import_module("agent.web.door")
    try:
        others = file.stat().st_mode & 0o077
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise CommandError(f"--token-file {file} cannot be read: {error.strerror}") from error
    if others:
        raise CommandError(f"--token-file {file} can be read by others: `chmod 600 {file}`")
    try:
        return str(door.checked(text))
    except ValueError as error:
        raise CommandError(f"--token-file {file}: {error}") from error
