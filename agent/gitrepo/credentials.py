"""User and password for a remote repository, and where they may be written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from agent.gitrepo.repository import RepositoryError

_MAX_FILE = 64 * 1024
_USER_OF_TOKEN = "x-access-token"  # noqa: S105
"""GitHub, GitLab, Gitea and Forgejo take a token as the password of any user; this name is GitHub's
own.
"""


@dataclass(frozen=True)
class Credentials:
    """What proves who we are. Neither field shows in `repr`, for a token may stand in either."""

    username: str = field(repr=False)
    password: str = field(repr=False)

    @classmethod
    def token(cls, token: str) -> Credentials:
        """An access token alone."""
        return cls(_USER_OF_TOKEN, token)

    def hide(self, text: str) -> str:
        """`text` without the password, should a server have sent it back to us."""
        return text.replace(self.password, "***") if self.password else text


def split_url(url: str) -> tuple[str, Credentials | None]:
    """An http(s) URL without user information, and the credentials that stood in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid_address() from error
    if not host or parts.query or parts.fragment or any(ord(sign) <= 0x20 for sign in url):
        raise _invalid_address()
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    address = parts._replace(netloc=netloc).geturl().rstrip("/")
    return address, _user_information(parts)


def read_credentials(path: Path, address: str) -> Credentials:
    """Credentials for `address` from a file: one line with a token, or lines as Git's `store`
    helper writes them.

    Such a line is `https://user:password@host[/path]`; the first that fits the address counts.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RepositoryError(
            "CredentialsUnreadable",
            f"the credentials file {path} cannot be read ({type(error).__name__}): "
            "make it a text file that the agent's user may read",
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if len(lines) == 1 and "://" not in lines[0]:
        return Credentials.token(lines[0])
    for line in lines:
        credentials = _matching(line, address)
        if credentials is not None:
            return credentials
    raise RepositoryError(
        "CredentialsMissing",
        f"the credentials file {path} has none for {address}: write either just a token into it, "
        "or a line https://USER:PASSWORD@HOST",
    )


def _matching(line: str, address: str) -> Credentials | None:
    try:
        url, credentials = split_url(line)
    except RepositoryError:
        return None
    fits = address == url or address.startswith(url + "/")
    return credentials if fits else None


def _user_information(parts: SplitResult) -> Credentials | None:
    if not parts.username and not parts.password:
        return None
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Credentials(username, password) if password else Credentials.token(username)


def _invalid_address() -> RepositoryError:
    # The address is not repeated: it may hold a password in a place where nobody looks for one.
    return RepositoryError(
        "InvalidAddress",
        "the repository's address is no URL of the form https://HOST[:PORT]/PATH: correct --repo",
        retry=False,
    )
