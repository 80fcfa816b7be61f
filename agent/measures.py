"""What this process has measured of its own work since it began, for whoever wants to know.
Measuring costs a microsecond, and nothing is computed of it here.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

BOUNDS = (0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0, 30.0)
"""Seconds: durations are counted by which of these they do not exceed."""


@dataclass(frozen=True)
class Taken:
    """How long things of one sort took."""

    counts: tuple[int, ...]
    """By the bounds, and those beyond the last."""
    total: float
    """Seconds of all together."""


class Durations:
    """By sort, such as `fetch`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._totals: dict[str, float] = {}

    def add(self, sort: str, seconds: float) -> None:
        with self._lock:
            if sort not in self._counts:
                self._counts[sort], self._totals[sort] = [0] * (len(BOUNDS) + 1), 0.0
            self._counts[sort][bisect_left(BOUNDS, seconds)] += 1
            self._totals[sort] += seconds

    @contextmanager
    def taking(self, sort: str) -> Iterator[None]:
        """Measure what is done meanwhile, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(sort, time.perf_counter() - began)

    def read(self) -> Mapping[str, Taken]:
        with self._lock:
            return {
                sort: Taken(tuple(counts), self._totals[sort])
                for sort, counts in sorted(self._counts.items())
            }


class Amount:
    """A sum that only grows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, more: int) -> None:
        with self._lock:
            self._value += more

    def read(self) -> int:
        return self._value


class State:
    """Something that is so or not; None while nobody has said."""

    def __init__(self) -> None:
        self.value: bool | None = None


PASSES = Durations()
GIT = Durations()
LIBVIRT = Durations()
DOWNLOADED = Amount()
"""Bytes of images that were downloaded."""
MIGRATED = Amount()
"""Bytes of memory and disks that have gone to other nodes with machines that ran."""
LEADING = State()
"""Whether this agent is the one of its fleet that acts."""
