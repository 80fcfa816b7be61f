"""All hosts of the fleet: each is read by itself; here stands what is known of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.facts import Engine
from agent.core.host import Host, HostEvent, RawNode
from agent.core.known import FORGOTTEN, FORMER, NODES, POOLS, SHARED, UNREACHABLE
from agent.core.model import Json
from agent.core.nodes import Told, forgotten, part, removed, told
from agent.places import Pools
from agent.reconcile.host import HostSide
from agent.reconcile.news import Lanes, Post
from agent.reconcile.workers import Counter
from agent.reconcile.world import Detail, FullRead, NodeLost, Observation, World

SAME = (
    "it is the same host as node {} (UUID {}): take one of them out of the setting nodes, or give "
    "each host a host_uuid of its own in libvirtd.conf"
)


class Hosts:
    """A host that is lost or hangs costs the others nothing: none of them waits for it."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        world: World,
        engine: Engine,
        lanes: Lanes,
        post: Post,
        numbers: Counter,
        pools: Pools,
    ) -> None:
        self._engine, self._pools = engine, pools
        self._sides = {
            name: HostSide(host, world, engine, lanes.of[name], post, numbers, pools.names)
            for name, host in hosts.items()
        }
        self._world = world
        self._names: dict[str, str] = {}
        """The node that each host is, by its UUID."""
        self._gone: tuple[Told, ...] = ()
        """Nodes that the ledger tells of and no setting does."""
        self._forgotten: frozenset[str] = frozenset()
        """Names of those of them that nobody is to hear of any more."""
        engine.put(NODES, None, tuple(hosts))
        engine.put(SHARED, None, pools.shared or None)
        engine.put(POOLS, None, pools.named)

    # -- what is known ---------------------------------------------------------------------------

    @property
    def seen(self) -> bool:
        """True while one of them can be read."""
        return any(side.seen for side in self._sides.values())

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in their order."""
        return tuple(self._sides)

    @property
    def known(self) -> tuple[str, ...]:
        """Where there are several, all that there are: those of the settings, and those that still
        may run what was placed on them.
        """
        gone = (node["name"] for node in self._gone)
        return (*self._sides, *gone) if self._many else ()

    @property
    def away(self) -> tuple[str, ...]:
        """Those that cannot be read."""
        return tuple(name for name, side in self._sides.items() if not side.seen)

    @property
    def unread(self) -> tuple[str, ...]:
        """Nodes that have never been read: nobody knows what is on them."""
        return tuple(name for name, side in self._sides.items() if not side.read)

    def looked(self, now: float) -> bool:
        """True once each has been read, or is out of reach for so long that nobody waits for it."""
        return all(side.read or side.away(now) for side in self._sides.values())

    def reachable(self, node: str) -> bool:
        """True while something may be done on that node."""
        return node in self._sides and not self._sides[node].error

    def sharing(self, node: str, pool: str) -> tuple[str, ...]:
        """The nodes that have what one has in that pool, itself among them."""
        return self._pools.sharing(self._sides, node, pool)

    @property
    def error(self) -> str:
        """Which of them cannot be reached, and why; empty if all can."""
        if len(self._sides) == 1:
            return next(iter(self._sides.values())).error
        wrong = (side for side in self._sides.values() if side.error)
        return "; ".join(f"node {side.name}: {side.error}" for side in wrong)

    def found(self) -> list[tuple[RawNode, int]]:
        """Each node that has been read, and how many domains it has."""
        nodes = ((side.node, len(self._world.domains(side.name))) for side in self._sides.values())
        return [(node, domains) for node, domains in nodes if node is not None]

    def part(self) -> dict[str, Json]:
        """The nodes as agent.yaml has them."""
        described = []
        for side in self._sides.values():
            described_node = side.described()
            if self._many and side.node is not None and side.node.host:
                described_node["host"] = side.node.host
            described.append(described_node)
        return part((*described, *self._gone), sorted(self._forgotten))

    # -- what happens ------------------------------------------------------------------------------

    def remember(self, agent: Mapping[str, Json]) -> None:
        """What the ledger's agent.yaml says of nodes. One that it alone knows is not absent: it may
        still run what was placed on it.
        """
        self._forget(forgotten(agent))
        if "nodes" not in agent:
            return  # one node takes the place of another
        for node in told(agent):
            self._engine.put(FORMER, node["name"], str(node.get("host", "")) or None)
        self._gone = tuple(node for node in told(agent) if node["name"] not in self._sides)
        self._forget_renamed()

    def forget(self, names: Iterable[str]) -> None:
        """Take these for absent, unless a setting names them."""
        gone = {node["name"] for node in self._gone}
        self._forget(name for name in names if name in gone)

    def _forget(self, names: Iterable[str]) -> None:
        absent = frozenset(names) - self._sides.keys()
        self._forgotten |= absent
        self._gone = tuple(node for node in self._gone if node["name"] not in absent)
        for name in absent:
            self._engine.put(FORGOTTEN, name, True)

    def happened(self, event: HostEvent, now: float) -> None:
        if (side := self._sides.get(event.node)) is not None:
            side.happened(event, now)

    def expect(self, *, uploads: bool) -> None:
        """Whether an object waits for an upload, on whatever node."""
        for side in self._sides.values():
            side.expect(uploads=uploads)

    def ask(self, now: float) -> None:
        """Start the reads that are due, and tell of nodes that are away."""
        for name, side in self._sides.items():
            side.ask(now)
            if self._many and side.error and side.away(now):
                known = self._engine.get(UNREACHABLE, name)
                self._engine.put(UNREACHABLE, name, side.error)
                if known is None and self._pools.shared:
                    self._look_beside(name)

    def _look_beside(self, lost: str) -> None:
        """What a lost node has made in a pool that others share they have not seen so far."""
        for name, side in self._sides.items():
            if name != lost and not side.error:
                side.look()

    def observe(self, news: Observation, now: float) -> None:
        """Turn an observation into facts."""
        if isinstance(news, FullRead):
            node = news.reading.node
            if (other := self._other_name(node)) is not None:
                lost = NodeLost(node.name, SAME.format(other, node.host))
                self._sides[node.name].observe(lost, now)
                return
            self._sides[node.name].observe(news, now)
            self._engine.put(UNREACHABLE, node.name, None)
            self._forget_renamed()
        elif isinstance(news, Detail) and (side := self._sides.get(news.node)) is not None:
            side.observe(news, now)

    def due(self, now: float) -> float:
        """When one of them is to be read again."""
        return min(side.due(now) for side in self._sides.values())

    @property
    def _many(self) -> bool:
        return len(self._sides) > 1 or bool(self._gone)

    def _other_name(self, node: RawNode) -> str | None:
        """The name under which this host has been read before, if that is not its own."""
        if not node.host:
            return None
        name = self._names.setdefault(node.host, node.name)
        return name if name != node.name else None

    def _forget_renamed(self) -> None:
        """A host that bears another name now is not gone."""
        hosts = {side.node.host for side in self._sides.values() if side.node is not None}
        self._gone = tuple(
            {**removed(node["name"]), "host": node.get("host", "")}
            for node in self._gone
            if not node.get("host") or node["host"] not in hosts
        )
