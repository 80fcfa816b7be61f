"""From the settings to the repository that a command works on."""

from __future__ import annotations

from pathlib import Path

from agent.cli.command import CommandError
from agent.gitrepo.credentials import Credentials, read_credentials, split_url
from agent.gitrepo.open import open_repository, origin_of
from agent.gitrepo.repository import Repository
from agent.settings import Settings

_NONE = (
    "no repository is named: give --repo, set GITVIRT_REPO, or stand in a clone of the repository"
)


def opened(settings: Settings, folder: Path | None = None) -> Repository:
    """The repository; the caller closes it. `folder` is where one stands."""
    where = address(settings, folder or Path.cwd())
    cache = settings.data_dir / "repositories"
    return open_repository(where, cache, _credentials(settings, where), settings.plan_refs)


def address(settings: Settings, folder: Path) -> str:
    """--repo or its like, else the origin of the clone that `folder` lies in, else the repository
    that it lies in. It may hold credentials.
    """
    if settings.repo:
        return settings.repo
    found = origin_of(folder)
    if found is not None:
        return found
    for at in (folder, *folder.parents):
        if (at / ".git").exists():
            return str(at)
        if (at / "HEAD").is_file() and (at / "objects").is_dir() and (at / "refs").is_dir():
            return str(at)
    raise CommandError(_NONE)


def _credentials(settings: Settings, where: str) -> Credentials | None:
    if not where.lower().startswith(("http://", "https://")):
        return None
    if settings.password:
        if settings.username:
            return Credentials(settings.username, settings.password)
        return Credentials.token(settings.password)
    if settings.credentials_file is not None:
        return read_credentials(settings.credentials_file, split_url(where)[0])
    return None
