"""What a benchmark gives, and the clocks that it reads."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    what: str
    value: float
    unit: str
    target: float | None = None
    """At most so much; None where no target is set."""
    least: float | None = None
    """The same, at least."""

    def __str__(self) -> str:
        shown = f"{self.value:10.3f} {self.unit:<6} {self.what}"
        if self.least is not None:
            verdict = "ok" if self.value >= self.least else "BELOW"
            return f"{shown}   [{verdict}: at least {self.least:g}]"
        if self.target is None:
            return shown
        verdict = "ok" if self.value <= self.target else "ABOVE"
        return f"{shown}   [{verdict}: at most {self.target:g}]"


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU time of all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def wall(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(times: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(times))


def resident() -> float:
    """MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak() -> float:
    """The most MiB that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def collected() -> int:
    """Objects that the garbage collector follows, once what nobody needs is gone."""
    gc.collect()
    return len(gc.get_objects()) + gc.get_freeze_count()
