"""Downloads go through the proxies of the environment."""

from __future__ import annotations

import base64
import random
import socket
import threading
from pathlib import Path

import pytest

from agent.core.image_sources import HttpSource
from agent.core.proxies import Proxies
from agent.images.download import Downloaded, download
from agent.images.errors import ImageError
from agent.images.hosts import ImageHosts
from agent.images.request import Reach
from tests.images.conftest import LIMIT, QUICK, never
from tests.images.server import Faulty, Handler, redirect, serve, status
from tests.images.test_download import authority, https

__all__ = ["authority"]

CONTENT = random.Random(1).randbytes(100_000)


def get(
    url: str, spool: Path, variables: dict[str, str], hosts: str = "*", ca: str | None = None
) -> Downloaded:
    return download(
        HttpSource(url, ca_bundle=ca),
        spool,
        progress=lambda done, total: None,
        cancelled=never,
        limit=LIMIT,
        reach=Reach(ImageHosts.parse(hosts), Proxies.of(variables)),
        patience=QUICK,
    )


class Tunnel(Handler):
    """A proxy: what is asked for in full comes from a route by its host; CONNECT leads to one server."""

    def do_CONNECT(self) -> None:  # noqa: N802  # http.server's name
        self.server.requests.append((self.path, dict(self.headers.items())))
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self.pump, args=(there, self.connection))
            back.start()
            self.pump(self.connection, there)
            back.join()

    @staticmethod
    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def proxy(server: Faulty) -> Faulty:
    server.RequestHandlerClass = Tunnel
    return server


def at(proxy: Faulty, userinfo: str = "") -> str:
    return proxy.url("", userinfo)


def test_http_is_asked_for_in_full_and_the_name_is_the_proxys_business(
    proxy: Faulty, spool: Path
) -> None:
    proxy.routes["http://images.invalid/disk"] = serve(CONTENT)
    variables = {"http_proxy": at(proxy, "me:p%40ss@")}
    got = get("http://you:secret@images.invalid/disk?a=1", spool, variables)
    assert got.size == len(CONTENT)
    path, headers = proxy.requests[0]
    assert path == "http://images.invalid/disk?a=1"
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["proxy-authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert sent["authorization"] == "Basic " + base64.b64encode(b"you:secret").decode()


def test_https_goes_through_a_tunnel_and_is_verified(
    proxy: Faulty, spool: Path, authority: Path
) -> None:
    with https(authority) as server:
        server.routes["/disk"] = serve(CONTENT)
        bundle = (authority / "cert.pem").read_text()
        variables = {"HTTPS_PROXY": at(proxy, "me:pass@")}
        got = get(server.url("/disk"), spool, variables, "127.0.0.1", bundle)
        assert got.size == len(CONTENT)
        with pytest.raises(ImageError, match="certificate"):
            get(server.url("/disk"), spool, variables, "127.0.0.1")
    assert proxy.requests[0][0] == server.url("").removeprefix("https://")


@pytest.mark.parametrize("none", ["127.0.0.1", "*", "example.org, 127.0.0.0/8"])
def test_what_no_proxy_names_is_asked_directly(server: Faulty, spool: Path, none: str) -> None:
    server.routes["/disk"] = serve(CONTENT)
    variables = {"http_proxy": "http://127.0.0.1:1", "no_proxy": none}
    assert get(server.url("/disk"), spool, variables, "127.0.0.1").size == len(CONTENT)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://127.0.0.1/x", "*"),
        ("http://127.1/x", "*"),
        ("http://2130706433/x", "*"),
        ("http://169.254.169.254/latest", "*"),
        ("http://[::1]/x", "*"),
        ("http://localhost/x", "*"),
        ("http://a.localhost./x", "*"),
        ("http://images.invalid/x", "*.example.com"),
        ("http://images.invalid/x", "10.0.0.0/8"),
    ],
)
def test_what_can_be_judged_is_judged_before_the_proxy_hears_of_it(
    proxy: Faulty, spool: Path, url: str, hosts: str
) -> None:
    with pytest.raises(ImageError) as caught:
        get(url, spool, {"http_proxy": at(proxy)}, hosts)
    assert (caught.value.reason, caught.value.retry) == ("HostNotAllowed", False)
    assert proxy.requests == []


def test_a_redirect_through_a_proxy_is_judged_too(proxy: Faulty, spool: Path) -> None:
    proxy.routes["http://images.invalid/disk"] = redirect("http://169.254.169.254/latest")
    with pytest.raises(ImageError) as caught:
        get("http://images.invalid/disk", spool, {"http_proxy": at(proxy)})
    assert caught.value.reason == "HostNotAllowed"
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    "address", ["http://me:secret@127.0.0.1:1", "socks5://me:secret@h:1", "http://"]
)
def test_a_proxy_that_cannot_be_used_says_so_without_its_password(
    spool: Path, address: str
) -> None:
    with pytest.raises(ImageError, match="proxy") as caught:
        get("http://images.invalid/disk", spool, {"all_proxy": address})
    assert caught.value.retry
    assert "secret" not in caught.value.message


def test_a_proxy_that_refuses_is_an_answer(proxy: Faulty, spool: Path) -> None:
    proxy.routes["http://images.invalid/disk"] = status(407)
    with pytest.raises(ImageError, match="407"):
        get("http://images.invalid/disk", spool, {"http_proxy": at(proxy)})


@pytest.mark.parametrize(
    ("variables", "http", "https"),
    [
        ({}, "", ""),
        ({"http_proxy": "h:1", "HTTPS_PROXY": "s:1"}, "http://h:1", "http://s:1"),
        ({"HTTP_PROXY": "h:1"}, "", ""),  # a header of CGI programs looks like it
        ({"ALL_PROXY": "http://a:1", "https_proxy": "https://s:1"}, "http://a:1", "https://s:1"),
    ],
)
def test_the_environment_names_them_as_curl_has_it(
    variables: dict[str, str], http: str, https: str
) -> None:
    found = Proxies.of(variables)
    assert (found.proxy("http", "h"), found.proxy("https", "h")) == (http, https)
    assert "s:1" not in repr(found)


@pytest.mark.parametrize(
    ("none", "host", "direct"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        (".example.com", "A.Example.Com", True),
        ("example.com", "badexample.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("::1", "::1", True),
        ("a, b  c", "c", True),
    ],
)
def test_no_proxy_names_domains_addresses_and_networks(none: str, host: str, direct: bool) -> None:
    found = Proxies.of({"http_proxy": "h:1", "NO_PROXY": none})
    assert (found.proxy("http", host) == "") is direct
