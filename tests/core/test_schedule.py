"""Times of a schedule, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.core.annotations import SNAPSHOTS, misused
from agent.core.schedule import EXAMPLE, schedule


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def said(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(" ", "minutes")


@pytest.mark.parametrize(
    ("text", "now", "last", "following"),
    [
        ("0 3 * * *; keep 7", "2026-06-01 12:00", "2026-06-01 03:00", "2026-06-02 03:00"),
        ("0 3 * * *; keep 7", "2026-06-01 03:00", "2026-06-01 03:00", "2026-06-02 03:00"),
        ("0 3 * * *; keep 7", "2026-06-01 02:59", "2026-05-31 03:00", "2026-06-01 03:00"),
        (EXAMPLE, "2026-06-01 12:00", "2026-06-01 01:00", "2026-06-02 01:00"),
        (EXAMPLE, "2026-12-01 12:00", "2026-12-01 02:00", "2026-12-02 02:00"),
        ("*/15 * * * *;keep 1", "2026-06-01 12:07", "2026-06-01 12:00", "2026-06-01 12:15"),
        (
            " TZ=UTC  0 0 * * sun ;  keep 52 ",
            "2026-06-01 12:00",
            "2026-05-31 00:00",
            "2026-06-07 00:00",
        ),
    ],
)
def test_slots_lie_in_their_zone(text: str, now: str, last: str, following: str) -> None:
    known = schedule(text)
    assert said(known.last(at(now))) == f"{last}+00:00"
    assert said(known.next(at(now))) == f"{following}+00:00"


def test_it_says_how_many_are_kept() -> None:
    assert schedule("0 3 * * *; keep 7").keep == 7


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 3 * * *", "not of that form"),
        ("", "not of that form"),
        ("0 3 * * *; keep", "not of that form"),
        ("0 3 * * *; keep -1", "not of that form"),
        ("0 3 * * *; keep 7; keep 8", "not of that form"),
        ("0 3 * * *; keep 0", "keeps 0, not 1 to 1000"),
        ("0 3 * * *; keep 1001", "keeps 1001, not 1 to 1000"),
        ("0 3 * *; keep 7", "has not five fields"),
        ("0 0 3 * * *; keep 7", "has not five fields"),
        ("61 3 * * *; keep 7", "bad minute"),
        ("0 0 31 2 *; keep 7", "bad day-of-month"),
        ("CRON_TZ=Europe/Nowhere 0 3 * * *; keep 7", "no time zone"),
        ("CRON_TZ=../../etc/passwd 0 3 * * *; keep 7", "no time zone"),
    ],
)
def test_what_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        schedule(text)
    ((path, message),) = misused({SNAPSHOTS: text})
    assert path == ("metadata", "annotations", SNAPSHOTS)
    assert f"such as `{EXAMPLE}`" in message


def test_a_good_one_is_no_mistake() -> None:
    assert list(misused({SNAPSHOTS: EXAMPLE})) == []
