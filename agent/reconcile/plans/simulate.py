"""A fleet that exists only as facts: what a plan runs on. The planner is the real one; deeds are
only taken for done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from agent.core.actions import Action
from agent.core.facts import Decision, Engine
from agent.core.host import HostError
from agent.core.jobs import IDLE
from agent.core.known import JOB
from agent.core.model import Key
from agent.core.placement.tenants import Tenant
from agent.reconcile.placing import Placing
from agent.reconcile.plans.reserving import Reserving
from agent.reconcile.verbs import verb_of
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.verb import Done
from agent.reconcile.world import World

ROUNDS = 50


class Simulation:
    """Carries decisions out on facts until nothing is left to do."""

    def __init__(self, engine: Engine, world: World, reserving: Reserving) -> None:
        self._engine, self._world, self._reserving = engine, world, reserving
        self._placing = Placing(engine)
        self.done: dict[Key, list[Action]] = {}
        """What each object would have done in the last run, in order."""
        self.seen: dict[Key, list[Decision]] = {}
        """The decisions of the last run, in order."""

    def beside(self, others: Iterable[Tenant]) -> None:
        """Machines that no plan is made for, where they are."""
        self._placing.beside(others)

    def run(self, now: float, *, more: bool = False) -> None:
        """Until nothing is left to do. Guests obey, downloads succeed. With `more` the last run
        goes on.
        """
        if not more:
            self.done, self.seen = {}, {}
        for _ in range(ROUNDS):
            self._reserving.state()
            changed = self._placing.settle(now)
            busy = False
            for key in sorted(changed):
                decision = self._engine.decisions.get(key)
                if decision is None:
                    continue
                self.seen.setdefault(key, []).append(decision)
                busy = self._reserving.decided(key, decision) or busy
                if not decision.actions:
                    continue
                busy = True
                self._carry_out(key, decision, self.done.setdefault(key, []))
            if not busy:
                break

    def _carry_out(self, key: Key, decision: Decision, done: list[Action]) -> None:
        """Until one fails, as on a host: it is decided anew then."""
        for action in decision.actions:
            try:
                self._observe(key, simulated(action, self._engine, self._world))
            except HostError:
                break
            if action not in done:
                done.append(action)
        self._engine.touch([key])

    def _observe(self, key: Key, done: Done) -> None:
        for seen in done.seen:
            self._world.observe(seen)
        if done.result:
            job = self._engine.get(JOB, key) or IDLE
            self._engine.put(JOB, key, replace(job, result=done.result))


def simulated(action: Action, engine: Engine, world: World) -> Done:
    """What an action comes to on facts. Raises HostError where it would fail."""
    verb, facts = verb_of(action), Facts(action.node, engine, world)
    return verb.simulate(action, facts) if verb.stands(action, facts) else Done()
