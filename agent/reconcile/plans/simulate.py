"""A host that exists only as facts: what a plan runs on. The planner is the real one; deeds are
only written down.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatchmethod

from lxml import etree

from agent.core.actions import (
    Action,
    CreateVolume,
    DefineDomain,
    DeleteVolume,
    DestroyDomain,
    ImportImage,
    ResizeVolume,
    ResumeDomain,
    SetLiveMetadata,
    ShutdownDomain,
    StartDomain,
    UndefineDomain,
    WriteSeed,
)
from agent.core.facts import Decision, Engine
from agent.core.host import RawDomain, RawVolume
from agent.core.identity import image_volume
from agent.core.jobs import IDLE, Job
from agent.core.known import DOMAIN, JOB, POOL_PATH
from agent.core.metadata import NAMESPACE
from agent.core.model import Key
from agent.kinds.virtual_machine.definition import parse
from agent.reconcile.world import DomainRead, VolumeRead, World

ROUNDS = 50
SEED = 1024 * 1024


class Simulation:
    """Carries decisions out on facts until nothing is left to do."""

    def __init__(self, engine: Engine, world: World, fleet: str) -> None:
        self._engine = engine
        self._world = world
        self._fleet = fleet
        self.done: dict[Key, list[Action]] = {}
        """What each object would have done in the last run, in order."""
        self.seen: dict[Key, list[Decision]] = {}
        """The decisions of the last run, in order."""

    def run(self, now: float, *, more: bool = False) -> None:
        """Until nothing is left to do. Guests obey, downloads succeed. With `more` the last run
        goes on.
        """
        if not more:
            self.done, self.seen = {}, {}
        for _ in range(ROUNDS):
            changed = self._engine.settle(now)
            busy = False
            for key in sorted(changed):
                decision = self._engine.decisions.get(key)
                if decision is None:
                    continue
                self.seen.setdefault(key, []).append(decision)
                if not decision.actions:
                    continue
                busy = True
                self._carry_out(key, decision, self.done.setdefault(key, []))
            if not busy:
                break

    def _carry_out(self, key: Key, decision: Decision, done: list[Action]) -> None:
        for action in decision.actions:
            self._do(action, key)
        done.extend(action for action in decision.actions if action not in done)
        self._engine.touch([key])

    @singledispatchmethod
    def _do(self, action: Action, key: Key) -> None:
        raise NotImplementedError(action.verb)

    @_do.register
    def _(self, action: ImportImage, key: Key) -> None:
        digest = f"unknown-{key.kind}-{key.namespace}-{key.name}"
        facts = {"digest": digest, "format": "qcow2", "storedBytes": 1, "unpackedBytes": 0}
        job: Job = self._engine.get(JOB, key) or IDLE
        result = {**facts, "source": action.source}
        self._engine.put(JOB, key, replace(job, result=result))
        self._volume(action.node, action.pool, image_volume(self._fleet, digest, "qcow2"), 0, 1)

    @_do.register
    def _(self, action: CreateVolume, key: Key) -> None:
        self._volume(action.node, action.pool, action.name, action.capacity, 1)

    @_do.register
    def _(self, action: ResizeVolume, key: Key) -> None:
        self._volume(action.node, action.pool, action.name, action.capacity, 1)

    @_do.register
    def _(self, action: WriteSeed, key: Key) -> None:
        self._volume(action.node, action.pool, action.name, SEED, SEED)

    @_do.register
    def _(self, action: DeleteVolume, key: Key) -> None:
        self._world.take(VolumeRead(action.node, action.pool, action.name, None))

    @_do.register
    def _(self, action: DefineDomain, key: Key) -> None:
        name = parse(action.xml).findtext("name") or ""
        known = self._domain(action.node, action.uuid)
        if known is None:
            known = RawDomain(action.uuid, name, "shutoff", "unknown", action.xml)
        self._put(action.node, replace(known, inactive_xml=action.xml))

    @_do.register
    def _(self, action: UndefineDomain, key: Key) -> None:
        self._world.take(DomainRead(0, action.node, action.uuid, None))

    @_do.register
    def _(self, action: StartDomain, key: Key) -> None:
        raw = self._domain(action.node, action.uuid)
        if raw is not None:
            self._put(
                action.node,
                replace(
                    raw,
                    state="running",
                    reason="booted",
                    active_xml=raw.inactive_xml,
                    rebooted=0.0,
                ),
            )

    @_do.register
    def _(self, action: ShutdownDomain, key: Key) -> None:
        self._stop(action.node, action.uuid, "shutdown")

    @_do.register
    def _(self, action: DestroyDomain, key: Key) -> None:
        self._stop(action.node, action.uuid, "destroyed")

    @_do.register
    def _(self, action: ResumeDomain, key: Key) -> None:
        raw = self._domain(action.node, action.uuid)
        if raw is not None:
            self._put(action.node, replace(raw, state="running", reason="unpaused"))

    @_do.register
    def _(self, action: SetLiveMetadata, key: Key) -> None:
        raw = self._domain(action.node, action.uuid)
        if raw is None:
            return
        root = parse(raw.active_xml)
        metadata = root.find("metadata")
        old = None if metadata is None else metadata.find(f"{{{NAMESPACE}}}vm")
        if metadata is not None and old is not None:
            metadata.replace(old, etree.fromstring(action.xml))  # made by us
        self._put(action.node, replace(raw, active_xml=etree.tostring(root, encoding="unicode")))

    def _stop(self, node: str, uuid: str, reason: str) -> None:
        raw = self._domain(node, uuid)
        if raw is not None:
            self._put(node, replace(raw, state="shutoff", reason=reason, active_xml=""))

    def _domain(self, node: str, uuid: str) -> RawDomain | None:
        found: RawDomain | None = self._engine.get(DOMAIN, (node, uuid))
        return found

    def _put(self, node: str, raw: RawDomain) -> None:
        self._world.take(DomainRead(0, node, raw.uuid, raw))

    def _volume(self, node: str, pool: str, name: str, capacity: int, physical: int) -> None:
        folder = self._engine.get(POOL_PATH, (node, pool))
        path = f"{folder}/{name}"
        self._world.take(
            VolumeRead(node, pool, name, RawVolume(pool, name, path, capacity, physical))
        )
