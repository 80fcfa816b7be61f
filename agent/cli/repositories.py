"""From the settings to the repository that a command works on."""

from __future__ import annotations

from pathlib import Path

from agent.cli.command import CommandError
from agent.gitrepo.clone import head_of, origin_of, ssh_command
from agent.gitrepo.credentials import Credentials, read_credentials, split_url
from agent.gitrepo.open import open_repository
from agent.gitrepo.repository import Repository
from agent.settings import Settings

_NONE = (
    "no repository is named: give --repo, set GITVIRT_REPO, or stand in a clone of the repository"
)


def opened(settings: Settings, folder: Path | None = None) -> Repository:
    """The repository; the caller closes it. `folder` is where one stands."""
    here = folder or Path.cwd()
    where = address(settings, here)
    return open_repository(
        where,
        settings.data_dir / "repositories",
        _credentials(settings, where),
        settings.plan_refs,
        settings.ssh_command or ssh_command(here),
        settings.proxies,
    )


def address(settings: Settings, folder: Path) -> str:
    """--repo or its like, else the origin of the clone that `folder` lies in, else the repository
    that it lies in. It may hold credentials.
    """
    if settings.repo:
        return settings.repo
    origin = origin_of(folder)
    if origin is not None:
        return origin
    for at in (folder, *folder.parents):
        if (at / ".git").exists():
            return str(at)
        if (at / "HEAD").is_file() and (at / "objects").is_dir() and (at / "refs").is_dir():
            return str(at)
    raise CommandError(_NONE)


def commit_of(repository: Repository, revision: str) -> str:
    """The commit that a branch, a tag or an id names in the repository; HEAD is that of the clone
    one stands in, as Git has it. CommandError if the repository has no such commit.
    """
    said, wanted = repr(revision), revision
    if revision in ("HEAD", "@"):
        head = head_of(Path.cwd())
        if head is None:
            raise CommandError(
                "HEAD is what is checked out, and this folder lies in no clone with a commit: "
                "name a branch or a commit"
            )
        said, wanted = f"{head[:12]}, the HEAD of this clone", head
    commit = repository.resolve(wanted)
    if commit is None:
        raise CommandError(
            f"{repository.address} has no branch, tag or commit {said}: is it pushed?"
        )
    return commit


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
