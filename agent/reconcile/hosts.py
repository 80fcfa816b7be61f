"""The host's side of the agent: what is read of it, when, and what is known from it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.core.facts import Engine
from agent.core.host import Host, HostError, HostEvent, RawNode
from agent.core.identity import POOL
from agent.core.known import FREE, NODE
from agent.core.model import Json
from agent.core.quantity import format_bytes
from agent.reconcile.guests import Guests
from agent.reconcile.news import NodeLanes, Post, Task, reported
from agent.reconcile.workers import Counter
from agent.reconcile.world import (
    DomainRead,
    FullRead,
    GuestRead,
    NodeLost,
    Observation,
    Part,
    ReadFailed,
    SpaceRead,
    World,
    wants_guest,
)

log = logging.getLogger("gitvirt")

FULL_READ_EVERY = 300.0
RETRY = 5.0
"""Seconds until a host that could not be read is read again."""
STARTING = 1.0
"""Seconds until a domain that starts up is read again: libvirt tells of no start that fails."""


SPACE_EVERY = 10.0
"""Seconds between two looks for space, while a guest waits for some: no event tells of it."""


class HostSide:
    """Turns events into reads, and reads into facts."""

    def __init__(
        self,
        host: Host,
        world: World,
        engine: Engine,
        lanes: NodeLanes,
        post: Post,
        numbers: Counter,
    ) -> None:
        self._host, self._world, self._engine = host, world, engine
        self._lanes, self._post, self._numbers = lanes, post, numbers
        self.error = ""
        """Why the node cannot be reached; empty while it can."""
        self._mistakes: dict[Part, str] = {}
        """What could not be read since, by a mistake of this program."""
        self._reading = False
        self._read_at = 0.0
        self._changed: set[tuple[str, str]] = set()
        self._starting: dict[tuple[str, str], float] = {}
        """When each domain that starts up is to be read again."""
        self._starved: set[tuple[str, str]] = set()
        """Domains that wait for space."""
        self._space_at = 0.0
        """When the free space is to be read again, as long as somebody waits for some."""
        self._guests = Guests()
        host.subscribe(post)

    @property
    def seen(self) -> bool:
        """True once the host has been read, and while it can be."""
        return not self.error and any(problem == "" for problem in self._world.nodes.values())

    @property
    def node(self) -> RawNode | None:
        """As last read; None before the first time."""
        node: RawNode | None = self._engine.get(NODE, next(iter(self._world.nodes), ""))
        return node

    def described(self) -> dict[str, Json]:
        """The node as agent.yaml has it."""
        name = next(iter(self._world.nodes), "")
        message = self.error or next(iter(self._mistakes.values()), "")
        told: dict[str, Json] = {"name": name, "ready": not self.error, "message": message}
        if (node := self.node) is not None:
            told |= {"memory": format_bytes(node.memory), "libvirt": node.libvirt_version}
        return told

    def happened(self, event: HostEvent, now: float) -> None:
        match event.what:
            case "disconnected":
                self._lost("the connection to libvirt is lost")
            case "unreadable":
                self._read_at = min(self._read_at, now + RETRY)
            case _ if event.uuid:
                self._changed.add((event.node or self._host.name, event.uuid))
            case _:
                self._read_at = 0.0

    def ask(self, now: float) -> None:
        """Start the reads that are due."""
        if not self._reading and now >= self._read_at:
            self._reading = True
            self._lanes.reads(reported(self._post, self._read_all, self._unread))
        due = {domain for domain, at in self._starting.items() if at <= now}
        for node, uuid in self._changed | due:
            self._starting.pop((node, uuid), None)
            self._lanes.reads(self._read_one(node, uuid))
        self._changed = set()
        if self._starved and now >= self._space_at:
            self._space_at = now + SPACE_EVERY
            self._lanes.reads(self._read_space())
        for node, uuid in self._guests.take_due(now):
            self._lanes.guests(self._ask_guest(node, uuid))

    def take(self, news: Observation, now: float) -> None:
        """Turn an observation into facts."""
        if isinstance(news, FullRead):
            self._reading, self._read_at = False, now + FULL_READ_EVERY
            if self.error:
                log.info("node %s: reachable again", news.reading.node.name)
            self.error = ""
            self._mistakes.clear()
        elif isinstance(news, NodeLost):
            self._reading, self._read_at = False, now + RETRY
            self._lost(news.message)
        elif isinstance(news, ReadFailed):
            self._misread(news, now)
        self._world.take(news)
        if isinstance(news, FullRead):
            for domain in self._world.domains():
                self._look_at(domain, now)
        elif isinstance(news, DomainRead):
            self._mistakes.pop(Part.DOMAIN, None)
            self._look_at((news.node, news.uuid), now)
        elif isinstance(news, GuestRead) and news.info is not None:
            self._mistakes.pop(Part.GUEST, None)
            self._guests.answered((news.node, news.uuid), news.info, now)
        elif isinstance(news, SpaceRead):
            self._mistakes.pop(Part.SPACE, None)

    def due(self, now: float) -> float:
        """When it is to be read again."""
        due = now + FULL_READ_EVERY if self._reading else self._read_at
        space = [self._space_at] if self._starved else []
        return min(due, self._guests.due, *space, *self._starting.values())

    def _lost(self, message: str) -> None:
        if message != self.error:
            log.error("node: %s", message)
        self.error = message

    def _misread(self, news: ReadFailed, now: float) -> None:
        """Told with the node, which is there all the same; and a domain is read with all others."""
        self._mistakes[news.part] = f"{news.part.value} cannot be read: {news.message}"
        if news.part is Part.DOMAIN:
            self._read_at = min(self._read_at, now + RETRY)

    def _failed(self, part: Part) -> Callable[[str], ReadFailed]:
        return lambda message: ReadFailed(self._host.name, part, message)

    def _read_all(self) -> Observation:
        number = self._numbers.next()
        try:
            self._host.ensure_pool(POOL)
            return FullRead(number, self._host.read(frozenset({POOL})))
        except HostError as error:
            return self._unread(str(error))

    def _unread(self, message: str) -> NodeLost:
        return NodeLost(self._host.name, message)

    def _read_one(self, node: str, uuid: str) -> Task:
        def read() -> DomainRead | HostEvent:
            number = self._numbers.next()
            try:
                return DomainRead(number, node, uuid, self._host.read_domain(uuid))
            except HostError:
                return HostEvent(node, "", "unreadable")

        return reported(self._post, read, self._failed(Part.DOMAIN))

    def _look_for_space(self, domain: tuple[str, str], *, starved: bool) -> None:
        """What was free before a guest found no space says nothing."""
        if starved and domain not in self._starved:
            self._engine.put(FREE, (domain[0], POOL), None)
            self._space_at = 0.0
            self._starved.add(domain)
        elif not starved:
            self._starved.discard(domain)

    def _read_space(self) -> Task:
        def read() -> SpaceRead | None:
            try:
                return SpaceRead(self._host.name, POOL, self._host.free_space(POOL))
            except HostError as error:
                log.debug("node %s: %s", self._host.name, error)
                return None  # it is asked again

        return reported(self._post, read, self._failed(Part.SPACE))

    def _look_at(self, domain: tuple[str, str], now: float) -> None:
        """What a read of this domain gives rise to."""
        known = self._world.domains().get(domain)
        if known is not None and known[1].starting:
            self._starting[domain] = now + STARTING
        else:
            self._starting.pop(domain, None)
        self._look_for_space(domain, starved=known is not None and known[1].starved)
        if known is not None and wants_guest(known[1]):
            self._guests.opened(domain, now)
        else:
            self._guests.closed(domain)

    def _ask_guest(self, node: str, uuid: str) -> Task:
        def ask() -> GuestRead | None:
            try:
                info = self._host.guest_info(uuid)
            except HostError:
                return None  # it is asked again
            return None if info is None else GuestRead(node, uuid, info)

        return reported(self._post, ask, self._failed(Part.GUEST))
