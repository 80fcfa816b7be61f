"""Who may do what at the page: rules of hosts, origins and the token, which look at nothing but a
request's head.

Whoever has the token may reach into machines and ask for operations. Without it a page can be seen
from this machine alone. Browsers carry a cookie that the token makes, and send it wherever a page
has them send it: so what does something must come from a page of ours, and our name must be one
that nobody else can point at us.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, urlencode, urlsplit

SHORTEST = 16
"""Characters of a token that somebody chose."""
OPEN = frozenset({"/healthz", "/readyz"})
"""What tells nothing, and is asked from other machines."""
ENTRANCE = "/enter"
"""Where a token is typed: the one page that a stranger gets."""
STYLES = "/static/"
_READING = frozenset({"GET", "HEAD"})
_LOCAL_NAMES = ("localhost", ".localhost")
_PASSED_ON = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})


@dataclass(frozen=True)
class Head:
    """What a request says of itself, and the connection of it."""

    method: str
    """Upper case; WEBSOCKET for one that opens such a connection."""
    path: str
    peer: str
    """The address at the other end; empty where there is none, as of a socket in a folder."""
    headers: Sequence[tuple[str, str]] = ()
    """Names in lower case."""

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]


@dataclass(frozen=True)
class Refusal:
    """Why a request gets no answer, in a sentence for the user, and HTTP's number for that."""

    status: int
    message: str


@dataclass(frozen=True)
class Visitor:
    """Who is let in."""

    trusted: bool
    """True if they showed the token."""


def new_token() -> str:
    return secrets.token_urlsafe(24)


def checked(text: str) -> str:
    """A token out of a file. ValueError says what is wrong with it, and not what it is."""
    token = text.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is one line of letters, digits and signs without spaces")
    if len(token) < SHORTEST:
        raise ValueError(f"a token has at least {SHORTEST} characters")
    return token


class Door:
    """Knows the token, and says who may come in. Keeps nothing: what a browser holds is made of the
    token, and ends with it.
    """

    def __init__(self, token: str, names: Iterable[str] = (), *, secure: bool = False) -> None:
        """`names` are those that this server is reached by, beside its addresses and localhost;
        `secure` if it speaks TLS by itself.
        """
        self._token = token
        self._names = frozenset(name.lower() for name in names)
        self._secure = secure
        self._pass = hmac.digest(
            token.encode(), b"gitvirt: a browser that has shown it", sha256
        ).hex()

    def fits(self, token: str) -> bool:
        return _same(token, self._token)

    def cookie(self, host: str) -> str:
        """What a browser that has shown the token is told to keep. It forgets it when it is closed,
        shows it to no script, and sends it with no request that another site begins.
        """
        secure = "; Secure" if self._secure else ""
        return f"{_cookie_name(host)}={self._pass}; Path=/; HttpOnly; SameSite=Strict{secure}"

    def judge(self, head: Head) -> Visitor | Refusal:
        """Whether a request is answered, and as whose."""
        hosts = head.all("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Refusal(
                421, "this server does not go by that name: name it in the setting page-names"
            )
        shown = self._shows_cookie(head, hosts[0])
        if head.method not in _READING:
            return self._judge_deed(head, hosts[0], shown=shown)
        trusted = shown or self._shows_token(head)
        if not trusted and not _stands_here(head, hosts[0]) and not _is_for_strangers(head.path):
            return Refusal(401, "from another machine the token is needed")
        return Visitor(trusted)

    def _judge_deed(self, head: Head, host: str, *, shown: bool) -> Visitor | Refusal:
        """Of what does something, or opens a connection."""
        if not self._is_from_us(head, host):
            return Refusal(403, "that did not come from a page of this server")
        if not shown and not (head.method == "POST" and head.path == ENTRANCE):
            return Refusal(403, "that needs the token: open the address that the server printed")
        return Visitor(shown)

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names us. An address does: nobody can make a browser take somebody
        else's page for one of that origin. A name may be pointed at us by whoever owns it.
        """
        name = _name_of(host)
        if name is None:
            return False
        return _address(name) is not None or _is_local_name(name) or name in self._names

    def _is_from_us(self, head: Head, host: str) -> bool:
        origins = head.all("origin")
        if len(origins) != 1 or any(site != "same-origin" for site in head.all("sec-fetch-site")):
            return False
        scheme, _, rest = origins[0].partition("://")
        schemes = ("https",) if self._secure else ("http", "https")  # TLS may end before us
        return scheme in schemes and rest.lower() == host.lower()

    def _shows_cookie(self, head: Head, host: str) -> bool:
        wanted = _cookie_name(host)
        pairs = (
            pair.strip().partition("=") for line in head.all("cookie") for pair in line.split(";")
        )
        return any(name == wanted and _same(value, self._pass) for name, _, value in pairs)

    def _shows_token(self, head: Head) -> bool:
        """As programs do that read: no browser adds such a header by itself."""
        words = [value.partition(" ") for value in head.all("authorization")]
        return any(kind.lower() == "bearer" and self.fits(token) for kind, _, token in words)


def without_token(path: str, query: Sequence[tuple[str, str]]) -> str:
    """Where a browser goes once it has shown the token: the same view, on this server, whatever the
    address looked like.
    """
    kept = [(name, value) for name, value in query if name != "token"]
    place = "/" + quote(path.lstrip("/"), safe="/~")
    return f"{place}?{urlencode(kept)}" if kept else place


def is_loopback(address: str) -> bool:
    found = _address(address)
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    return found is not None and found.is_loopback


def _stands_here(head: Head, host: str) -> bool:
    """Whether somebody at this very machine asks, and no other server in their place."""
    if any(name in _PASSED_ON for name, _ in head.headers):
        return False
    name = _name_of(host) or ""
    return is_loopback(head.peer) and (is_loopback(name) or _is_local_name(name))


def _is_for_strangers(path: str) -> bool:
    return path in OPEN or path == ENTRANCE or path.startswith(STYLES)


def _name_of(host: str) -> str | None:
    """The name in a Host header, lower case, an address without brackets; None if it holds more."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return None
    name = parts.hostname
    bracketed = f"[{name}]" if name is not None and ":" in name else name
    if name is None or host.lower() not in (bracketed, f"{bracketed}:{port}"):
        return None
    return name


def _is_local_name(name: str) -> bool:
    return name == _LOCAL_NAMES[0] or name.endswith(_LOCAL_NAMES[1])


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _cookie_name(host: str) -> str:
    """Cookies know no ports: each server of a machine has a name of its own for its."""
    return f"gitvirt-{sha256(host.lower().encode()).hexdigest()[:12]}"


def _same(one: str, other: str) -> bool:
    """In a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
