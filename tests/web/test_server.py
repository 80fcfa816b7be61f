"""Where the page is served, and to whom."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from agent.cli import main
from agent.gitrepo.local import LocalRepository
from agent.web.app import Site, application
from agent.web.collector import Terms
from agent.web.server import (
    Address,
    Certificate,
    ListenError,
    Server,
    address,
    bound,
    url,
)
from agent.web.source import Source
from tests.fleets import CATALOGUE, Fleet, machine
from tests.web.sites import JSON


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("8006", Address("127.0.0.1", 8006)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:80", Address("localhost", 80)),
        ("[::1]:8006", Address("::1", 8006)),
        ("0.0.0.0:443", Address("0.0.0.0", 443)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, where: Address) -> None:
    assert address(text) == where


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "::1:80", ":80", "a:99999", "a:", "[::1]", "²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be PORT"):
        address(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((each, True) for each in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((each, False) for each in ("0.0.0.0", "::", "10.0.0.1", "example.com")),
    ],
)
def test_other_machines_need_encryption(host: str, loopback: bool) -> None:
    where = Address(host, 0)
    assert where.loopback is loopback
    if not loopback:
        with pytest.raises(ListenError, match="--tls-cert and --tls-key"):
            bound(where, None, insecure=False)


def test_a_place_that_is_taken_is_said() -> None:
    with bound(Address("127.0.0.1", 0), None, insecure=False) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen at 127.0.0.1:{port}"):
            bound(Address("127.0.0.1", port), None, insecure=False)


def test_the_address_is_printed_as_browsers_take_it() -> None:
    with bound(Address("127.0.0.1", 0), None, insecure=False) as listening:
        port = listening.getsockname()[1]
        assert url(listening, None) == f"http://127.0.0.1:{port}/"
        assert url(listening, Certificate(Path("a"), Path("b"))).startswith("https://")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path / "fleet.git")
    fleet.agent()
    fleet.write(machine("vm"))
    return fleet


def application_of(fleet: Fleet) -> ASGIApp:
    return application(Site(Source(lambda: LocalRepository(fleet.root), Terms(), CATALOGUE)))


def test_it_serves_beside_something_else_and_ends(fleet: Fleet) -> None:
    listening = bound(Address("127.0.0.1", 0), None, insecure=False)
    port = listening.getsockname()[1]
    server = Server(application_of(fleet), listening)
    server.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/vms/default/vm", headers=JSON)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["phase"]) == (200, "Running")
    assert answer.headers["content-security-policy"]
    assert "server" not in answer.headers
    viewer = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    viewer.request("GET", "/live")  # one that stays, and does not read
    assert viewer.getresponse().status == 200
    server.end()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=60).connect()
    for each in (connection, viewer):
        each.close()


def test_it_speaks_tls(fleet: Fleet, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path / "page.pem", tmp_path / "page.key")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    files = ("-nodes", "-keyout", str(certificate.key), "-out", str(certificate.chain))
    subprocess.run([*new, *files, *subject], check=True, capture_output=True)
    listening = bound(Address("127.0.0.1", 0), certificate, insecure=False)
    port = listening.getsockname()[1]
    server = Server(application_of(fleet), listening, certificate)
    server.start()
    trusting = ssl.create_default_context(cafile=certificate.chain)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=trusting)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()
    server.end()


def test_a_certificate_that_is_none_is_said(fleet: Fleet, tmp_path: Path) -> None:
    nothing = Certificate(tmp_path / "none.pem", tmp_path / "none.key")
    with (
        bound(Address("127.0.0.1", 0), nothing, insecure=False) as listening,
        pytest.raises(ListenError, match="the certificate or its key cannot be used"),
    ):
        Server(application_of(fleet), listening, nothing)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "10.0.0.1:80"], "--tls-cert and --tls-key, or say with --insecure"),
        (["--listen", "here"], "--listen must be PORT, HOST:PORT"),
        (["--tls-cert", "/a"], "--tls-cert and --tls-key belong together"),
        (["--repo", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--forge-url", "javascript:alert({path})"], "must be a web address with {path}"),
    ],
)
def test_a_dashboard_that_cannot_be_says_why(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["dashboard", "--repo", str(fleet.root), *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0, "cannot be read: No such file or directory"),
        ("a-token-of-the-tests", 0o644, "can be read by others: `chmod 600"),
        ("brief", 0o600, "a token has at least 16 characters"),
        ("a token of several words", 0o600, "without spaces"),
        ("токен-который-никто-не-знает", 0o600, "letters, digits and signs"),
    ],
)
def test_a_file_without_a_token_that_nobody_else_knows_is_refused(
    fleet: Fleet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    mode: int,
    said: str,
) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    listen = ["--listen", "127.0.0.1:0", "--token-file", str(file)]
    assert main(["dashboard", "--repo", str(fleet.root), *listen]) == 1
    heard = capsys.readouterr()
    assert f"--token-file {file}" in heard.err
    assert said in heard.err
    assert text is None or text not in heard.out + heard.err


def test_those_who_wait_for_news_keep_no_server_from_its_end(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(lambda: LocalRepository(fleet.root), Terms(), CATALOGUE)
    listening = bound(Address("127.0.0.1", 0), None, insecure=False)
    viewer = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=60)
    server = Server(application(Site(source)), listening, None, source.end)
    server.start()
    viewer.request("GET", "/live")
    answer = viewer.getresponse()
    assert answer.readline() == b"retry: 5000\n"
    server.end()
    assert b"event: reading" in answer.read()  # to its end
    viewer.close()
    assert caplog.records == []
