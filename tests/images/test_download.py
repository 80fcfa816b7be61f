from __future__ import annotations

import base64
import hashlib
import os
import random
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from agent.core.image_sources import HttpSource
from agent.images import download as module
from agent.images.download import Downloaded, Patience, download
from agent.images.errors import ImageError, address
from tests.images.conftest import LIMIT, LOOPBACK, MIB, QUICK, never, nothing_left
from tests.images.server import (
    Faulty,
    Handler,
    Route,
    endless,
    hangs_after,
    in_turn,
    ranged,
    redirect,
    serve,
    status,
    stops_at,
)

CONTENT = random.Random(1).randbytes(3 * MIB)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def get(url: str, spool: Path, *, limit: int = LIMIT, **source: object) -> Downloaded:
    return download(
        HttpSource(url, **source),  # type: ignore[arg-type]
        spool,
        progress=lambda done, total: None,
        cancelled=never,
        limit=limit,
        reach=LOOPBACK,
        patience=QUICK,
    )


def refused(url: str, spool: Path, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        get(url, spool, **options)  # type: ignore[arg-type]
    assert nothing_left(spool)
    return caught.value


def test_a_file_arrives_whole_private_and_with_progress(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = serve(CONTENT)
    seen: list[tuple[int, int | None]] = []
    got = download(
        HttpSource(server.url("/disk")),
        spool,
        progress=lambda done, total: seen.append((done, total)),
        cancelled=never,
        limit=LIMIT,
        reach=LOOPBACK,
    )
    assert got.path.read_bytes() == CONTENT
    assert (got.size, got.digest) == (len(CONTENT), DIGEST)
    assert stat.S_IMODE(got.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_zeros_are_kept_as_holes(server: Faulty, spool: Path) -> None:
    content = b"boot" + bytes(8 * MIB) + b"end" + bytes(MIB)
    server.routes["/disk"] = serve(content)
    got = get(server.url("/disk"), spool)
    assert got.path.read_bytes() == content
    assert got.path.stat().st_blocks * 512 < MIB


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_each_checksum_is_verified_in_either_case(server: Faulty, spool: Path, name: str) -> None:
    server.routes["/disk"] = serve(CONTENT)
    right = hashlib.new(name, CONTENT).hexdigest().upper()
    assert get(server.url("/disk"), spool, checksums={name: right}).digest == DIGEST
    wrong = ("0" if right[0] != "0" else "1") + right[1:]
    other = tmp_spool(spool)
    error = refused(server.url("/disk"), other, checksums={name: wrong})
    assert (error.reason, error.retry) == ("ChecksumMismatch", False)
    assert right.lower() in error.message


def tmp_spool(spool: Path) -> Path:
    return spool.with_name("other")


def test_one_wrong_checksum_among_right_ones_is_enough(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = serve(CONTENT)
    error = refused(server.url("/disk"), spool, checksums={"sha256": DIGEST, "md5": "0" * 32})
    assert error.reason == "ChecksumMismatch"
    assert "sha256" not in error.message


def test_streebog_is_verified_or_refused_before_the_download(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = serve(CONTENT)
    error = refused(server.url("/disk"), spool, checksums={"streebog256": "0" * 64})
    known = {"streebog256", "md_gost12_256"} & hashlib.algorithms_available
    assert error.reason == ("ChecksumMismatch" if known else "ChecksumNotSupported")
    assert len(server.requests) == (1 if known else 0)
    assert not error.retry


def test_a_missing_file_is_not_asked_for_again_at_once(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = status(404)
    error = refused(server.url("/disk?token=hidden", "me:secret@"), spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)
    assert "404" in error.message
    assert "/disk" in error.message
    assert "hidden" not in error.message
    assert "secret" not in error.message
    assert len(server.requests) == 1


def test_an_error_of_the_server_may_pass(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = in_turn(status(500), status(503), serve(CONTENT))
    assert get(server.url("/disk"), spool).digest == DIGEST
    assert len(server.requests) == 3


def test_an_error_of_the_server_that_stays(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = status(500)
    error = refused(server.url("/disk"), spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)
    assert len(server.requests) == QUICK.attempts


def test_nobody_listens(spool: Path) -> None:
    with Faulty() as gone:
        url = gone.url("/disk")
    error = refused(url, spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)


def test_a_dropped_download_goes_on_where_it_broke(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = ranged(CONTENT, MIB + 5)
    got = get(server.url("/disk"), spool, checksums={"sha256": DIGEST})
    assert got.path.read_bytes() == CONTENT
    ranges = [headers.get("Range") for _, headers in server.requests]
    assert ranges == [None, f"bytes={MIB + 5}-", f"bytes={2 * (MIB + 5)}-"]


def test_progress_that_lasts_renews_the_patience(server: Faulty, spool: Path) -> None:
    content = random.Random(3).randbytes(8 * MIB)
    server.routes["/disk"] = ranged(content, MIB)
    assert get(server.url("/disk"), spool).digest == hashlib.sha256(content).hexdigest()
    assert len(server.requests) == 8 > QUICK.attempts


def test_a_file_that_changed_in_between_is_taken_from_its_start(
    server: Faulty, spool: Path
) -> None:
    other = random.Random(2).randbytes(2 * MIB)
    server.routes["/disk"] = in_turn(ranged(CONTENT, MIB), ranged(other, len(other)))
    assert get(server.url("/disk"), spool).path.read_bytes() == other


@pytest.mark.parametrize("content_range", ["bytes 0-9/10", "nonsense", ""])
def test_a_range_that_was_not_asked_for_starts_over(
    server: Faulty, spool: Path, content_range: str
) -> None:
    def lies(handler: Handler) -> None:
        handler.head(206, Content_Length=10, Content_Range=content_range)
        handler.wfile.write(b"0123456789")

    server.routes["/disk"] = in_turn(ranged(CONTENT, MIB), lies, serve(CONTENT))
    assert get(server.url("/disk"), spool).digest == DIGEST


def test_an_unsatisfiable_range_starts_over(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = in_turn(ranged(CONTENT, MIB), status(416), serve(CONTENT))
    assert get(server.url("/disk"), spool).digest == DIGEST


def test_a_dropped_download_without_ranges_starts_over(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = in_turn(stops_at(CONTENT, MIB), serve(CONTENT))
    assert get(server.url("/disk"), spool).path.read_bytes() == CONTENT
    assert "Range" not in server.requests[1][1]


def test_a_download_that_always_drops_fails(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = stops_at(CONTENT, MIB)
    error = refused(server.url("/disk"), spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", True)
    assert len(server.requests) == QUICK.attempts


def test_a_length_that_promises_too_much_fails(server: Faulty, spool: Path) -> None:
    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT) + 100)
        handler.wfile.write(CONTENT)

    server.routes["/disk"] = route
    assert refused(server.url("/disk"), spool).reason == "ImagePullFailed"


def test_a_length_that_promises_too_little_gives_another_checksum(
    server: Faulty, spool: Path
) -> None:
    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=1000)
        handler.wfile.write(CONTENT)

    server.routes["/disk"] = route
    error = refused(server.url("/disk"), spool, checksums={"sha256": DIGEST})
    assert error.reason == "ChecksumMismatch"


def test_a_silent_server_is_given_up(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = hangs_after(b"some", threading.Event())
    with pytest.raises(ImageError) as caught:
        download(
            HttpSource(server.url("/disk")),
            spool,
            progress=lambda done, total: None,
            cancelled=never,
            limit=LIMIT,
            reach=LOOPBACK,
            patience=Patience(read=0.05, attempts=2, pause=0.001),
        )
    assert caught.value.reason == "ImagePullFailed"
    assert nothing_left(spool)


def test_a_server_that_dribbles_its_head_is_given_up(server: Faulty, spool: Path) -> None:
    """Each byte comes in time, and the head never ends."""

    def route(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Head: ")
        while not handler.server.released.wait(0.01):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    server.routes["/disk"] = route
    with pytest.raises(ImageError, match="no answer in time") as caught:
        download(
            HttpSource(server.url("/disk")),
            spool,
            progress=lambda done, total: None,
            cancelled=never,
            limit=LIMIT,
            reach=LOOPBACK,
            patience=Patience(connect=0.1, window=0.1, attempts=2, pause=0.001),
        )
    assert caught.value.retry
    assert nothing_left(spool)


def test_a_connection_that_breaks_in_the_head_may_hold_the_next_time(
    server: Faulty, spool: Path
) -> None:
    def route(handler: Handler) -> None:
        if len(server.requests) < 2:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Len")
            handler.drop()
        else:
            serve(CONTENT)(handler)

    server.routes["/disk"] = route
    assert get(server.url("/disk"), spool).size == len(CONTENT)


def test_a_server_that_dribbles_is_given_up(server: Faulty, spool: Path) -> None:
    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=10**6)
        while not handler.server.released.wait(0.01):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    server.routes["/disk"] = route
    with pytest.raises(ImageError, match="stalled"):
        download(
            HttpSource(server.url("/disk")),
            spool,
            progress=lambda done, total: None,
            cancelled=never,
            limit=LIMIT,
            reach=LOOPBACK,
            patience=Patience(window=0.1, attempts=2, pause=0.001),
        )
    assert nothing_left(spool)


@pytest.mark.parametrize("route", [endless, serve(bytes(2 * MIB))])
def test_more_than_the_limit_is_refused(server: Faulty, spool: Path, route: Route) -> None:
    server.routes["/disk"] = route
    error = refused(server.url("/disk"), spool, limit=MIB)
    assert (error.reason, error.retry) == ("ImageTooLarge", False)
    assert len(server.requests) == 1


def test_a_full_spool_is_refused_before_the_body(
    server: Faulty, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs("/")
    full = os.statvfs_result((4096, 4096, 10**6, 50_100, 50_100, *tuple(real)[5:10]))
    monkeypatch.setattr("agent.images.spool.os.statvfs", lambda path: full)
    server.routes["/disk"] = serve(CONTENT)
    error = refused(server.url("/disk"), spool)
    assert (error.reason, error.retry) == ("SpoolFull", True)


def test_redirects_are_followed(server: Faulty, spool: Path) -> None:
    server.routes |= {f"/{n}": redirect(f"/{n + 1}") for n in range(5)}
    server.routes["/5"] = serve(CONTENT)
    assert get(server.url("/0"), spool).digest == DIGEST


def test_a_redirect_loop_ends(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = redirect("/disk")
    assert "redirects" in refused(server.url("/disk"), spool).message
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "ftp://127.0.0.1/disk",
        "gopher://127.0.0.1/",
        "unix:/run/x",
    ],
)
def test_a_redirect_elsewhere_than_http_is_refused(
    server: Faulty, spool: Path, location: str
) -> None:
    server.routes["/disk"] = redirect(location)
    error = refused(server.url("/disk"), spool)
    assert (error.reason, error.retry) == ("ImagePullFailed", False)
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["http://[::1", "http://", "http://h:99999999/", ""])
def test_a_redirect_to_nonsense_is_refused(server: Faulty, spool: Path, location: str) -> None:
    server.routes["/disk"] = redirect(location)
    assert refused(server.url("/disk"), spool).reason == "ImagePullFailed"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd", ""])
def test_an_address_that_is_not_http_is_refused(spool: Path, url: str) -> None:
    assert not refused(url, spool).retry


def test_credentials_stay_with_the_server_they_are_for(server: Faulty, spool: Path) -> None:
    with Faulty() as other:
        other.routes["/disk"] = serve(CONTENT)
        server.routes["/disk"] = redirect(other.url("/disk"))
        assert get(server.url("/disk", "me:secret@"), spool).digest == DIGEST
        expected = "Basic " + base64.b64encode(b"me:secret").decode()
        assert server.requests[0][1]["Authorization"] == expected
        assert "authorization" not in {name.lower() for name in other.requests[0][1]}


def test_credentials_stay_through_a_redirect_on_their_server(server: Faulty, spool: Path) -> None:
    server.routes |= {"/disk": redirect("there?sig=1"), "/there": serve(CONTENT)}
    assert get(server.url("/disk", "me:p%40ss@"), spool).digest == DIGEST
    expected = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert [headers["Authorization"] for _, headers in server.requests] == [expected] * 2
    assert [path for path, _ in server.requests] == ["/disk", "/there?sig=1"]


def test_what_fails_is_told_while_it_is_tried_again(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = in_turn(status(500), stops_at(CONTENT, MIB), serve(CONTENT))
    told: list[str] = []
    download(
        HttpSource(server.url("/disk?token=hidden")),
        spool,
        progress=lambda done, total: None,
        cancelled=never,
        limit=LIMIT,
        reach=LOOPBACK,
        trouble=told.append,
        patience=QUICK,
    )
    assert len(told) == 2
    assert "500 Internal Server Error" in told[0]
    assert "?***" in told[0]
    assert "hidden" not in "".join(told)


def test_the_client_logs_no_address(
    server: Faulty, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    server.routes["/disk"] = serve(CONTENT)
    get(server.url("/disk?token=hidden", "me:secret@"), spool)
    assert not [each for each in caplog.records if "hidden" in each.getMessage()]


def test_the_environment_sends_it_nowhere_else(
    server: Faulty, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.routes["/disk"] = serve(CONTENT)
    assert get(server.url("/disk"), spool).digest == DIGEST


def test_a_body_is_stored_as_it_was_sent(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = serve(b"\x1f\x8b not really", Content_Encoding="gzip")
    assert get(server.url("/disk"), spool).path.read_bytes() == b"\x1f\x8b not really"


def test_cancelling_does_not_wait_for_a_silent_server(server: Faulty, spool: Path) -> None:
    reached = threading.Event()
    server.routes["/disk"] = hangs_after(CONTENT[:1000], reached)
    with pytest.raises(ImageError) as caught:
        download(
            HttpSource(server.url("/disk")),
            spool,
            progress=lambda done, total: None,
            cancelled=reached.is_set,
            limit=LIMIT,
            reach=LOOPBACK,
            patience=Patience(read=3600),
        )
    assert caught.value.reason == "Cancelled"
    assert nothing_left(spool)


def test_cancelling_ends_a_pause(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = status(503)
    with pytest.raises(ImageError) as caught:
        download(
            HttpSource(server.url("/disk")),
            spool,
            progress=lambda done, total: None,
            cancelled=lambda: bool(server.requests),
            limit=LIMIT,
            reach=LOOPBACK,
            patience=Patience(pause=3600),
        )
    assert caught.value.reason == "Cancelled"
    assert nothing_left(spool)


def test_an_error_of_the_caller_leaves_nothing(server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = serve(CONTENT)

    def progress(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(
            HttpSource(server.url("/disk")),
            spool,
            progress=progress,
            cancelled=never,
            limit=LIMIT,
            reach=LOOPBACK,
        )
    assert nothing_left(spool)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def https(authority: Path) -> Faulty:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    return Faulty(context)


def test_https_wants_a_known_authority(authority: Path, spool: Path) -> None:
    with https(authority) as server:
        server.routes["/disk"] = serve(CONTENT)
        error = refused(server.url("/disk"), spool)
        assert "caBundle" in error.message
        assert server.requests == []
        bundle = (authority / "cert.pem").read_text()
        assert get(server.url("/disk"), spool, ca_bundle=bundle).digest == DIGEST


@pytest.mark.parametrize("bundle", ["", "no certificate", "ключ"])
def test_a_bundle_without_a_certificate_is_refused(spool: Path, bundle: str) -> None:
    error = refused("https://127.0.0.1:1/", spool, ca_bundle=bundle)
    assert (error.reason, error.retry) == ("InvalidCABundle", False)


def test_leaving_https_takes_a_checksum(authority: Path, server: Faulty, spool: Path) -> None:
    server.routes["/disk"] = serve(CONTENT)
    bundle = (authority / "cert.pem").read_text()
    with https(authority) as secure:
        secure.routes["/disk"] = redirect(server.url("/disk"))
        assert "checksum" in refused(secure.url("/disk"), spool, ca_bundle=bundle).message
        assert server.requests == []
        got = get(secure.url("/disk"), spool, ca_bundle=bundle, checksums={"sha256": DIGEST})
        assert got.digest == DIGEST


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://u:p@host.example:8443/a/b.img?sig=1#x",
            "https://***@host.example:8443/a/b.img?***",
        ),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://h/\x1b[2J", "http://h/?[2J"),
        ("http://u:p/w@h/", "http://***"),
    ],
)
def test_addresses_show_no_secret(url: str, shown: str) -> None:
    assert address(url) == shown


def test_redirects_have_a_bound() -> None:
    assert module.MAX_REDIRECTS == 5
