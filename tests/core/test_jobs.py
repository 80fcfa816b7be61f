"""What has failed is tried again, ever more seldom."""

from __future__ import annotations

import pytest

from agent.core.jobs import IDLE, LONGEST_RETRY, Job, backoff, held

NOW = 1000.0
FAILED = Job(failed="StartDomain", attempts=1, generation=3, retry_at=NOW)


def test_at_first_nothing_is_under_way_and_nothing_has_failed() -> None:
    first = Job(progress=0, attempts=0, retry=True, retry_at=0.0, generation=0, outdated=0)
    assert first == IDLE


@pytest.mark.parametrize(
    ("attempts", "wait"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (5000, LONGEST_RETRY)],
)
def test_each_failure_doubles_the_wait_up_to_five_minutes(attempts: int, wait: float) -> None:
    assert backoff(attempts, 0.5) == wait
    assert backoff(attempts, 0.0) == 0.75 * wait
    assert backoff(attempts, 1.0) == 1.25 * wait


@pytest.mark.parametrize(
    ("job", "generation", "waits"),
    [
        (IDLE, 0, False),
        (FAILED, 3, False),
        (Job(failed="StartDomain", generation=3, retry_at=NOW + 1), 3, True),
        (Job(failed="StartDomain", generation=3, retry_at=NOW + 1), 4, False),  # it is changed
        (Job(failed="StartDomain", generation=3, retry=False), 3, True),
        (Job(failed="StartDomain", generation=3, retry=False), 4, False),
        (Job(failed="", generation=3, retry=False), 3, False),
        (Job(failed="", generation=3, retry_at=NOW + 1), 3, False),
    ],
)
def test_a_failure_holds_just_what_has_failed(job: Job, generation: int, waits: bool) -> None:
    assert held(job, generation, NOW) is waits
