"""What threads hand to the next pass, beside observations and outcomes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.core.mistakes import mistake
from agent.core.model import Key

log = logging.getLogger("gitvirt")

Submit = Callable[["Task"], None]
Post = Callable[[object], None]


@dataclass(frozen=True)
class Task:
    """Work beside the pass that never ends in silence: `reported` makes it, and nothing else."""

    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()


@dataclass(frozen=True)
class NodeLanes:
    """Where work goes that may wait for one host. Each has its own: what hangs there holds up no
    other host, and of its own no other lane.
    """

    reads: Submit
    actions: Submit
    volumes: Submit
    """What waits for a pool, where one at a time makes or deletes volumes: it waits here."""
    imports: Submit
    guests: Submit
    """Questions to guest agents."""
    networks: Submit
    """What changes libvirt's networks: one at a time."""
    moves: Submit
    """Machines that leave the node."""


@dataclass(frozen=True)
class Lanes:
    """Where work that may block goes: each takes a task and runs it beside the pass."""

    git: Submit
    plans: Submit
    of: Mapping[str, NodeLanes]
    """By node."""

    def at(self, node: str) -> NodeLanes:
        """Those of a node. What is asked of one that nobody knows fails at once."""
        return self.of.get(node, _NOWHERE)


def _now(task: Task) -> None:
    task()


_NOWHERE = NodeLanes(_now, _now, _now, _now, _now, _now, _now)


def reported(post: Post, work: Callable[[], object], failed: Callable[[str], object]) -> Task:
    """A lane's task: does the work and posts what it found out; None is no news. Whoever waits for
    its end waits never in vain: of an error that nobody foresaw, `failed` makes the news.
    """

    def task() -> None:
        try:
            news = work()
        except Exception as error:
            log.exception("a mistake in gitvirt itself")
            news = failed(mistake(error))
        if news is not None:
            post(news)

    return Task(task)


@dataclass(frozen=True)
class ProgressNews:
    """A long job has come to so many percent."""

    key: Key
    percent: int
    trouble: str = ""
    """Why it gets no further just now; it tries again by itself."""
    speed: tuple[int, int] = (0, 0)
    """Bytes a second: of all of it so far, and of its last part."""
