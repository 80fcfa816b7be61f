"""Addresses of repositories behind ssh, as Git writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from agent.gitrepo.repository import RepositoryError

SCHEMES = ("ssh", "git+ssh", "ssh+git")
SSH = "ssh"
"""The command, where nobody names another one."""
_SCP = re.compile(
    r"(?:(?P<user>[^/@:\s]+)@)?(?P<host>\[[^\]\s]+\]|[^/@:\[\]\s]{2,}):(?!//|:)(?P<path>\S(?s:.*))"
)
"""`git@host:path`, as Git reads it: a colon before any slash."""


@dataclass(frozen=True)
class Address:
    """A repository on a host that ssh reaches."""

    shown: str
    """As the user wrote it."""
    host: str
    path: str
    user: str = ""
    port: int | None = None


def is_scp(text: str) -> bool:
    """True for `[user@]host:path`."""
    return _SCP.fullmatch(text) is not None


def parse(text: str) -> Address:
    """`ssh://[user@]host[:port]/path` or `[user@]host:path`. RepositoryError InvalidAddress."""
    if any(not sign.isprintable() for sign in text):
        _invalid()
    parsed = _of_url(text) if "://" in text else _of_scp(text)
    # ssh would take such a word for an option, as the server's git would.
    if parsed.user.startswith("-") or parsed.host.startswith("-") or parsed.path.startswith("-"):
        _invalid()
    return parsed


def _of_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        _invalid(error)
    if parts.password is not None:
        raise RepositoryError(
            "InvalidAddress",
            "a password has no place in the address of a repository over ssh: take it out of "
            "--repo, and let the server know a key of this user",
            retry=False,
        )
    path = unquote(parts.path)
    if not host or path in ("", "/") or parts.query or parts.fragment:
        _invalid()
    # `/~ada/vms.git` is below a home folder.
    path = path[1:] if path.startswith("/~") else path
    return Address(text, host, path, unquote(parts.username or ""), port)


def _of_scp(text: str) -> Address:
    match = _SCP.fullmatch(text)
    if match is None:
        _invalid()
    return Address(text, match["host"].strip("[]"), match["path"], match["user"] or "")


def _invalid(error: Exception | None = None) -> NoReturn:
    # The address is not repeated: it may hold a password in a place where nobody looks for one.
    raise RepositoryError(
        "InvalidAddress",
        "the repository's address is none of the forms ssh://[USER@]HOST[:PORT]/PATH and "
        "[USER@]HOST:PATH: correct --repo",
        retry=False,
    ) from error
