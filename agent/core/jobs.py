"""What is under way for an object, and how its last work ended: an input of the next decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.model import Json

FIRST_RETRY = 1.0
LONGEST_RETRY = 300.0


@dataclass(frozen=True)
class Failure:
    reason: str
    message: str


@dataclass(frozen=True)
class Job:
    """One object's work. `busy` while a worker has it: no other action of that object is started
    then.
    """

    busy: tuple[str, ...] = ()
    """Verbs under way, the first one running."""
    progress: int = 0
    """Percent of a long job, in steps of ten."""
    trouble: str = ""
    """Why a long job gets no further just now; it tries again by itself."""
    speed: tuple[int, int] = (0, 0)
    """Bytes a second that it has brought: of all of it so far, and of its last part."""
    result: Mapping[str, Json] = field(default_factory=dict)
    """What the last job found out (an image's digest, sizes, format, and what they are of)."""
    error: str = ""
    reason: str = ""
    failed: str = ""
    """The verb that failed last; empty once anything has succeeded since."""
    about: Mapping[str, Failure] = field(default_factory=dict)
    """What failed in a row, by `Action.about`, where a verb can be about one of several things."""
    attempts: int = 0
    """Failures in a row."""
    retry: bool = True
    """False when only a change of the manifest or of the host helps."""
    retry_at: float = 0.0
    generation: int = 0
    """Generation of the object at the time of the failure: a newer one tries at once."""
    done: Mapping[str, float] = field(default_factory=dict)
    """When each verb last succeeded, in seconds since the epoch."""
    outdated: int = 0
    """How often in a row it was left alone since its host had changed meanwhile."""
    starts: tuple[float, ...] = ()
    """When a domain was last started after an end that nobody asked for, at most ten times."""


IDLE = Job()


def backoff(attempts: int, jitter: float) -> float:
    """Seconds to wait after so many failures in a row; `jitter` is from 0 to 1."""
    doublings = min(attempts - 1, 12)  # pragma: no mutate: nine reach the longest, more overflow
    wait = min(LONGEST_RETRY, FIRST_RETRY * 2.0**doublings)
    return float(wait * (0.75 + 0.5 * jitter))


def held(job: Job, generation: int, now: float) -> bool:
    """True if a failure keeps the object from trying again now."""
    if not job.failed or job.generation != generation:
        return False
    return not job.retry or now < job.retry_at
