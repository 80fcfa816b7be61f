"""Who may do what: rules alone, without a server."""

from __future__ import annotations

import pytest

from agent.web.door import Door, Head, Refusal, Visitor, checked, new_token, without_token

TOKEN = "a-token-of-the-tests"
HOST = "127.0.0.1:8008"
SELF = f"http://{HOST}"


@pytest.fixture
def door() -> Door:
    return Door(TOKEN, ["vms.example.com"])


def cookie(door: Door, host: str = HOST) -> str:
    return door.cookie(host).partition(";")[0]


def head(
    method: str = "GET",
    path: str = "/",
    *,
    peer: str = "127.0.0.1",
    host: str | None = HOST,
    **headers: str,
) -> Head:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Head(method, path, peer, [*([("host", host)] if host is not None else []), *named])


def status(found: Visitor | Refusal) -> int:
    return found.status if isinstance(found, Refusal) else 200


# -- seeing -----------------------------------------------------------------------------------


def test_who_stands_at_the_machine_sees_pages_without_a_token(door: Door) -> None:
    assert door.judge(head()) == Visitor(trusted=False)
    assert door.judge(head("HEAD", host="localhost")) == Visitor(trusted=False)
    assert door.judge(head(peer="::1", host="[::1]:8008")) == Visitor(trusted=False)
    assert door.judge(head(peer="::ffff:127.0.0.1")) == Visitor(trusted=False)


@pytest.mark.parametrize(
    ("peer", "host", "headers"),
    [
        ("192.0.2.7", HOST, {}),
        ("", HOST, {}),
        ("127.0.0.1", "vms.example.com", {}),
        ("127.0.0.1", "192.0.2.1:8008", {}),
        ("127.0.0.1", HOST, {"x_forwarded_for": "192.0.2.7"}),
        ("127.0.0.1", HOST, {"forwarded": "for=192.0.2.7"}),
        ("127.0.0.1", HOST, {"via": "1.1 proxy"}),
    ],
)
def test_who_comes_from_elsewhere_needs_the_token(
    door: Door, peer: str, host: str, headers: dict[str, str]
) -> None:
    assert status(door.judge(head(peer=peer, host=host, **headers))) == 401
    with_cookie = head(peer=peer, host=host, cookie=cookie(door, host), **headers)
    assert door.judge(with_cookie) == Visitor(trusted=True)
    with_token = head(peer=peer, host=host, authorization=f"Bearer {TOKEN}", **headers)
    assert door.judge(with_token) == Visitor(trusted=True)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/enter", "/static/page.css"])
def test_what_tells_nothing_is_there_for_everybody(door: Door, path: str) -> None:
    assert door.judge(head(path=path, peer="192.0.2.7")) == Visitor(trusted=False)


@pytest.mark.parametrize("path", ["/metrics", "/healthz/x", "/enter/x", "/staticx", "//healthz"])
def test_what_only_looks_like_it_is_not(door: Door, path: str) -> None:
    assert status(door.judge(head(path=path, peer="192.0.2.7"))) == 401


# -- the token ----------------------------------------------------------------------------------


def test_a_browser_that_has_shown_the_token_is_known_by_its_cookie(door: Door) -> None:
    assert door.judge(head(cookie=f"a=b; {cookie(door)}; c=d")) == Visitor(trusted=True)
    line = door.cookie(HOST)
    assert TOKEN not in line
    assert line.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert Door(TOKEN, secure=True).cookie(HOST).endswith("; SameSite=Strict; Secure")


def test_the_cookie_of_another_token_another_server_or_none_shows_nothing(door: Door) -> None:
    for other in (
        cookie(Door(new_token())),
        cookie(door, "127.0.0.1:8009"),
        cookie(door).partition("=")[0] + "=",
        cookie(door)[:-1],
        cookie(door) + "0",
        f"{cookie(door).partition('=')[0]}={TOKEN}",
        "",
    ):
        assert door.judge(head(cookie=other)) == Visitor(trusted=False)


def test_another_word_than_the_token_shows_nothing(door: Door) -> None:
    for other in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ", TOKEN, "Bearer \N{BULLET}"):
        assert door.judge(head(authorization=other)) == Visitor(trusted=False)
    assert door.fits(TOKEN)
    assert not door.fits("")


def test_a_token_out_of_a_file_is_one_long_word() -> None:
    assert checked(f"{TOKEN}\n") == TOKEN
    for wrong in (
        "",
        "short",
        "two words of it together",
        "one-line-of-it\nand-another-line",
        "ключ-" * 9,
    ):
        with pytest.raises(ValueError, match="a token"):
            checked(wrong)
    assert checked(new_token()) != checked(new_token())


