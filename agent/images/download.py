"""HTTP and HTTPS downloads into the spool."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from urllib3 import BaseHTTPResponse
from urllib3.util import Timeout

from agent.core.image_sources import HttpSource
from agent.images.errors import ImageError, address
from agent.images.partial import PartialSink
from agent.images.request import Client, Reach, Target
from agent.images.spool import Sink
from agent.images.transfer import (
    MAX_REDIRECTS,
    PATIENCE,
    Line,
    Patience,
    Progress,
    Subject,
    Transfer,
    parsed,
)
from agent.images.watch import Watch

__all__ = [
    "MAX_REDIRECTS",
    "PATIENCE",
    "Downloaded",
    "HttpSource",
    "Patience",
    "Progress",
    "download",
    "lined",
    "verify",
]


@dataclass(frozen=True)
class Downloaded:
    """A complete file that the caller owns and removes. `digest` is its SHA-256 in hex."""

    path: Path
    size: int
    digest: str
    resolved: str = ""
    """The reference that means just this container image, where it came from one."""


def download(
    source: HttpSource,
    spool: Path,
    *,
    progress: Progress,
    cancelled: Callable[[], bool],
    limit: int,
    reach: Reach,
    trouble: Callable[[str], None] = lambda what: None,
    patience: Patience = PATIENCE,
    ending: Callable[[], bool] = lambda: False,
) -> Downloaded:
    """Fetch `source` into a new file in `spool`, at most `limit` bytes. Nothing is left there
    when this raises ImageError, but while the program is `ending`: then what has come stays, and
    the next one goes on with it, as after a kill. `trouble` is called with why a try has failed
    that another one follows.

    A dropped connection is resumed where the server can do that. `cancelled` is asked at least
    every 0.2 s once connected, also from a thread of ours.
    """
    expected = {name.lower(): value.lower() for name, value in source.checksums.items()}
    subject = Subject(address(source.url), proven=bool(expected))
    with (
        lined(source.ca_bundle, reach, cancelled, patience) as line,
        PartialSink(spool, limit, {*expected, "sha256"}, source.whole, ending) as sink,
    ):

        def ask(headers: Mapping[str, str]) -> BaseHTTPResponse:
            first = parsed(subject, Target.parse, source.url)
            return line.follow(subject, first, headers, lambda at: _credentials(at, first))[0]

        said = sink.said
        Transfer(
            *(subject, ask, sink, line, progress, trouble),
            validator=said.validator if said else None,
            total=said.total if said else None,
            note=sink.note,
        ).run()
        verify(subject.name, sink, expected)
    return Downloaded(sink.path, sink.size, sink.hashes["sha256"].hexdigest())


def _credentials(target: Target, first: Target) -> Mapping[str, str]:
    return target.authorization or (first.authorization if target.origin == first.origin else {})


@contextmanager
def lined(
    ca_bundle: str | None, reach: Reach, cancelled: Callable[[], bool], patience: Patience
) -> Iterator[Line]:
    """A client that is cut off once `cancelled` says so."""
    timeout = Timeout(connect=patience.connect, read=patience.read)
    context = _tls(ca_bundle)
    with Watch(cancelled) as watch, Client(reach, context, timeout, watch.connected) as client:
        yield Line(client, watch, patience)


def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cadata=ca_bundle)
        except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: not ASCII
            raise ImageError(
                "InvalidCABundle",
                "caBundle holds no certificate that can be read; it must be PEM, in base64",
                retry=False,
            ) from error
    return context


def verify(name: str, sink: Sink, expected: Mapping[str, str]) -> None:
    """ImageError if a file does not have the digests, hex in lower case, that a manifest gives."""
    wrong = [
        f"{algorithm} is {sink.hashes[algorithm].hexdigest()}, not {value}"
        for algorithm, value in sorted(expected.items())
        if sink.hashes[algorithm].hexdigest() != value
    ]
    if wrong:
        raise ImageError(
            "ChecksumMismatch",
            f"{name} is not the file that the manifest describes: {'; '.join(wrong)}",
            retry=False,
        )
