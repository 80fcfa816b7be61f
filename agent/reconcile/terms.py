"""On what terms an agent works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.reconcile.git import Branches


@dataclass(frozen=True)
class Identity:
    """Who the agent is, as agent.yaml says it."""

    fleet: str
    version: str
    branches: Branches


@dataclass(frozen=True)
class Timing:
    """Clock in seconds since the epoch; `jitter` from 0 to 1; intervals in seconds.

    `trash_retention`: for how long what was deleted can come back.
    """

    clock: Callable[[], float]
    jitter: Callable[[], float]
    poll: float
    status_interval: float
    trash_retention: float
