"""Container images from a registry, by the protocol of Docker and OCI."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from urllib3 import BaseHTTPResponse

from agent.core.container_reference import Reference
from agent.core.image_sources import ContainerSource
from agent.core.model import Json
from agent.images.download import Downloaded, lined
from agent.images.errors import ImageError
from agent.images.layers import Search
from agent.images.manifest import (
    ACCEPT,
    LARGEST,
    MAX_INDEXES,
    Descriptor,
    Manifest,
    ManifestError,
    digest_of,
    read,
)
from agent.images.partial import PartialSink
from agent.images.request import DroppedError, Reach, Target, phrase
from agent.images.spool import Sink, check_limit
from agent.images.transfer import PATIENCE, Line, Patience, Progress, Subject, Transfer, parsed

LARGEST_TOKEN = 64 * 1024
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][-A-Za-z]*)(?=\s+[A-Za-z]+\s*=|\s*(?:,|$))")
_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
_TOKEN = re.compile(r"[!-~]+")
_LOCAL = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
"""Registries of this machine's, which may do without TLS, as for other clients."""


def pull(
    source: ContainerSource,
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
    """Fetch the file below /disk of a container image into a new file in `spool`. Neither that nor
    all layers together have more than `limit` bytes. Nothing is left there when this raises
    ImageError, but while the program is `ending`: then what has come of a layer stays, and the next
    one goes on with it, as after a kill. `resolved` of the result is the reference of just the
    manifest that `source` led to.
    """
    subject = Subject(source.image)
    try:
        reference = Reference.parse(source.resolved or source.image)
    except ValueError as error:
        raise subject.failed(f"the reference {error}", retry=False) from error
    with lined(source.ca_bundle, reach, cancelled, patience) as line:
        registry = _Registry(source, reference, line, spool, trouble, ending)
        digest, manifest = registry.manifest()
        check_limit(sum(layer.size for layer in manifest.layers), limit)
        search = Search(spool, limit, cancelled)
        try:
            for layer in registry.layers(manifest, progress):
                search.look_through(layer)
            file = search.result()
            return Downloaded(file.path, file.size, file.digest, reference.pinned(digest))
        except BaseException:
            if search.found is not None:
                search.found.path.unlink(missing_ok=True)
            raise


class _Registry:
    """One repository of a registry, logged in to as it asks for it."""

    def __init__(
        self,
        source: ContainerSource,
        reference: Reference,
        line: Line,
        spool: Path,
        trouble: Callable[[str], None],
        ending: Callable[[], bool],
    ) -> None:
        self._name, self._credentials = source.image, source.credentials
        self._source, self._reference = source, reference
        self._line, self._spool, self._trouble = line, spool, trouble
        self._ending = ending
        self._schemes = ("https", "http") if _LOCAL.fullmatch(reference.host) else ("https",)
        self._authorization: Mapping[str, str] = {}

    def manifest(self) -> tuple[str, Manifest]:
        """The digest of what the reference names, and the manifest for our platform."""
        wanted, named = self._reference.wanted, ""
        for _ in range(MAX_INDEXES + 1):
            data = self._document(wanted)
            digest = digest_of(data, wanted if ":" in wanted else "sha256:")
            if ":" in wanted and digest != wanted:
                raise self._other(f"the manifest {wanted}", f"digest is {digest}")
            named = named or digest
            try:
                manifest = read(data)
            except ManifestError as error:
                raise Subject(self._name).failed(str(error), retry=False) from error
            if manifest.chosen is None:
                return named, manifest
            wanted = manifest.chosen.digest
        raise Subject(self._name).failed("its indexes lead to others too often", retry=False)

    def layers(self, manifest: Manifest, progress: Progress) -> Iterator[Path]:
        """Its layers, the uppermost first, each there until the next one is asked for."""
        done, total = 0, sum(layer.size for layer in manifest.layers)
        for layer in reversed(manifest.layers):
            path = self._layer(layer, partial(_beside, progress, done, total))
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)
            done += layer.size

    def _document(self, wanted: str) -> bytes:
        subject = Subject(self._name, fixed=":" in wanted)
        with _larger_is(subject.failed("its manifest has more than 4 MiB", retry=False)):
            sink = Sink(self._spool, LARGEST)
            self._fetch(subject, f"manifests/{wanted}", sink, accept=ACCEPT)
        try:
            return sink.path.read_bytes()
        finally:
            sink.path.unlink(missing_ok=True)

    def _layer(self, layer: Descriptor, progress: Progress) -> Path:
        subject = Subject(self._name, proven=True, fixed=True)
        with _larger_is(self._other(layer.digest, f"it has more than {layer.size} bytes")):
            part = f"{self._source.whole} {layer.digest}"  # whoever else wants it has his own
            sink = PartialSink(self._spool, layer.size, {layer.algorithm}, part, self._ending)
            self._fetch(subject, f"blobs/{layer.digest}", sink, progress=progress)
        found = sink.hashes[layer.algorithm].hexdigest()
        if (sink.size, found) == (layer.size, layer.hex):
            return sink.path
        sink.path.unlink(missing_ok=True)
        what = f"it has {sink.size} bytes, its {layer.algorithm} is {found}"
        raise self._other(f"the layer {layer.digest} of {layer.size} bytes", what)

    def _fetch(
        self,
        subject: Subject,
        path: str,
        sink: Sink,
        *,
        accept: str = "*/*",
        progress: Progress = lambda here, total: None,
    ) -> None:
        def ask(headers: Mapping[str, str]) -> BaseHTTPResponse:
            return self._ask(subject, path, {"Accept": accept, **headers})

        with sink:
            transfer = Transfer(subject, ask, sink, self._line, progress, self._trouble)
            if isinstance(sink, PartialSink):
                transfer.total = sink.said.total if sink.said else None
                transfer.note = partial(_noted, sink, path)
            transfer.run()

    def _other(self, asked: str, got: str) -> ImageError:
        message = f"{self._name}: the registry gives something else than {asked}: {got}"
        return ImageError("ChecksumMismatch", message, retry=False)

    # -- logging in -----------------------------------------------------------------------------

    def _ask(self, subject: Subject, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        response, at, own = self._answer(subject, path, headers)
        if response.status == 401 and own:
            self._log_in(subject, at, response.headers.get("WWW-Authenticate", ""))
            response, _, own = self._answer(subject, path, headers)
        if response.status in (401, 403) and own:
            raise subject.failed(self._refused(f"the registry answered {phrase(response.status)}"))
        return response

    def _answer(
        self, subject: Subject, path: str, headers: Mapping[str, str]
    ) -> tuple[BaseHTTPResponse, Target, bool]:
        """What is answered, by whom, and whether that is the registry itself, and nobody that it
        sends us to.
        """
        name = f"{self._reference.host}/v2/{self._reference.repository}/{path}"
        for scheme in self._schemes:
            first = parsed(subject, Target.parse, f"{scheme}://{name}")
            try:
                told = partial(self._told, first)
                response, at = self._line.follow(subject, first, headers, told)
            except DroppedError:
                if scheme == self._schemes[-1]:
                    raise
                continue
            self._schemes = (scheme,)
            return response, at, at.origin == first.origin
        raise AssertionError("there is a scheme")

    def _told(self, first: Target, at: Target) -> Mapping[str, str]:
        return self._authorization if at.origin == first.origin else {}

    def _log_in(self, subject: Subject, registry: Target, challenges: str) -> None:
        """Answer what the registry itself asked for."""
        asked = _challenges(challenges)
        if "bearer" in asked:
            token = self._token(subject, registry, asked["bearer"])
            self._authorization = {"Authorization": f"Bearer {token}"}
        elif "basic" in asked and self._credentials is not None:
            self._authorization = self._basic()
        elif "basic" in asked:
            raise subject.failed(self._refused("the registry asks for user and password"))
        else:
            raise subject.failed("the registry asks for a log-in of a kind that is not known here")

    def _token(self, subject: Subject, registry: Target, parameters: Mapping[str, str]) -> str:
        """From whoever the registry says gives tokens out, which gets the credentials, as with
        other clients: so it has to be asked by TLS, unless the registry does without.
        """
        realm = parsed(subject, Target.parse, parameters.get("realm", ""))
        if (registry.scheme, realm.scheme) == ("https", "http"):
            raise subject.failed(
                "the registry sends for a token to an address without TLS", retry=False
            )
        asked = {"scope": f"repository:{self._reference.repository}:pull"}
        if parameters.get("service"):
            asked["service"] = parameters["service"]
        joined = f"{realm.bare}{'&' if '?' in realm.bare else '?'}{urlencode(asked)}"
        first = parsed(subject, Target.parse, joined)
        basic = self._basic() if self._credentials is not None else {}
        response, _ = self._line.follow(
            subject, first, {}, lambda at: basic if at.origin == first.origin else {}
        )
        if response.status in (400, 401, 403):
            what = f"the registry's token server answered {phrase(response.status)}"
            raise subject.failed(self._refused(what))
        if response.status != 200:
            raise DroppedError(f"the registry's token server answered {phrase(response.status)}")
        return _token_of(subject, self._line.text(response, LARGEST_TOKEN))

    def _basic(self) -> Mapping[str, str]:
        user, password = self._credentials or ("", "")
        pair = b64encode(f"{user}:{password}".encode()).decode("ascii")
        return {"Authorization": f"Basic {pair}"}

    def _refused(self, what: str) -> str:
        if self._credentials is None:
            return f"{what}: name the Secret with its credentials in imagePullSecret"
        return f"{what}: the credentials of imagePullSecret do not open it"


def _noted(sink: PartialSink, path: str, _: str | None, total: int | None) -> None:
    """Under that path there is never anything else."""
    sink.note(path, total)


def _beside(progress: Progress, before: int, total: int, here: int, _: int | None) -> None:
    progress(before + here, total)


@contextmanager
def _larger_is(error: ImageError) -> Iterator[None]:
    """What is larger than it may be is no image that is too large, but this error."""
    try:
        yield
    except ImageError as too_large:
        if too_large.reason != "ImageTooLarge":
            raise
        raise error from too_large


def _token_of(subject: Subject, body: bytes) -> str:
    try:
        parsed_body: Json = json.loads(body)
    except (ValueError, RecursionError):
        parsed_body = None
    given = parsed_body if isinstance(parsed_body, dict) else {}
    token = given.get("token") or given.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise subject.failed("the registry's token server answered something that is no token")
    return token


def _challenges(header: str) -> Mapping[str, Mapping[str, str]]:
    """What a WWW-Authenticate header asks for: parameters by scheme, both in lower case."""
    starts = list(_SCHEME.finditer(header))
    ends = [match.start() for match in starts[1:]] + [len(header)]
    return {
        match[1].lower(): {
            key.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for key, quoted, plain in _PARAMETER.findall(header[match.end() : end])
        }
        for match, end in zip(starts, ends, strict=False)
    }
