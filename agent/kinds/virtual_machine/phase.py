"""The phase of a VM: one word for where it is."""

from __future__ import annotations

from agent.core.jobs import Job, held
from agent.core.metadata import DomainMetadata
from agent.kinds.virtual_machine.power import Running, ending, start_due

ON = ("Running", "Pause", "Stopping", "Starting", "Migrating")
"""Phases of a machine that runs, or is about to."""
SAVED = "Saved"
"""Reason of condition Running while the state of an instance lies on the host."""


def phase(
    memory: DomainMetadata | None,
    running: Running | None,
    job: Job,
    generation: int,
    now: float,
    *,
    ready: bool,
) -> str:
    """`memory` and `running` are None while there is no domain."""
    if memory is None or running is None:  # pragma: no mutate: both are, or none
        return "Starting" if ready and not held(job, generation, now) else "Pending"
    if running.on and ending(memory, running) is not None:
        return "Stopping"
    if running.on and not running.starting:
        return "Pause" if running.raw.state in ("paused", "pmsuspended") else "Running"
    if not running.on and not start_due(memory, running):
        return "Stopped"
    return "Starting" if ready and not job.failed else "Pending"
