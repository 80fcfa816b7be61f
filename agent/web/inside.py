"""The addresses behind the door: consoles, screens and what is asked of machines, for those alone
who have shown the token; and the entrance, where it is typed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from agent.core.host import HostError
from agent.core.model import Key
from agent.core.nodes import told
from agent.web.answers import View
from agent.web.app import Site
from agent.web.beside import beside
from agent.web.consoles import Consoles
from agent.web.deeds import DEEDS, Deed, wish
from agent.web.door import ENTRANCE, Door
from agent.web.doorway import SEE_OTHER, Doorway, admitted, form, head_of, trusted
from agent.web.guard import POLICY
from agent.web.hands import Hands, RefusedError, Wish
from agent.web.pages import place
from agent.web.reading import Reading, Row
from agent.web.views.common import link, word_of

VENDOR = Path(__file__).parent / "static" / "vendor"
"""What npm brings; it may be missing."""
FETCH = "npm ci --omit=dev --prefix agent/web"
PICTURES = 4
"""Pictures of screens that are taken at once."""
FRESH = 1.0
"""Seconds for which a picture is good for whoever else asks."""
_UNAVAILABLE = 503

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(site: Site, door: Door, hands: Hands) -> list[BaseRoute]:
    consoles = Consoles(hands)
    pictures = Pictures(hands)
    word = word_of(site.source.catalogue.machine)
    machine = f"/{word}/{{namespace}}/{{name}}"
    kept = ("GET", "HEAD")
    listed: list[BaseRoute] = [
        Route(ENTRANCE, partial(_entrance, site, door), methods=[*kept, "POST"]),
        WebSocketRoute(f"{machine}/console/line", consoles.console),
        WebSocketRoute(f"{machine}/screen/line", consoles.screen),
    ]
    endpoints: list[tuple[str, Endpoint, tuple[str, ...]]] = [
        (f"{machine}/console", partial(_console, site), kept),
        (f"{machine}/screen", partial(_screen, site), kept),
        (f"{machine}/screen.png", partial(_picture, pictures), kept),
        (f"{machine}/asked/{{operation}}", partial(_asked, site), kept),
    ]
    endpoints += [
        (f"{machine}/{deed.verb}", partial(_deed, site, hands, deed), (*kept, "POST"))
        for deed in DEEDS.values()
    ]
    return listed + [
        Route(path, partial(_for_trusted, endpoint), methods=list(methods))
        for path, endpoint, methods in endpoints
    ]


def behind(site: Site, door: Door, hands: Hands) -> dict[str, Any]:
    """What makes an application one that has all this behind a door."""
    return {
        "middleware": [Middleware(Doorway, door=door)],
        "routes": routes(site, door, hands),
    }


def visitor(request: Request) -> dict[str, Any]:
    """What templates get to know of who asks."""
    return {"trusted": trusted(request)}


async def _for_trusted(endpoint: Endpoint, request: Request) -> Response:
    """The door has looked whether anything is to be done; here somebody only wants to see."""
    if trusted(request):
        return await endpoint(request)
    return RedirectResponse(f"{ENTRANCE}?{urlencode({'next': request.url.path})}", SEE_OTHER)


# -- the entrance -----------------------------------------------------------------------------


async def _entrance(site: Site, door: Door, request: Request) -> Response:
    leads = _within(request.query_params.get("next", "/"))
    wrong = False
    if request.method == "POST":
        fields = await form(request)
        if fields is not None and door.fits(fields.get("token", "")):
            return admitted(door, head_of(request.scope), leads)
        wrong = True
    data = {"wrong": wrong, "next": leads, "known": trusted(request)}
    view = View("enter.html", "Token", data, status=403 if wrong else 200)
    return _private(await site.answer(request, view, None))


def _within(place: str) -> str:
    """An address of this server, whatever it was."""
    parts = urlsplit(place)
    path = "/" + parts.path.replace("\\", "/").lstrip("/")
    return path if path.isprintable() and path.isascii() else "/"


# -- consoles and screens ---------------------------------------------------------------------


async def _console(site: Site, request: Request) -> Response:
    """Its terminal makes styles as it goes, and those of this page alone may be."""
    reading, row = await _machine(site, request)
    nonce = secrets.token_urlsafe(16)
    data = {**_seen(row, "xterm"), "nonce": nonce}
    view = View("console.html", f"Console of {row.label}", data, place=word_of(row.kind))
    response = _private(await site.answer(request, view, reading))
    styles = f"style-src 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'"
    response.headers["Content-Security-Policy"] = POLICY.replace("style-src 'self'", styles)
    return response


async def _screen(site: Site, request: Request) -> Response:
    reading, row = await _machine(site, request)
    view = View(
        "screen.html", f"Screen of {row.label}", _seen(row, "novnc"), place=word_of(row.kind)
    )
    return _private(await site.answer(request, view, reading))


def _seen(row: Row, package: str) -> dict[str, Any]:
    verb = "console" if package == "xterm" else "vnc"
    return {
        **link(row),
        "fetched": (VENDOR / package).is_dir(),
        "fetch": FETCH,
        "command": Wish(verb, Key(row.kind.name, row.namespace, row.name)).command,
    }


class Pictures:
    """Of screens: one at a time of each machine, however many look at it."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._room = asyncio.Semaphore(PICTURES)
        self._taken: dict[Key, asyncio.Task[bytes]] = {}

    async def of(self, machine: Key) -> bytes:
        """May raise what the hands do."""
        taken = self._taken.get(machine)
        if taken is None:
            taken = self._taken[machine] = asyncio.create_task(self._take(machine))
            taken.add_done_callback(lambda _: self._forget(machine))
        return await asyncio.shield(taken)

    async def _take(self, machine: Key) -> bytes:
        async with self._room:
            return await beside(lambda: self._hands.picture(machine), "picture")

    def _forget(self, machine: Key) -> None:
        asyncio.get_running_loop().call_later(FRESH, self._taken.pop, machine, None)


