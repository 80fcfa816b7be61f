"""Images come from where whoever runs the agent allows it, whatever manifests, servers and names say."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.core.image_sources import HttpSource
from agent.images.download import Downloaded, download
from agent.images.errors import ImageError
from agent.images.hosts import ImageHosts
from agent.images.request import Reach
from tests.images.conftest import LIMIT, QUICK, never, nothing_left
from tests.images.server import Faulty, redirect, serve

CONTENT = random.Random(1).randbytes(100_000)
NAME = "images.example"


def get(url: str, spool: Path, hosts: str | None = None, **source: Any) -> Downloaded:
    return download(
        HttpSource(url, **source),
        spool,
        progress=lambda done, total: None,
        cancelled=never,
        limit=LIMIT,
        reach=Reach(ImageHosts() if hosts is None else ImageHosts.parse(hosts)),
        patience=QUICK,
    )


def refused(url: str, spool: Path, hosts: str | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        get(url, spool, hosts)
    assert nothing_left(spool)
    assert caught.value.reason == "HostNotAllowed"
    assert "--image-hosts" in caught.value.message
    return caught.value


Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Have NAME resolve to these addresses, a list for each time that it is asked for."""
    real = socket.getaddrinfo
    answers: list[list[str]] = []

    def fake(host: str, port: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, port, *args, **options)
        return [at for each in answers.pop(0) for at in real(each, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return lambda *lists: answers.extend(lists)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "localhost", "[::1]"),
        *("[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]", "[::]", "LOCALHOST"),
    ],
)
def test_loopback_and_link_local_addresses_are_refused(spool: Path, host: str) -> None:
    refused(f"http://{host}:9/disk", spool)


@pytest.mark.parametrize(
    "address",
    [
        *("::127.0.0.1", "::ffff:0:127.0.0.1", "2002:7f00:1::1", "64:ff9b::127.0.0.1"),
        *("64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254"),
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"),
    ],
)
def test_no_detour_leads_to_loopback_or_to_a_clouds_metadata(address: str) -> None:
    """Addresses of IPv6 that carry one of IPv4, and those outside the link-local ones where clouds answer."""
    at = ImageHosts()
    for judge in (lambda: at.addresses(address, 80), lambda: at.check_unresolved(address)):
        with pytest.raises(ImageError) as caught:
            judge()
        assert caught.value.reason == "HostNotAllowed"
    assert ImageHosts.parse(address).addresses(address, 80)


def test_addresses_that_carry_an_ordinary_one_are_allowed() -> None:
    assert ImageHosts().addresses("64:ff9b::192.0.2.1", 80)
    assert ImageHosts.parse("192.0.2.0/24").addresses("64:ff9b::192.0.2.1", 80)


@pytest.mark.parametrize("host", ["127.0.0.1.", "127.1.", "169.254.169.254."])
def test_a_dot_behind_an_address_makes_no_name_of_it_for_a_proxy(host: str) -> None:
    with pytest.raises(ImageError):
        ImageHosts().check_unresolved(host)


@pytest.mark.parametrize("hosts", ["*", "localhost", "*.example", NAME, "10.0.0.0/8", ""])
def test_names_make_no_special_address_an_ordinary_one(
    spool: Path, resolve: Resolve, hosts: str
) -> None:
    resolve(["127.0.0.1", "::1"])
    assert refused(f"http://{NAME}:9/disk", spool, hosts).retry


@pytest.mark.parametrize("hosts", ["127.0.0.1", "127.0.0.0/8, *.org", "*,127.0.0.1"])
def test_addresses_that_are_listed_are_allowed(server: Faulty, spool: Path, hosts: str) -> None:
    server.routes["/disk"] = serve(CONTENT)
    assert get(server.url("/disk"), spool, hosts).size == len(CONTENT)


@pytest.mark.parametrize("hosts", ["*.example.com", "192.0.2.2", "example.co*", "2001:db8::/32"])
def test_what_is_not_listed_is_refused(spool: Path, hosts: str) -> None:
    assert not refused("http://192.0.2.1:9/disk", spool, hosts).retry


def test_a_redirect_is_judged_too(server: Faulty, spool: Path) -> None:
    with Faulty() as other:
        server.routes["/disk"] = redirect(other.url("/disk").replace("127.0.0.1", "127.0.0.2"))
        refused(server.url("/disk"), spool, "127.0.0.1")
        assert len(server.requests) == 1
        assert other.requests == []


def test_the_address_that_was_judged_is_connected_to(
    server: Faulty, spool: Path, resolve: Resolve
) -> None:
    server.routes["/disk"] = serve(CONTENT)
    resolve(["169.254.169.254", "127.0.0.1"])  # it is asked for once: a second time fails
    url = server.url("/disk").replace("127.0.0.1", NAME)
    assert get(url, spool, "127.0.0.1").size == len(CONTENT)
    assert server.requests[0][1]["Host"] == url.split("/")[2]


def test_the_next_address_is_tried(server: Faulty, spool: Path, resolve: Resolve) -> None:
    server.routes["/disk"] = serve(CONTENT)
    resolve(["127.0.0.9", "127.0.0.1"])  # nobody listens at the first one
    url = server.url("/disk").replace("127.0.0.1", NAME)
    assert get(url, spool, "127.0.0.0/8").size == len(CONTENT)


@pytest.mark.parametrize(("of", "holds"), [(NAME, True), ("other.example", False)])
def test_a_certificate_is_that_of_the_name(
    spool: Path, tmp_path: Path, resolve: Resolve, of: str, holds: bool
) -> None:
    made = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    more = ["-subj", "/CN=x", "-addext", f"subjectAltName=DNS:{of}"]
    subprocess.run(
        [*command.split(), *more, "-keyout", made[0], "-out", made[1]],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made[1], made[0])
    resolve(["127.0.0.1"])
    with Faulty(context) as server:
        server.routes["/disk"] = serve(CONTENT)
        url = server.url("/disk").replace("127.0.0.1", NAME)
        bundle = Path(made[1]).read_text()
        if holds:
            assert get(url, spool, "127.0.0.1", ca_bundle=bundle).size == len(CONTENT)
        else:
            with pytest.raises(ImageError, match="certificate"):
                get(url, spool, "127.0.0.1", ca_bundle=bundle)


@pytest.mark.parametrize("text", ["http://h", "a/b", "-a", "a b;c", "10.0.0.0/33", "ключ"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be"):
        ImageHosts.parse(text)
