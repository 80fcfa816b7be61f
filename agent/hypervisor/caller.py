"""Calls on one libvirt host: over which connection, for how long, and what their errors mean."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import libvirt

from agent import measures
from agent.core.host import HostError
from agent.hypervisor.calls import AbandonedError, Calls
from agent.hypervisor.connection import Link
from agent.hypervisor.deadlines import Deadlines
from agent.hypervisor.errors import translate

T = TypeVar("T")


class Caller:
    """Reads have a connection of their own, so that no verb keeps them waiting."""

    def __init__(
        self,
        uri: str | None,
        opened: Callable[[libvirt.virConnect], None],
        told: Callable[[str], None],
        deadlines: Deadlines,
    ) -> None:
        self._deadlines = deadlines
        self._calls = Calls()
        self._link = Link(uri, opened, told, deadlines.connect)

    def _asked(self, uuid: str, ask: Callable[[libvirt.virConnect], T | None]) -> T | None:
        """What the guest agent says; None if it does not answer in time."""
        try:
            return self._verb(
                f"ask the guest agent of domain {uuid}",
                ask,
                self._deadlines.guest,
                ("agent", uuid),
                "guest",
            )
        except HostError as error:
            if error.reason in ("Timeout", "NotResponding"):
                return None
            raise

    def _read(self, doing: str, call: Callable[[libvirt.virConnect], T]) -> T:
        with measures.LIBVIRT.taking("read"):
            return self._run(doing, lambda: call(self._link.main()), self._deadlines.read)

    def _verb(
        self,
        doing: str,
        call: Callable[[libvirt.virConnect], T],
        deadline: float,
        lane: Hashable = None,
        side: str = "verbs",
    ) -> T:
        try:
            with measures.LIBVIRT.taking(side):
                return self._run(doing, lambda: call(self._link.side(side)), deadline, lane)
        except AbandonedError:
            self._link.retire(side)
            raise

    def _run(
        self,
        doing: str,
        call: Callable[[], T],
        deadline: float,
        lane: Hashable = None,
        progress: Callable[[], object] | None = None,
    ) -> T:
        try:
            return self._calls.run(doing, call, deadline, lane, progress)
        except libvirt.libvirtError as error:
            self._link.check()
            raise translate(error, doing) from error
