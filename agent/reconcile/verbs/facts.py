"""A node that exists only as facts: where a plan takes verbs for done."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.facts import Engine
from agent.core.host import HostError, RawDomain, RawVolume, Reading
from agent.core.known import NODE, POOL_PATH
from agent.reconcile.world import World


class Facts:
    """One node's facts, read as a host is."""

    def __init__(self, name: str, engine: Engine, world: World) -> None:
        self.name = name
        self._engine, self._world = engine, world

    @property
    def node(self) -> Facts:
        return self

    def sharing(self, pool: str) -> tuple[Facts, ...]:
        return (self,)

    def read_domain(self, uuid: str) -> RawDomain | None:
        known = self._world.domains().get((self.name, uuid))
        return known[1] if known else None

    def read(self, pools: frozenset[str]) -> Reading:
        raw = self._engine.get(NODE, self.name)
        if raw is None:
            raise HostError("NodeNotFound", f"nothing is known of node {self.name}")
        domains = {
            uuid: each
            for (node, uuid), (_, each) in self._world.domains().items()
            if node == self.name
        }
        volumes = {
            (pool, name): volume
            for (node, pool, name), volume in self._world.volumes().items()
            if node == self.name and pool in pools
        }
        paths = {pool: self.path(pool) for pool in pools}
        return Reading(raw, domains, volumes, paths)

    def read_bases(self) -> Mapping[str, str]:
        return {
            volume.path: volume.backing_path
            for (node, *_), volume in self._world.volumes().items()
            if node == self.name
        }

    def volume(self, pool: str, name: str) -> RawVolume | None:
        return self._world.volumes().get((self.name, pool, name))

    def path(self, pool: str) -> str:
        return str(self._engine.get(POOL_PATH, (self.name, pool)))
