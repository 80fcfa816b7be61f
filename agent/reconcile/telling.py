"""What the agent's log says of its passes: what it found at its start, which manifests do not hold,
and what each pass did.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable

from agent import measures
from agent.core.host import RawNode
from agent.core.human import count
from agent.core.model import Key, Problem

log = logging.getLogger("gitvirt")


class Telling:
    """Says each thing once."""

    def __init__(self) -> None:
        self._problems: frozenset[Problem] = frozenset()
        self._begun = False
        self._started_at = 0.0

    def accepted(
        self,
        keys: Iterable[Key],
        problems: Iterable[Problem],
        nodes: Iterable[tuple[RawNode, int]],
    ) -> None:
        """A commit is in force: problems that are new, and at the start all that there is; `nodes`
        with how many domains each has.
        """
        now_wrong = frozenset(problems)
        for problem in sorted(now_wrong - self._problems):
            log.warning("%s", problem)
        if self._problems and not now_wrong:
            log.info("all manifests hold")
        self._problems = now_wrong
        if self._begun:
            return
        self._begun = True
        counts = Counter(key.kind for key in keys)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        log.info("in force: %s", kinds or "nothing yet")
        for node, domains in nodes:
            log.info(
                "node %s at %s, libvirt %s, QEMU %s: %s",
                *(
                    node.name,
                    node.uri,
                    node.libvirt_version,
                    node.qemu_version,
                    count(domains, "domain"),
                ),
            )

    def begin(self) -> None:
        self._started_at = time.perf_counter()

    def end(self, news: int, decided: int, under_way: int) -> None:
        """One pass is over. Those that found nothing new are not worth a line."""
        taken = time.perf_counter() - self._started_at
        measures.PASSES.add("", taken)
        if news or decided:
            log.debug(
                "pass: %d news, %d objects decided, %d under way, %.1f ms",
                *(news, decided, under_way, taken * 1000),
            )
