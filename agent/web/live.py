"""Server-sent events: that something has changed, and nothing else. Pages fetch themselves again.

Nothing is queued for anybody. Who reads slowly hears of the newest commit once they read again, and
the more there are who look, the longer each waits between two events: what viewers cost is bounded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from agent.web.reading import Reading
from agent.web.source import Source

MOST = 2_000
"""Viewers at a time."""
A_SECOND = 12.0
"""Events, of all viewers together."""
STILL = 20.0
"""Seconds after which a viewer hears that there is nothing new."""


class Live:
    def __init__(self, source: Source) -> None:
        self._source = source

    async def __call__(self, request: Request) -> Response:
        if self._source.viewers >= MOST:
            return PlainTextResponse("too many viewers\n", 503, {"Retry-After": "60"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(), 200, headers, media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        async with self._source.viewing():
            known = self._source.reading
            yield b"retry: 5000\n\n" + _event(known)
            while not self._source.ended:
                try:
                    known = await asyncio.wait_for(self._source.news(known), STILL)
                except TimeoutError:
                    yield b": still here\n\n"
                else:
                    yield _event(known)
                    await self._source.rest(max(1.0, self._source.viewers / A_SECOND))


def _event(reading: Reading | None) -> bytes:
    told = {"commit": reading.commit, "main": reading.main} if reading else {}
    return f"event: reading\ndata: {json.dumps(told)}\n\n".encode()
