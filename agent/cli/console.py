"""`gitvirt console`: the serial console of a virtual machine."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable

from agent.access.console import Line, Session
from agent.access.terminal import Ended
from agent.cli.command import CommandError, Subparsers
from agent.cli.machines import Machine, exactly, refuse_hopeless
from agent.cli.visits import reached, running, say
from agent.core.host import HostError
from agent.hypervisor.visit import IN_USE, Visit
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt console linux-vm
  gitvirt console linux-vm.prod --force
  echo reboot | gitvirt console linux-vm >boot.log

What was said last comes first. Ctrl+] leaves; everything else goes to the guest. The console
stays when the guest reboots, and comes back when the machine is restarted or moves. In place of
a terminal a pipe will do: what comes in is typed, and what the guest says goes out as it is, until
Ctrl-C.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "console",
        help="the serial console of a virtual machine",
        description="Connect to the serial console of a virtual machine.",
        epilog=_EPILOG,
    )
    parser.add_argument("vm", metavar="VM", help="NAME, NAME.NAMESPACE or vm/NAME")
    parser.add_argument(
        "-f", "--force", action="store_true", help="take it over from whoever uses it"
    )


class ConsoleLine:
    """A console on a visit of its own, which it ends. `who` is told to whoever comes next, and to
    whoever loses it: they ask at once, so that they are told before it is taken.
    """

    def __init__(self, visit: Visit, who: str, *, force: bool) -> None:
        """HostError ConsoleInUse if somebody has it, unless by `force` it is taken over."""
        if force:
            visit.tell_visitor(who)
        self._visit, self._console = visit, visit.console(force=force)
        self.recv, self.send, self.log = self._recv, self._console.send, visit.log
        if not force:
            visit.tell_visitor(who)
        self._taken = False

    def _recv(self) -> bytes:
        try:
            return self._console.recv()
        except HostError as error:
            if error.reason != "ConsoleTaken":
                raise
            self._taken = True
            who = self._visit.visitor() or "somebody else"
            message = f"the console was taken over by {who}"
            raise HostError(error.reason, message, retry=False) from error

    def close(self) -> None:
        if not self._taken:  # before it is given back: then the next one's word stands there
            self._visit.tell_visitor("")
        self._console.close()
        self._visit.close()


def line_to(settings: Settings, one: Machine, who: str, *, force: bool) -> ConsoleLine | None:
    """A line to the same machine, wherever it runs by now; None while it does not. HostError
    ConsoleInUse says who has it.
    """
    now = exactly(settings, one.key)
    if now.uid != one.uid:
        raise CommandError(f"{one.name} has been deleted")
    if now.deleted:
        refuse_hopeless(now)
    visit = running(settings, now)
    if visit is None:
        return None
    with contextlib.ExitStack() as stack:
        stack.enter_context(visit)
        try:
            line = ConsoleLine(visit, who, force=force)
        except HostError as error:
            if error.reason != IN_USE:
                raise
            message = f"{visit.visitor() or 'somebody'} uses the console of {one.name}"
            raise HostError(IN_USE, message, retry=False) from error
        stack.pop_all()
        return line


def run(args: argparse.Namespace, settings: Settings) -> int:
    with reached(settings, args.vm) as (one, visit):
        line = _open(visit, one, force=args.force)
        tell = _telling(sys.stdout.isatty())
        banner = f"Successfully connected to {one.name} console. The escape sequence is ^]"
        output = sys.stdout if sys.stdout.isatty() else sys.stderr

        def greet() -> None:
            print(banner, end="\n\n", file=output, flush=True)

        def again() -> Line | None:
            return line_to(settings, one, _me(), force=False)

        try:
            Session(again, tell, sys.stdin.fileno(), sys.stdout.fileno()).run(line, one.name, greet)
        except Ended as ended:
            return ended.code
    return 0


def _telling(terminal: bool) -> Callable[[str], None]:
    """In a terminal that the guest has, lines begin only where they are told to."""
    return (lambda text: say(f"\r\n[{text}]\r")) if terminal else say


def _open(visit: Visit, one: Machine, *, force: bool) -> ConsoleLine:
    try:
        return ConsoleLine(visit, _me(), force=force)
    except HostError as error:
        if error.reason != IN_USE:
            raise
        who = visit.visitor() or "somebody"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(
                f"{who} uses the console of {one.name}: --force takes it over"
            ) from error
    sys.stderr.write(f"{who} uses the console of {one.name}. Take it over? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("the console is left to them")
    return ConsoleLine(visit, _me(), force=True)


def _me() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()} since {time.strftime('%H:%M')}"
