"""One host's side of the agent: what is read of it, when, and what is known from it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.core.domain_xml import cards
from agent.core.facts import Engine
from agent.core.host import Host, HostError, HostEvent, RawNode
from agent.core.identity import POOL
from agent.core.known import FREE, NODE
from agent.core.migration import marked
from agent.core.model import Json
from agent.core.quantity import format_bytes
from agent.reconcile.guests import Guests
from agent.reconcile.news import NodeLanes, Post, Task, reported
from agent.reconcile.workers import Counter
from agent.reconcile.world import (
    DomainRead,
    FullRead,
    GuestRead,
    NetworkRead,
    NodeLost,
    Observation,
    Part,
    ReadFailed,
    SpaceRead,
    UploadsRead,
    World,
    wants_guest,
)

log = logging.getLogger("gitvirt")

FULL_READ_EVERY = 300.0
RETRY = 5.0
"""Seconds until a host that could not be read is read again."""
STARTING = 1.0
"""Seconds until a domain that starts up, or is between two nodes, is read again: libvirt tells of
no start that fails, and of a migration not all that shows what became of it.
"""


UPLOADS_EVERY = 5.0
"""Seconds between two looks for uploads, while an object waits for one: no event tells of them."""
SPACE_EVERY = 10.0
"""Seconds between two looks for space, while a guest waits for some: no event tells of it."""
SOON = 10.0
"""Seconds for which a host may be out of reach before anything is said of what is on it: a libvirtd
that restarts is back sooner.
"""


_PARTS = {SpaceRead: Part.SPACE, UploadsRead: Part.UPLOADS, NetworkRead: Part.NETWORK}
"""What is read by itself and gives rise to nothing more."""


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
        pools: frozenset[str],
    ) -> None:
        self._host, self._world, self._engine = host, world, engine
        self._lanes, self._post, self._numbers = lanes, post, numbers
        self._pools = pools
        self.name = host.name
        self.error = ""
        """Why the node cannot be reached; empty while it can."""
        self.read = False
        """True once it has been read."""
        self._mistakes: dict[Part, str] = {}
        """What could not be read since, by a mistake of this program."""
        self._away_since: float | None = None
        """When it was first found out of reach, since it was read last."""
        self._reading = False
        self._read_at = 0.0
        self._changed: set[str] = set()
        """UUIDs of domains to be read."""
        self._networks: set[str] = set()
        """Names of networks to be read."""
        self._starting: dict[str, float] = {}
        """When each domain that starts up is to be read again, by UUID."""
        self._starved: set[str] = set()
        """UUIDs of domains that wait for space."""
        self._space_at = 0.0
        """When the free space is to be read again, as long as somebody waits for some."""
        self._expecting = False
        """True while an object waits for an upload."""
        self._uploads_at = 0.0
        """When uploads are to be looked for again, as long as that is so."""
        self._guests = Guests()
        host.subscribe(post)

    @property
    def seen(self) -> bool:
        """True once it has been read, and while it can be."""
        return self.read and not self.error

    @property
    def node(self) -> RawNode | None:
        """As last read; None before the first time."""
        return self._engine.get(NODE, self.name)

    def away(self, now: float) -> bool:
        """True once it has been out of reach for so long that it has to be told."""
        return self._away_since is not None and now >= self._away_since + SOON

    def described(self) -> dict[str, Json]:
        """The node as agent.yaml has it."""
        told: dict[str, Json] = {
            "name": self.name,
            "ready": not self.error,
            "message": self.error or next(iter(self._mistakes.values()), ""),
        }
        if (node := self.node) is not None:
            told |= {"memory": format_bytes(node.memory), "libvirt": node.libvirt_version}
        return told

    def happened(self, event: HostEvent, now: float) -> None:
        match event.what:
            case "disconnected":
                self.lost("the connection to libvirt is lost", now)
            case "unreadable":
                self._read_at = min(self._read_at, now + RETRY)
            case _ if event.uuid:
                self._changed.add(event.uuid)
            case _ if event.network:
                self._networks.add(event.network)
            case _:
                self._read_at = 0.0

    def ask(self, now: float) -> None:
        """Start the reads that are due. Of a host that has never answered nobody waits for long."""
        if not self.read and self._away_since is None:
            self._away_since = now
        elif not self.read and not self.error and self.away(now):
            self.lost("it does not answer", now)
        if not self._reading and now >= self._read_at:
            self._reading = True
            self._lanes.reads(reported(self._post, self._read_all, self._unread))
        due = {uuid for uuid, at in self._starting.items() if at <= now}
        for uuid in self._changed | due:
            self._starting.pop(uuid, None)
            self._lanes.reads(self._read_one(uuid))
        self._changed = set()
        for name in self._networks:
            self._lanes.reads(self._read_network(name))
        self._networks = set()
        if self._starved and now >= self._space_at:
            self._space_at = now + SPACE_EVERY
            self._lanes.reads(self._read_space())
        if self._expecting and self.read and now >= self._uploads_at:
            self._uploads_at = now + UPLOADS_EVERY
            self._lanes.reads(self._read_uploads())
        for uuid in self._guests.pop_due(now):
            self._lanes.guests(self._ask_guest(uuid))

    def observe(self, news: Observation, now: float) -> None:
        """Turn an observation into facts."""
        if isinstance(news, FullRead):
            self._reading, self._read_at = False, now + FULL_READ_EVERY
            if self.error:
                log.info("node %s: reachable again", self.name)
            self.error, self.read, self._away_since = "", True, None
            self._mistakes.clear()
        elif isinstance(news, NodeLost):
            self._reading, self._read_at = False, now + RETRY
            self.lost(news.message, now)
        elif isinstance(news, ReadFailed):
            self._misread(news, now)
        self._world.observe(news)
        if isinstance(news, FullRead):
            for uuid in self._world.domains(self.name):
                self._look_at(uuid, now)
        elif isinstance(news, DomainRead):
            self._mistakes.pop(Part.DOMAIN, None)
            self._look_at(news.uuid, now)
        elif isinstance(news, GuestRead) and news.info is not None:
            self._mistakes.pop(Part.GUEST, None)
            self._guests.answered(news.uuid, news.info, now)
        elif (part := _PARTS.get(type(news))) is not None:
            self._mistakes.pop(part, None)

    def look(self) -> None:
        """All of it is to be read again."""
        self._read_at = 0.0

    def expect(self, *, uploads: bool) -> None:
        """Whether uploads are to be looked for."""
        self._expecting = uploads

    def due(self, now: float) -> float:
        """When something is to be asked or told of it."""
        due = [now + FULL_READ_EVERY if self._reading else self._read_at, self._guests.due]
        if self._starved:
            due.append(self._space_at)
        if self._expecting and self.read:
            due.append(self._uploads_at)
        if self._away_since is not None and not self.away(now):
            due.append(self._away_since + SOON)
        return min(*due, *self._starting.values())

    def lost(self, message: str, now: float) -> None:
        """It cannot be read, for this reason."""
        if message != self.error:
            log.error("node %s: %s", self.name, message)
        self.error = message
        if self._away_since is None:
            self._away_since = now

    def _misread(self, news: ReadFailed, now: float) -> None:
        """Told with the node, which is there all the same; and a domain is read with all others."""
        self._mistakes[news.part] = f"{news.part.value} cannot be read: {news.message}"
        if news.part in (Part.DOMAIN, Part.NETWORK):
            self._read_at = min(self._read_at, now + RETRY)

    def _failed(self, part: Part) -> Callable[[str], ReadFailed]:
        return lambda message: ReadFailed(self.name, part, message)

    def _read_all(self) -> Observation:
        number = self._numbers.next()
        try:
            self._host.ensure_pool(POOL)
            return FullRead(number, self._host.read(self._pools))
        except HostError as error:
            return self._unread(str(error))

    def _unread(self, message: str) -> NodeLost:
        return NodeLost(self.name, message)

    def _read_one(self, uuid: str) -> Task:
        def read() -> DomainRead | HostEvent:
            number = self._numbers.next()
            try:
                return DomainRead(number, self.name, uuid, self._host.read_domain(uuid))
            except HostError:
                return HostEvent(self.name, "", "unreadable")

        return reported(self._post, read, self._failed(Part.DOMAIN))

    def _read_network(self, name: str) -> Task:
        def read() -> NetworkRead | HostEvent:
            number = self._numbers.next()
            try:
                return NetworkRead(number, self.name, name, self._host.read_network(name))
            except HostError:
                return HostEvent(self.name, "", "unreadable")

        return reported(self._post, read, self._failed(Part.NETWORK))

    def _look_for_space(self, uuid: str, *, starved: bool) -> None:
        """What was free before a guest found no space says nothing."""
        if starved and uuid not in self._starved:
            for pool in self._pools:
                self._engine.put(FREE, (self.name, pool), None)
            self._space_at = 0.0
            self._starved.add(uuid)
        elif not starved:
            self._starved.discard(uuid)

    def _read_space(self) -> Task:
        def read() -> SpaceRead | None:
            try:
                free = {pool: self._host.free_space(pool) for pool in sorted(self._pools)}
                return SpaceRead(self.name, free)
            except HostError as error:
                log.debug("node %s: %s", self.name, error)
                return None  # it is asked again

        return reported(self._post, read, self._failed(Part.SPACE))

    def _read_uploads(self) -> Task:
        def read() -> UploadsRead | None:
            try:
                return UploadsRead(self.name, POOL, self._host.read_volumes(POOL))
            except HostError as error:
                log.debug("node %s: %s", self.name, error)
                return None  # it is asked again

        return reported(self._post, read, self._failed(Part.UPLOADS))

    def _look_at(self, uuid: str, now: float) -> None:
        """What a read of this domain gives rise to."""
        known = self._world.domains(self.name).get(uuid)
        if known is not None and (known.starting or known.unread or marked(known)):
            self._starting[uuid] = now + STARTING
        else:
            self._starting.pop(uuid, None)
        self._look_for_space(uuid, starved=known is not None and known.starved)
        if known is not None and wants_guest(known):
            self._guests.opened(uuid, now, cards(known.active_xml))
        else:
            self._guests.closed(uuid)

    def _ask_guest(self, uuid: str) -> Task:
        def ask() -> GuestRead | None:
            try:
                info = self._host.guest_info(uuid)
            except HostError:
                return None  # it is asked again
            return None if info is None else GuestRead(self.name, uuid, info)

        return reported(self._post, ask, self._failed(Part.GUEST))