async def _picture(pictures: Pictures, request: Request) -> Response:
    given = request.path_params
    headers = {"Cache-Control": "no-store"}
    try:
        data = await pictures.of(Key("VirtualMachine", given["namespace"], given["name"]))
    except (RefusedError, HostError) as error:
        return PlainTextResponse(f"{error}\n", _UNAVAILABLE, headers)
    return Response(data, media_type="image/png", headers=headers)


# -- what is asked of machines ------------------------------------------------------------------


async def _deed(site: Site, hands: Hands, deed: Deed, request: Request) -> Response:
    """Asks once more; what is sent from there is committed."""
    reading, row = await _machine(site, request)
    machine = Key(row.kind.name, row.namespace, row.name)
    wanted = Wish(deed.verb, machine)
    why = ""
    if request.method == "POST":
        wanted = wish(deed, machine, await form(request) or {})
        try:
            asked = await beside(lambda: hands.ask(wanted), "ask")
        except RefusedError as error:
            why = str(error)
        else:
            words = (word_of(row.kind), row.namespace, row.name, "asked", asked.name)
            return RedirectResponse(place(*words), SEE_OTHER)
    data = {
        **link(row),
        "deed": {"verb": deed.verb, "button": deed.button, "what": deed.what, "force": deed.force},
        "nodes": _nodes(reading) if deed.named else [],
        "node": wanted.node,
        "forced": wanted.force,
        "waits": list(row.waits) if deed.verb == "restart" else [],
        "why": why,
        "command": wanted.command,
    }
    title = f"{deed.button} {row.label}?"
    view = View(
        "deed.html", title, data, place=word_of(row.kind), status=_UNAVAILABLE if why else 200
    )
    return _private(await site.answer(request, view, reading))


async def _asked(site: Site, request: Request) -> Response:
    """What has become of an operation."""
    reading, row = await _machine(site, request)
    catalogue = site.source.catalogue
    name = request.path_params["operation"]
    operation = reading.find(catalogue.kinds["VirtualMachineOperation"], row.namespace, name)
    data = {
        **link(row),
        "operation": name,
        "seen": link(operation) if operation is not None else None,
        "done": operation is not None and operation.phase in ("Completed", "Failed"),
    }
    view = View("asked.html", f"Asked of {row.label}", data, place=word_of(row.kind))
    return _private(await site.answer(request, view, reading))


def _nodes(reading: Reading) -> list[str]:
    return [str(node["name"]) for node in told(reading.agent)]


async def _machine(site: Site, request: Request) -> tuple[Reading, Row]:
    reading = await site.source.current()
    given = request.path_params
    row = reading.find(site.source.catalogue.machine, given["namespace"], given["name"])
    if row is None:
        raise HTTPException(
            404, f"There is no VirtualMachine {given['name']!r} in namespace {given['namespace']}."
        )
    return reading, row


def _private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
