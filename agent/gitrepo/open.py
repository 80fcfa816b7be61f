"""From an address to the adapter that fits it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dulwich.errors import NotGitRepository
from dulwich.repo import Repo, UnsupportedExtension, UnsupportedVersion

from agent.gitrepo.credentials import Credentials
from agent.gitrepo.disk import DAMAGE
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.refs import Spaces
from agent.gitrepo.remote import RemoteRepository
from agent.gitrepo.repository import Repository, RepositoryError

__all__ = ["Credentials", "open_repository", "origin_of"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP = re.compile(r"(?:[^/@:\s]+@)?[^/@:\s]{2,}:(?!//)\S")
"""`git@host:path`, as Git reads it: a colon before any slash."""


def open_repository(
    address: str,
    cache_dir: Path,
    credentials: Credentials | None = None,
    refs: tuple[str, ...] = (),
) -> Repository:
    """The repository at a path, a `file://` URL, or an http(s) URL, which may hold credentials.
    `refs` are patterns of refs that a fetch brings beside branches.

    Nothing is read yet. RepositoryError InvalidAddress or TransportNotSupported says what is wrong
    with the address itself.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        if _SCP.match(address) and not Path(address).exists():
            raise _ssh()
        return LocalRepository(_absolute(address), spaces=Spaces(refs))
    name = scheme[1].lower()
    if name in ("http", "https"):
        return RemoteRepository(address, cache_dir, credentials, spaces=Spaces(refs))
    if name == "file":
        return LocalRepository(_of_file_url(address), spaces=Spaces(refs))
    if name in ("ssh", "git+ssh", "ssh+git"):
        raise _ssh()
    raise RepositoryError(
        "TransportNotSupported",
        f"addresses that begin with {name}:// are not supported: use https://, or a path",
        retry=False,
    )


def origin_of(folder: Path) -> str | None:
    """The address of `origin` for the clone that `folder` lies in; None if there is none.

    It may hold credentials: it is for `open_repository`, not for logs.
    """
    try:
        with Repo.discover(str(folder)) as repo:
            address = repo.get_config().get((b"remote", b"origin"), b"url").decode()
            root = Path(repo.path)
    except (NotGitRepository, UnsupportedExtension, UnsupportedVersion, KeyError, OSError, *DAMAGE):
        return None
    if _SCHEME.match(address) or _SCP.match(address):
        return address
    return str(root / address)


def _absolute(address: str) -> Path:
    if not address or "\0" in address:
        raise RepositoryError(
            "InvalidAddress", "the repository's address is empty: give it with --repo", retry=False
        )
    try:
        return Path(address).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise RepositoryError(
            "InvalidAddress", f"{address!r} names no folder: correct --repo", retry=False
        ) from error


def _of_file_url(address: str) -> Path:
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise RepositoryError(
            "InvalidAddress",
            "a file:// address names a folder of this machine, as in file:///srv/git/fleet.git: "
            "correct --repo",
            retry=False,
        )
    return _absolute(unquote(parts.path))


def _ssh() -> RepositoryError:
    return RepositoryError(
        "TransportNotSupported",
        "repositories over ssh are not supported yet: use the https:// address of the same "
        "repository with an access token, or a path on this machine",
        retry=False,
    )
