"""Rules about what is downloaded that schemas cannot say. No message holds the address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.addresses import has_host
from agent.core.container_reference import Reference
from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json
from agent.kinds.content import text

_URL = ("spec", "dataSource", "http", "url")
_IMAGE = ("spec", "dataSource", "containerImage", "image")


def address(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    url = text(content, *_URL)
    if url.startswith(("http://", "https://")) and not has_host(url):
        message = (
            "must name a host, with a port up to 65535 or none; in a user or password before it "
            "write / as %2F, : as %3A, @ as %40"
        )
        yield _URL, message


def reference(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    image = text(content, *_IMAGE)
    try:
        if image:
            Reference.parse(image)
    except ValueError as error:
        yield _IMAGE, str(error)


CHECKS: tuple[Check, ...] = (address, reference)
