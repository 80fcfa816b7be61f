"""What the page can do at machines, by the rights of whoever started it. `cli` brings it along:
what a command may reach, the page may, and in the same ways.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from agent.access.console import Line
from agent.core.model import Key

VERBS = ("start", "stop", "restart", "evict", "migrate")


class RefusedError(Exception):
    """What was asked for cannot be. The message is for the user."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a machine, as a command's words say it."""

    verb: str
    machine: Key
    node: str = ""
    """Where a migration leads; empty for wherever fits best."""
    force: bool = False
    """Not to wait for the guest; to slow it down, of a move."""

    @property
    def command(self) -> str:
        """What does the same from a terminal."""
        name = self.machine.name
        if self.machine.namespace != "default":
            name = f"{name}.{self.machine.namespace}"
        words = ["gitvirt", self.verb, name]
        if self.node:
            words += ["--target-node", self.node]
        return " ".join([*words, *(["--force"] if self.force else [])])


class Hands(Protocol):
    """Everything may take long, as what it asks may; and may raise RefusedError, or HostError as
    the host says it.
    """

    def console(self, machine: Key, who: str) -> Callable[[bool], Line | None]:
        """What opens a line to the console of this very machine each time that it is called, told
        whether to take it over; None while it does not run. `who` is told to whoever comes next.
        """

    def screen(self, machine: Key) -> AbstractContextManager[socket.socket]:
        """A connection to its screen."""

    def picture(self, machine: Key) -> bytes:
        """What its screen shows, as PNG."""

    def ask(self, wish: Wish) -> Key:
        """Commit an operation; its name."""
