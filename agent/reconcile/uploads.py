"""What was uploaded and nobody takes: which of it is cleared away, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.host import RawVolume
from agent.core.identity import upload

UNASKED = 3600.0
"""Seconds until an upload goes that no object wants, once that is known for sure."""
LEFT = 86400.0
"""Seconds for which a part of an upload stays after it has grown last: it can be gone on with."""

Volume = tuple[str, str]
"""Node and name; all lie in one pool."""


@dataclass
class Uploads:
    """Looks at uploads again and again, and remembers since when each is as it is. What an object
    that waits for an upload makes of a whole one is its own decision.
    """

    fleet: str
    _seen: dict[Volume, tuple[tuple[int, bool], float]] = field(default_factory=dict)
    """Bytes, and whether an object wants it; and since when."""

    def due(
        self, there: Mapping[Volume, RawVolume | None], wanted: Iterable[str], now: float
    ) -> list[Volume]:
        """Those that are to go now. `wanted` are the uids of the objects that are made from
        uploads.
        """
        uids = frozenset(wanted)
        seen: dict[Volume, tuple[tuple[int, bool], float]] = {}
        gone = []
        for volume, raw in there.items():
            said = upload(self.fleet, volume[1])
            state = (raw.physical if raw else 0, said is not None and said.uid in uids)
            known = self._seen.get(volume)
            seen[volume] = known if known is not None and known[0] == state else (state, now)
            if now >= seen[volume][1] + (LEFT if state[1] else UNASKED):
                gone.append(volume)
        self._seen = seen
        return sorted(gone)
