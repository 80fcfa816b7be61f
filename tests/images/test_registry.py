"""Container images: from Debian's registry, and from servers that mean no good."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import tarfile
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.core.image_sources import ContainerSource
from agent.images.download import Downloaded, Progress
from agent.images.errors import CancelledError, ImageError
from agent.images.partial import sweep
from agent.images.registry import pull
from tests.images.conftest import LIMIT, LOOPBACK, MIB, QUICK, never, nothing_left
from tests.images.registry import (
    PASSWORD,
    USER,
    Registry,
    Tokens,
    htpasswd,
    layer,
    link,
    packed,
)
from tests.images.server import Faulty, Handler, Route, endless, redirect, serve, status

DISK = random.Random(3).randbytes(3 * MIB)
DIGEST = hashlib.sha256(DISK).hexdigest()
GOOD = packed([("disk/", b""), ("disk/image.raw", DISK)])
CREDENTIALS = (USER, PASSWORD)
BASIC = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def get(
    image: str,
    spool: Path,
    *,
    limit: int = LIMIT,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = never,
    ending: Callable[[], bool] = never,
    **source: Any,
) -> Downloaded:
    return pull(
        ContainerSource(image, **source),
        spool,
        progress=progress,
        cancelled=cancelled,
        limit=limit,
        reach=LOOPBACK,
        patience=QUICK,
        ending=ending,
    )


def refused(image: str, spool: Path, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        get(image, spool, **options)
    assert nothing_left(spool)
    assert PASSWORD not in str(caught.value)
    return caught.value


# -- Debian's registry ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[Registry]:
    with Registry(folder / "open") as running:
        yield running


def test_the_file_below_disk_arrives_and_its_manifest_is_told(
    registry: Registry, spool: Path
) -> None:
    digest = registry.push("lab/debian", "12", GOOD)
    seen: list[tuple[int, int | None]] = []
    got = pull(
        ContainerSource(registry.image("lab/debian:12")),
        spool,
        progress=lambda done, total: seen.append((done, total)),
        cancelled=never,
        limit=LIMIT,
        reach=LOOPBACK,
    )
    assert got.path.read_bytes() == DISK
    assert (got.size, got.digest) == (len(DISK), DIGEST)
    assert got.resolved == f"{registry.host}/lab/debian:12@{digest}"
    assert list(spool.iterdir()) == [got.path]
    assert (seen[0], seen[-1]) == ((0, len(GOOD)), (len(GOOD), len(GOOD)))


def test_a_digest_means_the_same_whatever_becomes_of_its_tag(
    registry: Registry, spool: Path
) -> None:
    digest = registry.push("moving", "latest", GOOD)
    registry.push("moving", "latest", packed([("disk/other.raw", bytes(MIB))]))
    for reference in (f"moving@{digest}", f"moving:latest@{digest}"):
        got = get(registry.image(reference), spool)
        assert (got.digest, got.resolved) == (DIGEST, registry.image(reference))
    assert get(registry.image("moving"), spool).size == MIB  # without a tag it is the latest


def test_an_index_leads_to_the_image_for_this_platform(registry: Registry, spool: Path) -> None:
    ours = registry.push("index", "ours", GOOD)
    other = registry.push("index", "other", packed([("disk/arm.raw", bytes(MIB))]))
    index = registry.index("index", "1", {"arm64": other, "amd64": ours})
    got = get(registry.image("index:1"), spool)
    assert (got.digest, got.resolved) == (DIGEST, registry.image(f"index:1@{index}"))
    got.path.unlink()
    registry.index("index", "2", {"arm64": other})
    error = refused(registry.image("index:2"), spool)
    assert ("nothing for the platform linux/amd64" in error.message, error.retry) == (True, False)


@pytest.mark.parametrize(
    "layers",
    [
        [layer([("disk/image.raw", DISK)])],
        [layer([("./disk/image.raw", DISK)], format=tarfile.GNU_FORMAT)],
        [packed([("etc/", b""), ("etc/passwd", b"x")]), GOOD, packed([("usr/bin/x", b"x")])],
        [packed([("disk/image.raw", b"older")]), GOOD],
        [packed([("disk/other.raw", b"gone")]), packed([("disk/.wh.other.raw", b"")]), GOOD],
        [packed([("disk/other.raw", b"gone")]), packed([("disk/.wh..wh..opq", b"")]), GOOD],
        [packed([("disk/other.raw", b"gone")]), packed([(".wh.disk", b"")]), GOOD],
        [packed([("disk", link("/etc"))]), GOOD],
        [packed([("disk/deep/other.raw", b"x"), ("disk/to", link("image.raw"))]), GOOD],
        [layer([("disk/" + "n" * 200, DISK)], format=tarfile.GNU_FORMAT)],
        [layer([("disk/" + "n" * 200, DISK)], format=tarfile.PAX_FORMAT)],
    ],
    ids=[
        *("plain", "dotted", "between-others", "replaced", "whiteout", "opaque", "no-folder"),
        *("was-a-link", "beside", "long-name", "long-name-of-pax"),
    ],
)
def test_layers_are_read_as_what_they_come_to(
    registry: Registry, spool: Path, layers: list[bytes]
) -> None:
    registry.push("layers", "1", *layers)
    assert get(registry.image("layers:1"), spool).digest == DIGEST


def test_a_layer_compressed_with_zstd(registry: Registry, spool: Path) -> None:
    from tests.images.test_unpack import zstd_compress

    registry.push("zstd", "1", zstd_compress(gzip.decompress(GOOD)))
    assert get(registry.image("zstd:1"), spool).digest == DIGEST


def test_what_is_not_there_is_asked_for_again(registry: Registry, spool: Path) -> None:
    error = refused(registry.image("nothing:1"), spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)
    assert "404 Not Found" in error.message


def sparse() -> bytes:
    info = tarfile.TarInfo("disk/image.raw")
    info.size = 512
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "disk/image.raw"}
    return layer([("disk/image.raw", _with(info, b"0\n"))], format=tarfile.PAX_FORMAT)


def _with(info: tarfile.TarInfo, _: bytes) -> tarfile.TarInfo:
    info.size = 0
    return info


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (packed([("etc/passwd", b"x")]), "NotAnImage", "no file below /disk"),
        (packed([("disk/", b"")]), "NotAnImage", "no file below /disk"),
        (packed([("diskette/image.raw", DISK)]), "NotAnImage", "no file below /disk"),
        (packed([("disk/deep/image.raw", DISK)]), "NotAnImage", "no file below /disk"),
        (packed([("disk/../etc/x", DISK)]), "NotAnImage", "no file below /disk"),
        (packed([("disk/image.raw", link("/etc/shadow"))]), "NotAnImage", "there is a link"),
        (packed([("disk/i", link("etc/x", tarfile.LNKTYPE))]), "NotAnImage", "there is a link"),
        (packed([("disk", link("/etc"))]), "NotAnImage", "there is a link"),
        (packed([("disk/a", b"x"), ("disk/b", b"x")]), "NotAnImage", "more than one file"),
        (packed([("disk/a", b"x"), ("disk/a", b"y")]), "NotAnImage", "more than one file"),
        (sparse(), "UnsupportedFormat", "sparse file"),
        (b"no archive" * 100, "NotAnImage", "no tar archive"),
        (GOOD[:-1000], "NotAnImage", "damaged or cut off"),
        (layer([("disk/image.raw", DISK)])[:MIB], "NotAnImage", "ends too early"),
    ],
)
def test_what_is_no_such_image_is_refused(
    registry: Registry, spool: Path, content: bytes, reason: str, said: str
) -> None:
    registry.push("wrong", "1", content)
    error = refused(registry.image("wrong:1"), spool)
    assert (error.reason, error.retry) == (reason, False)
    assert said in error.message


def test_two_files_in_two_layers_are_two(registry: Registry, spool: Path) -> None:
    registry.push("two", "1", GOOD, packed([("disk/other.raw", b"x")]))
    assert "more than one file" in refused(registry.image("two:1"), spool).message


@pytest.mark.parametrize(
    "bomb",
    [
        packed([("disk/image.raw", bytes(20 * MIB))]),
        packed([("usr/share/much", bytes(40 * MIB))]),
    ],
    ids=["image", "beside"],
)
def test_a_layer_bomb_stops_at_the_limit(registry: Registry, spool: Path, bomb: bytes) -> None:
    registry.push("bomb", "1", bomb)
    error = refused(registry.image("bomb:1"), spool, limit=4 * MIB)
    assert (error.reason, error.retry) == ("ImageTooLarge", False)


def test_layers_that_are_too_large_are_not_even_asked_for(registry: Registry, spool: Path) -> None:
    registry.push("large", "1", GOOD)
    assert refused(registry.image("large:1"), spool, limit=MIB).reason == "ImageTooLarge"


def test_cancelling_leaves_nothing(registry: Registry, spool: Path) -> None:
    registry.push("cancelled", "1", GOOD)
    seen = threading.Event()
    with pytest.raises(ImageError) as caught:
        pull(
            ContainerSource(registry.image("cancelled:1")),
            spool,
            progress=lambda done, total: seen.set(),
            cancelled=seen.is_set,
            limit=LIMIT,
            reach=LOOPBACK,
        )
    assert caught.value.reason == "Cancelled"
    assert nothing_left(spool)


def test_basic_auth_behind_tls(folder: Path, spool: Path) -> None:
    at = folder / "basic"
    at.mkdir()
    with Registry(at, auth=htpasswd(at), tls=True) as registry:
        registry.push("a/b", "1", GOOD)
        image = registry.image("a/b:1")
        got = get(image, spool, credentials=CREDENTIALS, ca_bundle=registry.ca)
        assert got.digest == DIGEST
        got.path.unlink()
        error = refused(image, spool, ca_bundle=registry.ca)
        assert "imagePullSecret" in error.message
        assert error.retry
        error = refused(image, spool, credentials=(USER, "wrong"), ca_bundle=registry.ca)
        assert "the credentials of imagePullSecret do not open it" in error.message
        error = refused(image, spool, credentials=CREDENTIALS)
        assert "certificate is not trusted" in error.message


def test_tokens_are_fetched_where_the_registry_says(
    folder: Path, spool: Path, server: Faulty
) -> None:
    at = folder / "tokens"
    at.mkdir()
    tokens = Tokens(at, server.url("/token?kept=1"))
    asked: list[dict[str, list[str]]] = []

    def give(handler: Handler) -> None:
        asked.append(parse_qs(urlsplit(handler.path).query))
        if handler.headers.get("Authorization") != BASIC:
            status(401)(handler)
            return
        serve(json.dumps({"token": tokens.token("a/b", "pull")}).encode())(handler)

    server.routes["/token"] = give
    with Registry(at, auth=tokens.setting) as registry:
        registry.authorization = f"Bearer {tokens.token('a/b', 'pull', 'push')}"
        registry.push("a/b", "1", GOOD)
        image = registry.image("a/b:1")
        got = get(image, spool, credentials=CREDENTIALS)
        assert got.digest == DIGEST
        got.path.unlink()
        told = {"kept": ["1"], "service": ["the registry"], "scope": ["repository:a/b:pull"]}
        assert asked == [told]  # one token is enough for all
        assert "token server answered 401" in refused(image, spool).message
        assert "do not open it" in refused(image, spool, credentials=(USER, "x")).message
        registry.authorization = f"Bearer {tokens.token('c', 'pull', 'push')}"
        registry.push("c", "1", GOOD)
        error = refused(registry.image("c:1"), spool, credentials=CREDENTIALS)
        assert "do not open it" in error.message  # the token is for another repository


# -- servers that mean no good ----------------------------------------------------------------


class Fake:
    """A registry whose every answer a test can change."""

    def __init__(self, server: Faulty) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.server_address[1]}"
        self.image = f"{self.host}/a:1"
        self.content: dict[str, Any] = {"schemaVersion": 2, "layers": [self.blob(GOOD)]}
        self.manifest()

    def manifest(self, **content: Any) -> str:
        data = json.dumps({**self.content, **content}).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        for wanted in ("1", digest):
            self.server.routes[f"/v2/a/manifests/{wanted}"] = serve(data)
        return digest

    def blob(self, data: bytes, route: Route | None = None, **more: Any) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.server.routes[f"/v2/a/blobs/{digest}"] = route or serve(data)
        return {"digest": digest, "size": len(data), **more}

    @property
    def sent(self) -> list[tuple[str, str | None]]:
        return [(path, headers.get("Authorization")) for path, headers in self.server.requests]


@pytest.fixture
def fake(server: Faulty) -> Fake:
    return Fake(server)


def asks_for(challenge: str, answer: Route) -> Route:
    def route(handler: Handler) -> None:
        if handler.headers.get("Authorization") is None:
            handler.head(401, WWW_Authenticate=challenge, Content_Length=0)
        else:
            answer(handler)

    return route


def test_what_the_fake_serves_is_an_image(fake: Fake, spool: Path) -> None:
    assert get(fake.image, spool).digest == DIGEST


def cut(data: bytes) -> bytes:
    return data[:-1]


def longer(data: bytes) -> bytes:
    return data + b"x"


def other(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("change", [cut, longer, other])
def test_a_layer_of_another_digest_or_size_is_refused(
    fake: Fake, spool: Path, change: Callable[[bytes], bytes]
) -> None:
    fake.blob(GOOD, serve(change(GOOD)))
    error = refused(fake.image, spool)
    assert (error.reason, error.retry) == ("ChecksumMismatch", False)
    assert "something else than" in error.message


def test_a_layer_without_an_end_is_refused(fake: Fake, spool: Path) -> None:
    fake.blob(GOOD, endless)
    assert refused(fake.image, spool).reason == "ChecksumMismatch"


def test_a_manifest_of_another_digest_is_refused(fake: Fake, spool: Path) -> None:
    digest = fake.manifest(annotations={"a": "b"})
    fake.server.routes[f"/v2/a/manifests/{digest}"] = serve(json.dumps(fake.content).encode())
    error = refused(f"{fake.host}/a@{digest}", spool)
    assert (error.reason, error.retry) == ("ChecksumMismatch", False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"layers": []}, "no layers"),
        ({"layers": "x"}, "no layers"),
        ({"layers": [{"digest": "sha256:../../x", "size": 1}]}, "without a digest"),
        ({"layers": [{"digest": "md5:" + "0" * 32, "size": 1}]}, "without a digest"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "size": -1}]}, "without a digest"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "size": True}]}, "without a digest"),
        ({"layers": [None]}, "without a digest"),
        ({"layers": [{}] * 129}, "at most 128"),
        ({"layers": [{"urls": ["http://127.0.0.1/x"]}]}, "elsewhere"),
        ({"manifests": []}, "nothing for the platform"),
        ({"manifests": [{"platform": "linux"}, 1]}, "nothing for the platform"),
        ({"schemaVersion": 1, "layers": None}, "schema 1"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    fake: Fake, spool: Path, content: dict[str, Any], said: str
) -> None:
    fake.manifest(**content)
    error = refused(fake.image, spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", False)
    assert said in error.message


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"[" * 10**6, "no JSON"), (b"<html>", "no JSON"), (b"[]", "no mapping")],
)
def test_a_manifest_that_is_none_is_refused(
    fake: Fake, spool: Path, data: bytes, said: str
) -> None:
    fake.server.routes["/v2/a/manifests/1"] = serve(data)
    assert said in refused(fake.image, spool).message


def test_a_manifest_without_an_end_is_refused(fake: Fake, spool: Path) -> None:
    fake.server.routes["/v2/a/manifests/1"] = endless
    error = refused(fake.image, spool)
    assert ("more than 4 MiB" in error.message, error.retry) == (True, False)
    assert len(fake.sent) == 1


def test_indexes_that_lead_on_and_on_are_refused(fake: Fake, spool: Path) -> None:
    digest = fake.manifest()
    for number in range(4):
        entry = {"digest": digest, "size": 1}
        digest = fake.manifest(manifests=[entry], annotations={"n": str(number)})
    assert "too often" in refused(fake.image, spool).message


def test_a_layer_that_breaks_off_is_gone_on_with(fake: Fake, spool: Path) -> None:
    asked: list[str | None] = []

    def route(handler: Handler) -> None:
        asked.append(handler.headers.get("Range"))
        start = int((asked[-1] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if asked[-1]:
            place = f"bytes {start}-{len(GOOD) - 1}/{len(GOOD)}"
            handler.head(206, Content_Length=len(GOOD) - start, Content_Range=place)
        else:
            handler.head(200, Content_Length=len(GOOD))
        handler.wfile.write(GOOD[start : start + 2 * MIB])
        handler.drop()

    fake.blob(GOOD, route)
    assert get(fake.image, spool).digest == DIGEST
    assert asked == [None, f"bytes={2 * MIB}-"]


def test_an_agent_goes_on_with_the_layer_that_a_killed_one_has_begun(
    fake: Fake, spool: Path, tmp_path: Path
) -> None:
    asked: list[str | None] = []
    left = tmp_path / "left"
    ranged = in_ranges(GOOD, asked)
    fake.blob(GOOD, ranged)

    def look(done: int, _total: int | None) -> None:
        if done > 2 * MIB and not left.exists():
            shutil.copytree(spool, left)

    get(fake.image, spool, progress=look)
    sweep(left)
    del asked[:]
    got = get(fake.image, left)
    assert got.digest == DIGEST
    (begun,) = asked
    assert int((begun or "").removeprefix("bytes=").removesuffix("-")) > MIB
    got.path.unlink()
    assert nothing_left(left)


@pytest.mark.parametrize("ending", [True, False])
def test_a_layer_that_has_begun_stays_only_where_the_agent_ends(
    fake: Fake, spool: Path, ending: bool
) -> None:
    come = [0]
    with pytest.raises(CancelledError):
        get(
            fake.image,
            spool,
            progress=lambda done, _total: come.__setitem__(0, done),
            cancelled=lambda: come[0] > MIB,
            ending=lambda: ending,
        )
    assert nothing_left(spool) is not ending


def in_ranges(data: bytes, asked: list[str | None]) -> Route:
    def route(handler: Handler) -> None:
        asked.append(handler.headers.get("Range"))
        start = int((asked[-1] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        place = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        handler.head(206 if start else 200, Content_Length=len(data) - start, **place)
        handler.wfile.write(data[start:])

    return route


def test_redirects_of_layers_carry_no_credentials(fake: Fake, spool: Path) -> None:
    with Faulty() as elsewhere:
        elsewhere.routes["/there"] = serve(GOOD)
        fake.blob(GOOD, asks_for('Basic realm="x"', redirect(elsewhere.url("/there"))))
        assert get(fake.image, spool, credentials=CREDENTIALS).digest == DIGEST
        assert [headers.get("Authorization") for _, headers in elsewhere.requests] == [None]
    assert [sent for _, sent in fake.sent] == [None, None, BASIC]


def test_a_log_in_that_a_redirect_leads_to_is_none(fake: Fake, spool: Path) -> None:
    with Faulty() as elsewhere:
        realm = elsewhere.url("/token")
        challenge = f'Bearer realm="{realm}",service="x"'
        elsewhere.routes["/there"] = asks_for(challenge, status(200))
        fake.blob(GOOD, redirect(elsewhere.url("/there")))
        error = refused(fake.image, spool, credentials=CREDENTIALS)
        assert "401 Unauthorized" in error.message
        sent = [headers.get("Authorization") for _, headers in elsewhere.requests]
        assert sent == [None] * len(sent)
        assert "/token" not in [path for path, _ in elsewhere.requests]


def test_redirects_of_token_servers_carry_no_credentials(fake: Fake, spool: Path) -> None:
    with Faulty() as tokens, Faulty() as elsewhere:
        elsewhere.routes["/token"] = serve(b'{"access_token": "a-token"}')
        tokens.routes["/token"] = redirect(elsewhere.url("/token"))
        challenge = f'Bearer realm="{tokens.url("/token")}",error="x, y=z"'
        manifest = fake.server.routes["/v2/a/manifests/1"]
        fake.server.routes["/v2/a/manifests/1"] = asks_for(challenge, manifest)
        assert get(fake.image, spool, credentials=CREDENTIALS).digest == DIGEST
        assert [headers.get("Authorization") for _, headers in tokens.requests] == [BASIC]
        assert [headers.get("Authorization") for _, headers in elsewhere.requests] == [None]
    assert [sent for _, sent in fake.sent] == [None, "Bearer a-token", "Bearer a-token"]


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        ("", "of a kind that is not known"),
        ("Negotiate", "of a kind that is not known"),
        ("Basic realm=x", "asks for user and password"),
        ("Bearer service=x", "neither http nor https"),
        ('Bearer realm="file:///etc/passwd"', "neither http nor https"),
        ('Bearer realm="http://169.254.169.254/latest"', "no image is fetched from"),
    ],
)
def test_a_log_in_that_cannot_be(fake: Fake, spool: Path, challenge: str, said: str) -> None:
    fake.server.routes["/v2/a/manifests/1"] = asks_for(challenge, status(200))
    assert said in refused(fake.image, spool).message


@pytest.mark.parametrize(
    "answer",
    [
        serve(b"no token"),
        serve(b"[]"),
        serve(b'{"token": 1}'),
        serve(b'{"token": "two\\r\\nlines: x"}'),
        endless,
        status(503),
    ],
)
def test_a_token_server_that_gives_none(fake: Fake, spool: Path, answer: Route) -> None:
    fake.server.routes["/token"] = answer
    challenge = f'Bearer realm="{fake.server.url("/token")}"'
    fake.server.routes["/v2/a/manifests/1"] = asks_for(challenge, status(200))
    error = refused(fake.image, spool, credentials=CREDENTIALS)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)
    assert "token server" in error.message


def test_redirects_in_a_circle_end(fake: Fake, spool: Path) -> None:
    fake.server.routes["/v2/a/manifests/1"] = redirect("/v2/a/manifests/1")
    assert "redirects" in refused(fake.image, spool).message
    assert len(fake.sent) == 6


def test_credentials_never_go_without_tls_to_another_host(spool: Path) -> None:
    """Only a registry of this machine's is asked by http at all."""
    error = refused("registry.invalid/a:1", spool, credentials=CREDENTIALS)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)
    assert "registry.invalid is not known" in error.message


@pytest.mark.parametrize("size", [MIB + 1, 8 * MIB])
def test_headers_of_any_size_are_not_taken_into_memory(fake: Fake, spool: Path, size: int) -> None:
    entries: list[tuple[str, bytes | tarfile.TarInfo]] = [("disk/" + "n" * size, b"x")]
    content = layer(entries, format=tarfile.GNU_FORMAT)
    fake.manifest(layers=[fake.blob(gzip.compress(content))])
    assert "header of more than 1 MiB" in refused(fake.image, spool).message


def test_a_layer_that_is_damaged_anywhere_is_told(fake: Fake, spool: Path) -> None:
    content = layer([("disk/" + "n" * 200, b"x" * 600)], format=tarfile.PAX_FORMAT)
    for place in (0, 130, 156, 510, 520, 515):
        broken = bytearray(content)
        broken[place] ^= 0x7F
        fake.manifest(layers=[fake.blob(bytes(broken))])
        try:
            get(fake.image, spool).path.unlink()
        except ImageError as error:
            assert error.reason == "NotAnImage"  # noqa: PT017
        assert nothing_left(spool)
