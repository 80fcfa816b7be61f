"""When something is to be done again and again, and how much of it is kept: `0 3 * * *; keep 7`,
with a time zone before it where that is not UTC: `CRON_TZ=Europe/Berlin 0 3 * * *; keep 7`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

EXAMPLE = "CRON_TZ=Europe/Berlin 0 3 * * *; keep 7"
MOST_KEPT = 1000
_SCHEDULE = re.compile(
    r"\s*(?:(?:CRON_TZ|TZ)=(?P<zone>\S+)\s+)?(?P<when>[^;=]+?)\s*;\s*keep\s+(?P<keep>[0-9]{1,4})\s*",
    re.ASCII,
)
_FIELDS = 5


@dataclass(frozen=True)
class Schedule:
    when: str
    """Five fields, as cron has them."""
    zone: tzinfo
    keep: int

    def last(self, now: float) -> float | None:
        """When it was due last, now included, in seconds since the epoch."""
        # it looks before the time that it is given
        start = datetime.fromtimestamp(int(now) + 1, self.zone)
        found = next(CronSim(self.when, start, reverse=True), None)
        return None if found is None else found.timestamp()

    def before(self, now: float) -> Iterator[float]:
        """When those were due that are to be kept, now included, the newest first."""
        start = datetime.fromtimestamp(int(now) + 1, self.zone)
        slots = CronSim(self.when, start, reverse=True)
        return (slot.timestamp() for slot in islice(slots, self.keep))

    def next(self, now: float) -> float | None:
        """When it is due next."""
        found = next(CronSim(self.when, datetime.fromtimestamp(int(now), self.zone)), None)
        return None if found is None else found.timestamp()


def schedule(text: str) -> Schedule:
    """Raises ValueError with what is wrong, to be read after "must be …, but"."""
    found = _SCHEDULE.fullmatch(text)
    if found is None:
        raise ValueError("it is not of that form")
    keep, when = int(found["keep"]), " ".join(found["when"].split())
    if not 1 <= keep <= MOST_KEPT:
        raise ValueError(f"it keeps {keep}, not 1 to {MOST_KEPT}")
    if len(when.split()) != _FIELDS:
        raise ValueError(f"`{when}` has not five fields: minute, hour, day, month, day of the week")
    known = Schedule(when, _zone(found["zone"]), keep)
    try:
        due = next(CronSim(when, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise ValueError(f"`{when}` is none: {str(error).lower()}") from error
    if due is None:
        raise ValueError(f"`{when}` is never due")
    return known


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"{name} is no time zone that is known here, such as Europe/Berlin"
        raise ValueError(message) from error
