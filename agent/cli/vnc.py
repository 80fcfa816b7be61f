"""`gitvirt vnc`: the screen of a virtual machine."""

from __future__ import annotations

import argparse
import socket
import threading

from agent.access.place import place
from agent.access.screen import Screen, start, viewer
from agent.access.ways import NoWayError
from agent.cli.command import CommandError, Subparsers
from agent.cli.visits import reached, say
from agent.settings import Settings, own_environment

_EPILOG = """\
examples:
  gitvirt vnc linux-vm
  gitvirt vnc linux-vm.prod --proxy-only

Prints where the screen is, opens remote-viewer or vncviewer if there is one, and ends with it, or
with Ctrl-C. Only viewers of this user are let in.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "vnc",
        help="the screen of a virtual machine",
        description="Open the screen of a virtual machine by VNC.",
        epilog=_EPILOG,
    )
    parser.add_argument("vm", metavar="VM", help="NAME, NAME.NAMESPACE or vm/NAME")
    parser.add_argument("--proxy-only", action="store_true", help="open no viewer")
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=0, help="the port here (default: a free one)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    with reached(settings, args.vm) as (_, visit), socket.socket() as listener:
        try:
            screen = Screen(visit, place(visit.uri))
        except NoWayError as error:
            raise CommandError(str(error)) from error
        try:
            listener.bind(("127.0.0.1", args.port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"port {args.port} of this machine cannot be had: {error}"
            ) from error
        listener.listen()
        port = listener.getsockname()[1]
        print(f"vnc://127.0.0.1:{port}", flush=True)
        serving = threading.Thread(target=screen.serve, args=(listener,), daemon=True)
        serving.start()
        command = None if args.proxy_only else viewer(port, own_environment())
        if command is not None:
            start(command).wait()
            return 0
        if not args.proxy_only:
            say("no viewer was found here: open this address with one. Ctrl-C ends it")
        serving.join()
    return 0
