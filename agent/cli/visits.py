"""Visits to virtual machines, by the user's own settings and rights."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from agent.cli.command import CommandError
from agent.cli.follow import follow
from agent.cli.hosts import addresses
from agent.cli.machines import Machine, machine, refuse_hopeless
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader
from agent.core import human
from agent.core.host import HostError
from agent.core.schema import Catalogue
from agent.core.tables import printable
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.hypervisor.visit import Visit

TIMEOUT = 300.0
"""Seconds that a machine has to come up."""


def say(text: str) -> None:
    """Tell the user something beside the output."""
    print(text, file=sys.stderr, flush=True)


def visited(settings: Settings, one: Machine) -> Visit:
    """A visit to the machine's node; the caller closes it. CommandError, HostError."""
    from agent.hypervisor.visit import Visit  # loads libvirt, which is not always needed

    try:
        return Visit(uri(settings, one) or None, one.uuid)
    except HostError as error:
        where = f"node {one.node}" if one.node else "its host"
        raise HostError(
            error.reason, f"{one.name} is on {where}: {error}", retry=error.retry
        ) from error


@contextlib.contextmanager
def reached(
    settings: Settings, word: str, say: Callable[[str], None] = say
) -> Iterator[tuple[Machine, Visit]]:
    """A machine that runs, waited for while it comes up, and a visit to it."""
    timeout = settings.timeout or TIMEOUT
    one, visit = _awaited(settings, word, timeout, say)
    if visit is None:
        raise CommandError(
            f"{one.name} does not run after {human.age(timeout)}: it is in phase "
            f"{printable(one.phase) or '(none)'}; `gitvirt describe vm {one.word}` says why"
        )
    with visit:
        yield one, visit


def _awaited(
    settings: Settings, word: str, timeout: float, say: Callable[[str], None]
) -> tuple[Machine, Visit | None]:
    said = False
    with opened(settings) as repository:
        reader = Reader(repository, settings, Catalogue.load())
        for refs in follow(repository, timeout):
            one = machine(reader.now(refs), word, settings)
            refuse_hopeless(one)
            visit = running(settings, one)
            if visit is not None:
                return one, visit
            if not said:
                say(f"waiting for {one.name} to run (now {printable(one.phase) or 'unknown'})")
            said = True
    return one, None


def running(settings: Settings, one: Machine) -> Visit | None:
    """A visit to a machine that runs; None if it does not, but may come to."""
    if not one.node:
        return None
    with contextlib.ExitStack() as stack:
        visit = stack.enter_context(visited(settings, one))
        if visit.runs():
            stack.pop_all()
            return visit
        if not settings.nodes:
            _look_elsewhere(one, visit.host, settings.connect or "libvirt here")
    return None


def _look_elsewhere(one: Machine, here: str, where: str) -> None:
    """CommandError if the one host that the settings name is not the machine's."""
    if here != one.node:
        raise CommandError(
            f"{one.name} is on node {printable(one.node)}, and {where} leads to {here}: name that "
            "node with --connect, or in the setting nodes"
        )


def uri(settings: Settings, one: Machine) -> str:
    """Of the machine's node; empty where libvirt chooses. CommandError if it has no node that the
    settings name.
    """
    if not settings.nodes:
        return settings.connect
    if one.node in settings.nodes:
        return addresses(settings)[one.node]
    raise CommandError(
        f"{one.name} is on node {printable(one.node)}, which your settings do not name: add "
        f"nodes.{printable(one.node)}.connect to ~/.config/gitvirt/config.yaml"
    )
