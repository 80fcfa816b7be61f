"""From the settings to the page's server, for the commands that serve it. What it is made of takes
long to load: it is loaded when it is asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from agent.cli.command import CommandError
from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository
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


def served(
    args: argparse.Namespace, settings: Settings, listen: str, opened: Callable[[], Repository]
) -> tuple[Server, Source, str]:
    """The server, which is to be started, what it shows, and its address. CommandError where that
    is not possible.
    """
    app, collector, server, source = (
        import_module(f"agent.web.{name}") for name in ("app", "collector", "server", "source")
    )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise CommandError("--tls-cert and --tls-key belong together: give both, or none")
    certificate = (
        server.Certificate(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    )
    terms = collector.Terms(settings.fleet, settings.status_branch, settings.branch)
    shown = source.Source(opened, terms, Catalogue.load())
    try:
        where = server.address(listen)
        listening = server.bound(where, certificate, insecure=args.insecure)
        site = app.Site(shown, settings.forge_url)
        made = server.Server(app.application(site), listening, certificate)
    except ValueError as error:
        raise CommandError(f"--listen {error}") from error
    except server.ListenError as error:
        raise CommandError(str(error)) from error
    return made, shown, server.url(listening, certificate)
