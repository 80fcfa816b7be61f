"""What threads hand to the next pass, beside observations and outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.core.model import Key

Submit = Callable[[Callable[[], None]], None]
Post = Callable[[object], None]


@dataclass(frozen=True)
class Lanes:
    """Where work that may block goes: each takes a task and runs it beside the pass."""

    git: Submit
    reads: Submit
    actions: Submit
    imports: Submit
    plans: Submit


@dataclass(frozen=True)
class ProgressNews:
    """A long job has come to so many percent."""

    key: Key
    percent: int
