"""How far a long transfer is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.core import human

EVERY = 0.1
"""Seconds between two looks of a bar."""
LINES = 10
"""Percent between two lines where there is no terminal."""
WIDTH = 24


@dataclass
class Progress:
    """Of `total` bytes, of which `begun` were there already."""

    doing: str
    total: int
    begun: int = 0
    clock: Callable[[], float] = time.monotonic
    _drawn: float = float("-inf")
    _told: int = 0
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()
        self._told = self.percent(self.begun) // LINES * LINES
        self._bar = sys.stderr.isatty()

    def percent(self, done: int) -> int:
        return 100 if not self.total else done * 100 // self.total

    def show(self, done: int) -> None:
        """So many bytes are there now."""
        now = self.clock()
        if self._bar:
            if now - self._drawn >= EVERY or done == self.total:
                self._drawn = now
                sys.stderr.write(f"\r\x1b[K{self._line(done, now)}")
                sys.stderr.flush()
        elif self.percent(done) >= self._told + LINES:
            self._told = self.percent(done) // LINES * LINES
            print(self._words(done, now), file=sys.stderr, flush=True)

    def end(self) -> None:
        """Nothing more is shown of it."""
        if self._bar and self._drawn != float("-inf"):
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _line(self, done: int, now: float) -> str:
        filled = WIDTH if not self.total else done * WIDTH // self.total
        return f"{self.doing} [{'#' * filled}{'.' * (WIDTH - filled)}] {self._numbers(done, now)}"

    def _words(self, done: int, now: float) -> str:
        return f"{self.doing}: {self._numbers(done, now)}"

    def _numbers(self, done: int, now: float) -> str:
        sizes = f"{self.percent(done)}%, {human.size(done)} of {human.size(self.total)}"
        passed, moved = now - self._since, done - self.begun
        if passed < 1.0 or not moved or done == self.total:
            return sizes
        speed = moved / passed
        left = human.age((self.total - done) / speed)
        return f"{sizes}, {human.size(int(speed))}/s, {left} left"
