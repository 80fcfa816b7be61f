"""A page over a repository, as programs see it: no browser, no socket."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import Repository
from agent.web.app import Site, application
from agent.web.collector import Terms
from agent.web.source import Source
from tests.fleets import CATALOGUE, Fleet

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@contextmanager
def opened(
    fleet: Fleet,
    *,
    forge: str = "",
    repository: Callable[[], Repository] | None = None,
    terms: Terms | None = None,
    clock: Callable[[], float] | None = None,
) -> Iterator[TestClient]:
    """A client of a page that shows the fleet. What is pushed meanwhile is seen after `look`."""
    source = Source(
        repository or (lambda: LocalRepository(fleet.root)), terms or Terms(), CATALOGUE
    )
    site = Site(source, forge, clock or time.time)
    with TestClient(application(site), raise_server_exceptions=True) as client:
        client.headers.update(HTML)
        yield client


def look(client: TestClient) -> None:
    """Have the page see what is new."""
    source: Source = client.app.routes[-1].endpoint.args[0].source  # type: ignore[attr-defined]
    assert client.portal is not None

    async def now() -> None:
        await source.look()

    client.portal.call(now)


def data(client: TestClient, address: str) -> Any:
    """What programs get there."""
    answer = client.get(address, headers=JSON)
    assert answer.headers["content-type"].startswith("application/json"), answer.text
    return answer.json()


def names(client: TestClient, address: str) -> list[str]:
    """The objects of a list, in its order."""
    return [each["name"] for each in data(client, address)["items"]]


def words(html: str) -> str:
    """What somebody reads of a page."""
    main = html.partition("<main")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())
