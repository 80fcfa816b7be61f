"""Addresses of the web, and what of them is secret: credentials, the query, and the fragment."""

from __future__ import annotations

import re
from urllib.parse import quote

HIDDEN = "***"
"""Stands where something secret is left out."""

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)//([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(|:[0-9]{0,9})", re.ASCII)


def hidden(address: str) -> str:
    """The address as it may be shown: `https://***@host/path?***`. What it gives, it gives back."""
    parts = _PARTS.fullmatch(address)
    if parts is None:
        return HIDDEN
    scheme, authority, path, rest = parts.groups()
    user, _, host = authority.rpartition("@")
    if not _HOST.fullmatch(host):  # a password with a slash in it, perhaps
        return f"{scheme}//{HIDDEN}"
    shown = f"{HIDDEN}@{host}" if user else host
    return f"{scheme}//{shown}{path}{rest[0] + HIDDEN if rest[1:] else ''}"


def bare(address: str) -> str:
    """The address without what is secret: equal for what is the same, whoever asks for it."""
    parts = _PARTS.fullmatch(hidden(address))
    return f"{parts[1]}//{parts[2].rpartition('@')[2]}{parts[3]}" if parts else HIDDEN


def has_host(address: str) -> bool:
    """True if it names a host, and a port only as a number that one may have."""
    parts = _PARTS.fullmatch(address)
    host = _HOST.fullmatch(parts[2].rpartition("@")[2]) if parts else None
    return host is not None and host[1] not in ("", "[]") and int(host[2][1:] or 0) <= 65535


def is_hidden(address: str) -> bool:
    """True if something is left out of the address."""
    parts = _PARTS.fullmatch(address) if HIDDEN in address else None
    if parts is None:
        return False
    authority, rest = parts[2], parts[4]
    return HIDDEN in (authority, authority.rpartition("@")[0], rest[1:])


def completed(address: str, username: str, password: str, query: str) -> str:
    """The address with other credentials and a longer query, where these are not empty."""
    parts = _PARTS.fullmatch(address)
    if parts is None:
        return address
    scheme, authority, path, rest = parts.groups()
    if username or password:
        host = authority.rpartition("@")[2]
        authority = f"{quote(username, safe='')}:{quote(password, safe='')}@{host}"
    old, mark, fragment = rest.partition("#")
    asked = "&".join(part for part in (old.removeprefix("?"), query.removeprefix("?")) if part)
    return f"{scheme}//{authority}{path}{'?' if asked else ''}{asked}{mark}{fragment}"
