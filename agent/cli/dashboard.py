"""`gitvirt dashboard`: the fleet in a browser, by the status branch alone."""

from __future__ import annotations

import argparse
import threading

from agent.cli import pages
from agent.cli.command import Subparsers
from agent.cli.repositories import opened
from agent.gitrepo.watch import watch
from agent.reconcile.workers import lasting
from agent.settings import Settings

DEFAULT = "127.0.0.1:8006"

_EPILOG = """\
examples:
  gitvirt dashboard                                    at http://127.0.0.1:8006/
  gitvirt dashboard --repo https://git.example.com/vms.git --listen 9000
  gitvirt dashboard --listen 10.0.0.1:443 --tls-cert page.pem --tls-key page.key

Ctrl-C ends it.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "dashboard",
        help="the fleet in a browser",
        description="Serve the fleet as a page: what is wrong, what waits and for whom, and who "
        "changed it. Reads the status branch only, from anywhere.",
        epilog=_EPILOG,
    )
    pages.add(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as repository:
        repository.fetch()  # what is wrong with it is said here, and not in the browser
        watched = repository.watch_paths()
    page = pages.served(args, settings, settings.listen or DEFAULT, eager=True)
    stop = threading.Event()
    if watched:
        lasting("watch", lambda: watch(watched, page.source.nudge, stop), stop)
    print(f"The fleet is at {page.address}", flush=True)
    if page.token:
        print(f"with consoles and buttons at {page.invitation}", flush=True)
    try:
        page.server.run()
    finally:
        stop.set()
    return 0
