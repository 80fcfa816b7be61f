"""A node that exists only as facts: where a plan takes verbs for done."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.facts import Engine
from agent.core.host import HostError, RawDomain, RawVolume, Reading
from agent.core.known import NODE, POOL_PATH
from agent.core.network import NetworkReading
from agent.reconcile.world import World


class Facts:
    """One node's facts, read as a host is."""

    def __init__(self, name: str, engine: Engine, world: World) -> None:
        self.name = name
        self._engine, self._world = engine, world

    @property
    def node(self) -> Facts:
        return self

    def at(self, node: str) -> Facts:
        return self if node == self.name else Facts(node, self._engine, self._world)

    def sharing(self, pool: str) -> tuple[Facts, ...]:
        return (self,)

    def read_domain(self, uuid: str) -> RawDomain | None:
        return self._world.domains(self.name).get(uuid)

    def read_network(self, name: str) -> NetworkReading | None:
        return self._world.networks.known(self.name).get(name)

    def read(self, pools: frozenset[str]) -> Reading:
        raw = self._engine.get(NODE, self.name)
        if raw is None:
            raise HostError("NodeNotFound", f"nothing is known of node {self.name}")
        volumes = {
            (pool, name): volume
            for (pool, name), volume in self._world.volumes(self.name).items()
            if pool in pools
        }
        paths = {pool: self.path(pool) for pool in pools}
        return Reading(raw, dict(self._world.domains(self.name)), volumes, paths)

    def read_bases(self) -> Mapping[str, str]:
        volumes = self._world.volumes(self.name).values()
        return {volume.path: volume.backing_path for volume in volumes}

    def volume(self, pool: str, name: str) -> RawVolume | None:
        return self._world.volumes(self.name).get((pool, name))

    def path(self, pool: str) -> str:
        return str(self._engine.get(POOL_PATH, (self.name, pool)))
