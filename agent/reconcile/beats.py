"""What agents say of themselves in refs of the repository: who acts for a fleet, who stands by."""

from __future__ import annotations

import json
from dataclasses import dataclass

from agent.core import human
from agent.core.model import Json
from agent.gitrepo.repository import Repository

DEFAULT_FLEET = "default"
OWN = "refs/gitvirt/"
LEASE = f"{OWN}agent"
STANDBY = f"{OWN}standby"
"""Those of the fleet `default`, and of agents that know of no fleets: the first ones used these
refs whatever their fleet.
"""
FLEETS = f"{OWN}fleets/"
BEAT_FILE = "agent.json"
SILENT = 180.0
"""Seconds without a sign of the agent after which one should know."""


def lease_ref(fleet: str) -> str:
    """Moved by the agent that acts for a fleet."""
    return LEASE if fleet == DEFAULT_FLEET else f"{FLEETS}{fleet}/agent"


def standby_ref(fleet: str) -> str:
    """Moved by those who stand by, so that the acting agent knows that somebody may take over."""
    return STANDBY if fleet == DEFAULT_FLEET else f"{FLEETS}{fleet}/standby"


def is_lease(ref: str) -> bool:
    return ref == LEASE or (ref.startswith(FLEETS) and ref.endswith("/agent"))


@dataclass(frozen=True)
class Beat:
    """One sign of life. `instance` is empty where the lease was given up; the fleet is None where
    an agent knows of none.
    """

    instance: str = ""
    fleet: str | None = None
    status: str = ""
    """Full names of the branch that the agent writes its status to, and of the one that it takes
    operations from.
    """
    operations: str = ""

    def data(self, **more: Json) -> bytes:
        said = {name: getattr(self, name) for name in _FIELDS}
        return (json.dumps({**said, **more}) + "\n").encode()


_FIELDS = ("instance", "fleet", "status", "operations")


def read(repository: Repository, tip: str | None) -> Beat:
    """The beat at a commit; an empty one if there is none that can be read."""
    data = repository.read_path(tip, BEAT_FILE) if tip is not None else None
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        return Beat()
    if not isinstance(value, dict):
        return Beat()
    return Beat(**{name: str(value[name]) for name in _FIELDS if value.get(name) is not None})


def silence(seen: float | None, now: float) -> str:
    """What is to be said of an agent that was not seen lately; empty if it was. Both are seconds
    since the epoch.
    """
    if seen is None:
        return "no agent has been seen: what is shown may be out of date, and nothing is done"
    if now - seen <= SILENT:
        return ""
    return f"the agent was last seen {human.age(now - seen)} ago: what is shown may be out of date"
