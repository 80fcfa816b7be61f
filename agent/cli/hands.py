"""What the commands that show a page bring along for it: consoles, screens and operations, in the
ways of the commands of these names.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

from agent.access.console import Line
from agent.access.place import place
from agent.access.screen import Screen
from agent.access.ways import NoWayError
from agent.cli import machines, operation
from agent.cli.command import CommandError
from agent.cli.console import line_to
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader
from agent.cli.visits import running
from agent.core.host import HostError
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.gitrepo.repository import RepositoryError
from agent.hypervisor.visit import Visit
from agent.settings import Settings
from agent.web.hands import RefusedError, Wish


class CommandsHands:
    """Everything is looked up anew each time, as by a command: where a machine is changes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def console(self, machine: Key, who: str) -> Callable[[bool], Line | None]:
        with _refusals():
            one = machines.exactly(self._settings, machine)

        def open_line(force: bool) -> Line | None:
            with _refusals():
                return line_to(self._settings, one, who, force=force)

        return open_line

    @contextlib.contextmanager
    def screen(self, machine: Key) -> Iterator[socket.socket]:
        with contextlib.ExitStack() as stack:
            with _refusals():
                visit = stack.enter_context(self._visit(machine))
                screen = Screen(visit, place(visit.uri))
                connection = stack.enter_context(screen.opened())
            yield connection

    def picture(self, machine: Key) -> bytes:
        with _refusals(), self._visit(machine) as visit:
            return visit.picture()

    def ask(self, wish: Wish) -> Key:
        words = argparse.Namespace(
            command=wish.verb, target_node=wish.node or None, force=wish.force or None
        )
        with _refusals(), opened(self._settings) as repository:
            snapshot = Reader(repository, self._settings, Catalogue.load()).now()
            found = machines.entry(snapshot, wish.machine)
            until = time.time() + (self._settings.timeout or operation.TIMEOUT)
            return operation.ask(snapshot, found, words, until=until).operation

    def _visit(self, machine: Key) -> Visit:
        one = machines.exactly(self._settings, machine)
        machines.refuse_hopeless(one)
        visit = running(self._settings, one)
        if visit is None:
            raise HostError("MachineOff", f"{one.name} does not run")
        return visit


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (CommandError, NoWayError, RepositoryError) as error:
        raise RefusedError(str(error)) from error
    except OSError as error:
        raise RefusedError(error.strerror or str(error)) from error
