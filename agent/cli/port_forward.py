"""`gitvirt port-forward`: ports of a virtual machine on this one."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable

from agent.access import relay
from agent.access.forwarding import Forward, answering, forwards, patience, serve
from agent.access.place import bracketed, place
from agent.access.ways import ClosedError, NoWayError, Ways
from agent.cli.command import CommandError, Subparsers
from agent.cli.machines import Machine, found
from agent.cli.visits import reached, say
from agent.settings import Settings

SSH = 22
_EPILOG = """\
examples:
  gitvirt port-forward linux-vm 8080:80
  gitvirt port-forward linux-vm.prod 8080:80 5432 udp/5353:53
  ssh -o 'ProxyCommand=gitvirt port-forward --stdio --banner linux-vm 22' cloud@linux-vm

Every user of this machine can use the ports, as with ssh -L. A port that nobody listens at closes
the connections that are made to it. Over a node that is reached by ssh there is no udp.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "port-forward",
        help="ports of a virtual machine on this one",
        description="Let ports of this machine lead to ports of a virtual machine, until Ctrl-C.",
        epilog=_EPILOG,
    )
    parser.add_argument("vm", metavar="VM", help="NAME, NAME.NAMESPACE or vm/NAME")
    parser.add_argument(
        "ports",
        metavar="[LOCAL:]PORT",
        nargs="+",
        help="with tcp/ or udp/ before it, or tcp or udp behind it (default: tcp)",
    )
    parser.add_argument(
        "--address", metavar="ADDRESS", default="127.0.0.1", help="of this machine (127.0.0.1)"
    )
    parser.add_argument(
        "--stdio", action="store_true", help="one port on standard input and output, for ssh"
    )
    parser.add_argument(
        "--banner",
        action="store_true",
        help="with --stdio: the service speaks first, as ssh's does; try again until it does",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    try:
        wanted = forwards(args.ports)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if args.stdio and (len(wanted) != 1 or wanted[0].target.protocol != "tcp"):
        raise CommandError("--stdio takes one tcp port")
    if args.banner and not args.stdio:
        raise CommandError("--banner is for --stdio")
    with reached(settings, args.vm) as (one, visit):
        ways = Ways(visit, place(visit.uri), _known(settings, one))
        try:
            if args.stdio:
                return _stdio(ways, one, wanted[0], settings, greets=args.banner)
            return _listen(ways, one, wanted, args.address)
        except NoWayError as error:
            raise CommandError(str(error)) from error
        except ClosedError as error:
            raise CommandError(_closed(one, wanted[0], error, paused=visit.paused())) from error


def _known(settings: Settings, one: Machine) -> Callable[[], str]:
    """The address that the status shows, which may be there only a while after the start."""
    return lambda: one.address or found(settings, f"vm/{one.host}").address


def _stdio(ways: Ways, one: Machine, forward: Forward, settings: Settings, *, greets: bool) -> int:
    """ClosedError if nothing answers."""
    seconds = settings.timeout or patience(one.age)
    with answering(ways, forward.target, seconds, say, greets=greets) as (connection, first):
        if first:
            relay.write(first)
        relay.stdio(connection.socket)
    return 0


def _closed(one: Machine, forward: Forward, error: ClosedError, *, paused: bool) -> str:
    """What is to be said of a port that does not answer."""
    port = forward.target.port
    if paused:
        return (
            f"{one.name} is paused, and port {port} does not answer: `virsh resume` lets it go on"
        )
    what = "an ssh server" if port == SSH else "what should listen there"
    return (
        f"port {port} of {one.name} does not answer ({error}): does {what} run in the guest? "
        f"`gitvirt console {one.word}` lets you look"
    )


def _listen(ways: Ways, one: Machine, wanted: list[Forward], address: str) -> int:
    for forward in wanted:
        ways.check(forward.target)
        try:
            port = serve(ways, forward, address, say)
        except OSError as error:
            where = f"{bracketed(address)}:{forward.local}"
            raise CommandError(f"{where} cannot be had here: {error.strerror}") from error
        target = forward.target
        where = f"{bracketed(address)}:{port}"
        print(
            f"Forwarding from {where} to {one.name}:{target.port} ({target.protocol})", flush=True
        )
    threading.Event().wait()
    return 0
