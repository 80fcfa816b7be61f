"""From a view to a response: a page for people, JSON for programs that ask for it. The same view of
the same reading is made once, whoever asks.
"""

from __future__ import annotations

import gzip
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agent.web.pages import Pages

JSON = "application/json"
HTML = "text/html; charset=utf-8"
_SMALL = 1_000
"""Bytes that are not worth packing."""
_KEPT = 200
"""Answers that are remembered."""


@dataclass(frozen=True)
class View:
    """What one address shows. `data` is of JSON's types: programs get just that."""

    template: str
    title: str
    data: Mapping[str, Any]
    more: Mapping[str, Any] = field(default_factory=dict)
    """What only the page needs: the same, made ready to be printed."""
    place: str = ""
    """Which part of the page's navigation it belongs to."""
    status: int = 200


@dataclass
class Answer:
    body: bytes
    kind: str
    tag: str
    status: int = 200
    packed: bytes = field(default=b"", repr=False)

    def response(self, request: Request) -> Response:
        headers = {"ETag": self.tag, "Vary": "Accept, Accept-Encoding, Cookie"}
        if self.status == 200 and self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = self.body
        if len(body) > _SMALL and "gzip" in request.headers.get("accept-encoding", ""):
            self.packed = self.packed or gzip.compress(body, 4, mtime=0)
            body, headers["Content-Encoding"] = self.packed, "gzip"
        return Response(body, self.status, headers, media_type=self.kind)


def wants_json(request: Request) -> bool:
    """True for programs: they name JSON, and no browser does before HTML."""
    accept = request.headers.get("accept", "")
    json_at, html_at = accept.find(JSON), accept.find("text/html")
    return json_at >= 0 and (html_at < 0 or json_at < html_at)


class Answers:
    """Makes them, and remembers the last ones."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._known: OrderedDict[tuple[object, ...], Answer] = OrderedDict()

    def remembered(self, key: tuple[object, ...], make: Callable[[], Answer]) -> Answer:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = make()
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known

    def json(self, view: View) -> Answer:
        body = json.dumps(view.data, ensure_ascii=True).encode() + b"\n"
        return Answer(body, JSON, _tag(body), view.status)

    def page(self, view: View, around: Mapping[str, Any]) -> Answer:
        values = {**around, **view.data, **view.more, "title": view.title, "here": view.place}
        body = self._pages.html(view.template, values).encode()
        return Answer(body, HTML, _tag(body), view.status)


def _tag(body: bytes) -> str:
    return f'W/"{sha256(body).hexdigest()[:24]}"'
