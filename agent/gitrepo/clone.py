"""The clone that somebody stands in: its files are people's, and are only looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dulwich.errors import NotGitRepository
from dulwich.objects import ObjectID
from dulwich.repo import Repo, UnsupportedExtension, UnsupportedVersion

from agent.gitrepo.disk import DAMAGE

_UNREADABLE = (NotGitRepository, UnsupportedExtension, UnsupportedVersion, OSError, KeyError)


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
        except (*_UNREADABLE, *DAMAGE):
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
    except (*_UNREADABLE, *DAMAGE):
        return None
