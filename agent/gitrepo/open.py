"""From an address to the adapter that fits it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agent.core.proxies import Proxies
from agent.gitrepo.credentials import Credentials
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.refs import Spaces
from agent.gitrepo.repository import Repository, RepositoryError
from agent.gitrepo.ssh_address import SCHEMES, SSH, is_scp

__all__ = ["Credentials", "open_repository"]

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)")
"""Of a URL, or of what Git hands to a program of that name."""


def open_repository(
    address: str,
    cache_dir: Path,
    credentials: Credentials | None = None,
    refs: tuple[str, ...] = (),
    ssh: str = SSH,
    proxies: Proxies | None = None,
) -> Repository:
    """The repository at a path, a `file://` URL, an http(s) URL, which may hold credentials, or
    one of ssh's two forms. `refs` are patterns of refs that a fetch brings beside branches, `ssh`
    is the command for ssh, a line of shell.

    Nothing is read yet. RepositoryError InvalidAddress or TransportNotSupported says what is wrong
    with the address itself.
    """
    spaces = Spaces(refs)
    scheme = SCHEME.match(address)
    name = scheme[1].lower() if scheme else ""
    if name in SCHEMES or (not scheme and is_scp(address) and not Path(address).exists()):
        return _behind_ssh(address, ssh, cache_dir, spaces)
    if not name:
        return LocalRepository(_absolute(address), spaces=spaces)
    if name in ("http", "https"):
        return _on_the_web(address, credentials, proxies, cache_dir, spaces)
    if name == "file":
        return LocalRepository(_of_file_url(address), spaces=spaces)
    raise RepositoryError(
        "TransportNotSupported",
        f"addresses that begin with {name}:// are not supported: use https://, ssh://, or a path",
        retry=False,
    )


# What speaks to servers takes longer to load than a command on a local repository takes in all.


def _behind_ssh(address: str, command: str, cache_dir: Path, spaces: Spaces) -> Repository:
    from agent.gitrepo.remote import RemoteRepository
    from agent.gitrepo.ssh import SshClient

    return RemoteRepository(SshClient(address, command), cache_dir, spaces=spaces)


def _on_the_web(
    address: str,
    credentials: Credentials | None,
    proxies: Proxies | None,
    cache_dir: Path,
    spaces: Spaces,
) -> Repository:
    from agent.gitrepo.http import SmartHttpClient
    from agent.gitrepo.remote import RemoteRepository

    client = SmartHttpClient(address, credentials, proxies=proxies)
    return RemoteRepository(client, cache_dir, spaces=spaces)


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
