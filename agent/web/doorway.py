"""The door in front of the application: asks it about each request, and answers those that come no
further.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from agent.web.door import ENTRANCE, Door, Head, Refusal, without_token

SEE_OTHER = 303
FORBIDDEN = 4403
"""The code of a WebSocket that is refused."""
_LONGEST_FORM = 8192


class Doorway:
    """What it lets in has the `visitor` in its state."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] in ("http", "websocket"):
            head = head_of(scope)
            found = self._door.judge(head)
            if isinstance(found, Refusal):
                app = _refusal(found, head, scope)
            else:
                scope.setdefault("state", {})["visitor"] = found
                app = self._entering(head, scope) or app
        await app(scope, receive, send)

    def _entering(self, head: Head, scope: Scope) -> Response | None:
        """The answer to an address with the token in it, such as is printed at the start: it is
        left behind at once, so that the browser's history does not have it.
        """
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in given if name == "token"]
        if scope["type"] != "http" or not tokens:
            return None
        if not self._door.fits(tokens[0]):
            return refused(403, "that is not the token of this server")
        return admitted(self._door, head, without_token(scope["path"], given))


def admitted(door: Door, head: Head, place: str) -> Response:
    """Leads a browser that has shown the token on, and has it keep what proves that."""
    headers = {"Set-Cookie": door.cookie(head.all("host")[0]), "Cache-Control": "no-store"}
    return RedirectResponse(place, SEE_OTHER, headers)


def refused(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status, {"Cache-Control": "no-store"})


def trusted(connection: HTTPConnection) -> bool:
    """True for who has shown the token."""
    return bool(connection.state.visitor.trusted)


async def form(request: Request) -> Mapping[str, str] | None:
    """The fields of a form; None if it is longer than any of ours."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return None
    return dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))


def head_of(scope: Scope) -> Head:
    client = scope.get("client")
    return Head(
        method=scope["method"] if scope["type"] == "http" else "WEBSOCKET",
        path=scope["path"],
        peer=client[0] if client else "",
        headers=[
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ],
    )


def _refusal(found: Refusal, head: Head, scope: Scope) -> ASGIApp:
    """A person who lacks nothing but the token can type it. A connection is closed before it is
    one, which is HTTP's 403: browsers show no script more of it than that.
    """
    if scope["type"] == "websocket":
        return WebSocketClose(FORBIDDEN, found.message)
    if found.status == 401 and any("text/html" in accept for accept in head.all("accept")):
        place = without_token(scope["path"], ())
        return RedirectResponse(f"{ENTRANCE}?{urlencode({'next': place})}", SEE_OTHER)
    return refused(found.status, found.message)