def test_the_token_is_left_behind_and_the_browser_stays_here() -> None:
    assert (
        without_token("/vm/default/a b", [("token", "x"), ("q", "a&b")])
        == "/vm/default/a%20b?q=a%26b"
    )
    assert without_token("//evil.example/", [("token", "x")]) == "/evil.example/"
    assert without_token("/\\evil.example/", []) == "/%5Cevil.example/"
    assert without_token("/x\r\nSet-Cookie: a", []) == "/x%0D%0ASet-Cookie%3A%20a"


# -- doing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "WEBSOCKET", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_a_page_of_ours_with_the_token_may_do_things(door: Door, method: str) -> None:
    ours = head(method, cookie=cookie(door), origin=SELF)
    assert door.judge(ours) == Visitor(trusted=True)
    behind_tls = head(
        method,
        host="vms.example.com",
        cookie=cookie(door, "vms.example.com"),
        origin="https://vms.example.com",
    )
    assert door.judge(behind_tls) == Visitor(trusted=True)


@pytest.mark.parametrize("method", ["POST", "WEBSOCKET", "PUT", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:8009"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://localhost:8008"},
        {"origin": f"file://{HOST}"},
        {"origin": f"http://evil.example@{HOST}"},
        {"origin": f"{SELF}.evil.example"},
        {"origin": SELF, "sec_fetch_site": "cross-site"},
        {"origin": SELF, "sec_fetch_site": "same-site"},
    ],
)
def test_another_page_may_do_nothing_whatever_the_browser_sends_along(
    door: Door, method: str, headers: dict[str, str]
) -> None:
    assert status(door.judge(head(method, cookie=cookie(door), **headers))) == 403


def test_two_origins_are_none(door: Door) -> None:
    both = Head(
        "POST",
        "/",
        "127.0.0.1",
        [("host", HOST), ("origin", SELF), ("origin", SELF), ("cookie", cookie(door))],
    )
    assert status(door.judge(both)) == 403


@pytest.mark.parametrize("method", ["POST", "WEBSOCKET"])
def test_without_the_cookie_a_page_of_ours_may_do_nothing(door: Door, method: str) -> None:
    assert status(door.judge(head(method, origin=SELF))) == 403
    assert status(door.judge(head(method, origin=SELF, cookie=cookie(Door(new_token()))))) == 403
    # a program that reads is not one that does
    assert status(door.judge(head(method, origin=SELF, authorization=f"Bearer {TOKEN}"))) == 403


def test_the_token_is_typed_on_a_page_of_ours_alone(door: Door) -> None:
    assert door.judge(head("POST", "/enter", peer="192.0.2.7", origin=SELF)) == Visitor(
        trusted=False
    )
    assert status(door.judge(head("POST", "/enter", origin="http://evil.example"))) == 403
    assert status(door.judge(head("WEBSOCKET", "/enter", origin=SELF))) == 403


def test_a_server_that_speaks_tls_believes_no_page_that_came_without() -> None:
    door = Door(TOKEN, secure=True)
    assert door.judge(head("POST", cookie=cookie(door), origin=f"https://{HOST}")) == Visitor(
        trusted=True
    )
    assert status(door.judge(head("POST", cookie=cookie(door), origin=SELF))) == 403


# -- the server's name --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["LOCALHOST:8008", "a.localhost", "127.0.0.1", "[::1]", "192.0.2.1:80", "VMs.example.com:443"],
)
def test_the_server_goes_by_its_addresses_and_names(door: Door, host: str) -> None:
    assert status(door.judge(head(host=host, cookie=cookie(door, host)))) == 200


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8008",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "xlocalhost",
        "vms.example.com.evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1/evil.example",
        "127.0.0.1:8008:1",
        "127.0.0.1:port",
        "127.0.0.1:99999",
        "[::1",
        "127.0.0.1, evil.example",
        "127.0.0.1 ",
    ],
)
def test_a_name_that_somebody_else_may_point_at_it_gets_nothing(
    door: Door, host: str | None
) -> None:
    assert status(door.judge(head(host=host, cookie=cookie(door, host or "")))) == 421
    assert status(door.judge(head(path="/healthz", host=host))) == 421


def test_two_hosts_are_none(door: Door) -> None:
    assert (
        status(door.judge(Head("GET", "/", "127.0.0.1", [("host", HOST), ("host", HOST)]))) == 421
    )
