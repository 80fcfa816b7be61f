"""The table of addresses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from agent.core.schema import Kind
from agent.gitrepo.repository import RepositoryError
from agent.reconcile.beats import silence
from agent.web import looking
from agent.web.answers import Answer, Answers, View, wants_json
from agent.web.guard import Headers
from agent.web.live import Live
from agent.web.metrics import CONTENT_TYPE, metrics
from agent.web.pages import Pages
from agent.web.reading import Reading
from agent.web.source import Source
from agent.web.views.common import navigation
from agent.web.views.fleet import fleet
from agent.web.views.listing import Ask, listing
from agent.web.views.log import log
from agent.web.views.one import one
from agent.web.views.plans import plan, plans, trash

STATIC = Path(__file__).parent / "static"
AGE = 30.0
"""Seconds for which a page that was made is good, for the ages on it."""

Made = Callable[[Reading], View | Awaitable[View]]


@dataclass
class Site:
    """What answers share."""

    source: Source
    forge: str = ""
    """The pattern of a file's address on the forge, or nothing."""
    clock: Callable[[], float] = time.time
    visitor: Callable[[Request], Mapping[str, Any]] = lambda request: {}
    """What pages get beside their views, as by who asks: `trusted`, and the like."""
    answers: Answers = field(init=False)

    def __post_init__(self) -> None:
        self.answers = Answers(Pages(self.clock))

    async def answer(self, request: Request, view: View, reading: Reading | None) -> Response:
        """A view as who asks wants it."""
        if wants_json(request):
            return self.answers.json(view).response(request)
        return self.answers.page(view, self._around(request, reading)).response(request)

    async def shown(self, request: Request, make: Callable[[Reading], View]) -> Response:
        """A view that is made of a reading alone, by its address."""
        reading = await self.source.current()
        as_json = wants_json(request)
        around = self._around(request, reading)
        bucket = int(self.clock() // AGE)
        key = (reading.commit, reading.main, str(request.url.path), request.url.query, as_json)
        more = () if as_json else (bucket, around["trouble"], around["silence"], self._who(request))

        def made() -> Answer:
            view = make(reading)
            return self.answers.json(view) if as_json else self.answers.page(view, around)

        return self.answers.remembered((*key, *more), made).response(request)

    def _who(self, request: Request) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((name, repr(value)) for name, value in self.visitor(request).items()))

    def _around(self, request: Request, reading: Reading | None) -> dict[str, Any]:
        source = self.source
        counts = {name: len(rows) for name, rows in reading.of_kind.items()} if reading else {}
        return {
            "trusted": False,
            **self.visitor(request),
            "reading": reading,
            "trouble": source.trouble,
            "silence": silence(source.beat, self.clock()) if reading and reading.commit else "",
            "navigation": navigation(source.catalogue, counts),
            "forge": self.forge,
        }


def application(
    site: Site,
    *,
    middleware: Sequence[Middleware] = (),
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """`middleware` stands before all else, `routes` before the page's own."""
    own = [
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/live", Live(site.source).__call__),
        Route("/healthz", _healthy),
        Route("/metrics", partial(_metrics, site)),
        Route("/readyz", partial(_ready, site)),
        Route("/", partial(_fleet, site)),
        Route("/plans", partial(_plain, site, plans)),
        Route("/plans/{ref:path}", partial(_plan, site)),
        Route("/trash", partial(_plain, site, trash)),
        Route("/history", partial(_log, site)),
        Route("/{word}", partial(_list, site)),
        Route("/{word}/{name}", partial(_one, site)),
        Route("/{word}/{namespace}/{name}", partial(_one, site)),
    ]
    return Starlette(
        routes=[*routes, *own],
        middleware=[Middleware(Headers), *middleware],
        lifespan=partial(_lifespan, site.source),
        exception_handlers={
            HTTPException: partial(_refused, site),
            RepositoryError: partial(_broken, site),
        },
    )


@contextlib.asynccontextmanager
async def _lifespan(source: Source, _: Starlette) -> AsyncIterator[None]:
    following = source.following()
    try:
        yield
    finally:
        following.cancel()
        await source.close()


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})


async def _ready(site: Site, _: Request) -> Response:
    """Ready once there is something to show."""
    try:
        await site.source.current()
    except RepositoryError as error:
        return PlainTextResponse(f"{error}\n", 503)
    return PlainTextResponse("ok\n")


async def _metrics(site: Site, _: Request) -> Response:
    source = site.source
    try:
        reading = await source.current()
    except RepositoryError:  # that it cannot be read is worth knowing
        reading = Reading(source.catalogue)
    return Response(metrics(reading, source.beat, source.trouble), media_type=CONTENT_TYPE)


async def _plain(site: Site, make: Callable[[Reading], View], request: Request) -> Response:
    return await site.shown(request, make)


async def _fleet(site: Site, request: Request) -> Response:
    reading = await site.source.current()
    recent = await site.source.git(partial(looking.recent, reading))
    return await site.shown(request, lambda current: fleet(current, recent))


async def _list(site: Site, request: Request) -> Response:
    kind = _kind(site, request)
    ask = Ask.of(request.query_params)
    return await site.shown(request, lambda reading: listing(reading, kind, ask))


async def _one(site: Site, request: Request) -> Response:
    kind = _kind(site, request)
    namespace = request.path_params.get("namespace", "default" if kind.namespaced else "")
    name = request.path_params["name"]
    reading = await site.source.current()
    row = reading.find(kind, namespace, name)
    if row is None or (namespace and not kind.namespaced):
        where = f" in namespace {namespace}" if namespace else ""
        raise HTTPException(404, f"There is no {kind.name} {name!r}{where}.")
    found = await site.source.git(partial(looking.about, reading, row))
    view = one(reading, row, found, site.forge)
    return await site.answer(request, view, reading)


async def _plan(site: Site, request: Request) -> Response:
    ref = request.path_params["ref"]
    reading = await site.source.current()
    blob = reading.plans.get(ref)
    if blob is None:
        raise HTTPException(404, f"There is no plan of {ref!r}: it is merged, gone, or too old.")
    text = await site.source.git(lambda repository: repository.read(blob))
    return await site.answer(request, plan(ref, text.decode(errors="replace")), reading)


async def _log(site: Site, request: Request) -> Response:
    reading = await site.source.current()
    before = request.query_params.get("before", "")
    commits, changes = await site.source.git(partial(looking.log, reading, before))
    return await site.answer(request, log(commits, changes, request.query_params), reading)


def _kind(site: Site, request: Request) -> Kind:
    word = request.path_params["word"]
    try:
        return site.source.catalogue.find(word)
    except ValueError as error:
        raise HTTPException(404, str(error)) from error


async def _refused(site: Site, request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    view = View("error.html", str(status), {"status": status, "message": detail}, status=status)
    return await site.answer(request, view, site.source.reading)


async def _broken(site: Site, request: Request, error: Exception) -> Response:
    view = View("error.html", "503", {"status": 503, "message": str(error)}, status=503)
    return await site.answer(request, view, site.source.reading)
