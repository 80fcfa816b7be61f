"""The clone that somebody stands in: its files are people's, and are only looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dulwich.config import StackedConfig
from dulwich.errors import NotGitRepository
from dulwich.objects import ObjectID
from dulwich.refs import SymrefLoop
from dulwich.repo import (
    InvalidUserIdentity,
    Repo,
    UnsupportedExtension,
    UnsupportedVersion,
    check_user_identity,
    get_user_identity,
)

from agent.gitrepo.disk import DAMAGE
from agent.gitrepo.open import SCHEME
from agent.gitrepo.ssh_address import SSH, is_scp

_UNREADABLE = (
    NotGitRepository,
    UnsupportedExtension,
    UnsupportedVersion,
    SymrefLoop,
    OSError,
    KeyError,
    *DAMAGE,
)


@dataclass(frozen=True)
class Clone:
    """`root` is the top of its files; `tips` are the commits that it stands at, and those that it
    knows of its remotes.
    """

    root: Path
    tips: frozenset[str]

    def has(self, commit: str) -> bool:
        """True if a commit is among its objects."""
        try:
            with Repo(str(self.root)) as repo:
                return ObjectID(commit.encode()) in repo.object_store
        except _UNREADABLE:
            return False


def clone_around(folder: Path) -> Clone | None:
    """The clone that a folder lies in; None where there is none, or one without files."""
    try:
        with Repo.discover(str(folder)) as repo:
            if repo.bare:
                return None
            tips = frozenset(
                tip.decode()
                for name, tip in repo.refs.as_dict().items()
                if name == b"HEAD" or name.startswith(b"refs/remotes/")
            )
            return Clone(Path(repo.path).resolve(), tips)
    except _UNREADABLE:
        return None


def origin_of(folder: Path) -> str | None:
    """The address of `origin` for the clone that `folder` lies in; None if there is none.

    It may hold credentials: it is for `open_repository`, not for logs.
    """
    try:
        with Repo.discover(str(folder)) as repo:
            address = repo.get_config().get((b"remote", b"origin"), b"url").decode()
            root = Path(repo.path)
    except _UNREADABLE:
        return None
    return address if SCHEME.match(address) or is_scp(address) else str(root / address)


def head_of(folder: Path) -> str | None:
    """The commit that is checked out in the clone that `folder` lies in; None if there is none."""
    try:
        with Repo.discover(str(folder)) as repo:
            return repo.head().decode()
    except _UNREADABLE:
        return None


def ssh_command(folder: Path) -> str:
    """Git's core.sshCommand, of the clone that `folder` lies in or of this user; else `ssh`."""
    try:
        return _configuration(folder).get((b"core",), b"sshCommand").decode() or SSH
    except _UNREADABLE:
        return SSH


def author_at(folder: Path) -> str:
    """Who Git would say makes a commit here, `Name <address>`; empty where that cannot be told."""
    try:
        identity = get_user_identity(_configuration(folder), "AUTHOR")
        check_user_identity(identity)
    except (InvalidUserIdentity, *_UNREADABLE):
        return ""
    return identity.decode(errors="replace")


def _configuration(folder: Path) -> StackedConfig:
    """Git's own. That of a clone of somebody else counts for nothing, as for Git itself: it names
    programs.
    """
    try:
        with Repo.discover(str(folder)) as repo:
            if Path(repo.controldir()).stat().st_uid == os.geteuid():
                return repo.get_config_stack()
    except _UNREADABLE:
        pass
    return StackedConfig.default()
