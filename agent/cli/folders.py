"""Which folder on disk holds all manifests: what is not in the folder that is planned would be
deleted.
"""

from __future__ import annotations

from pathlib import Path

from agent.cli.command import CommandError
from agent.gitrepo.clone import Clone, clone_around, origin_of
from agent.gitrepo.repository import Repository

_PART = (
    "{folder} is not what the repository's manifests are: in this clone they are {whole}, and what "
    "is not in it would be deleted. Plan that folder, or check this one with `gitvirt validate "
    "{folder}`"
)
_NO_CLONE = (
    "{here} lies in no clone of {address}: name the folder that holds all manifests, or a branch "
    "with --revision"
)


def manifests_folder(
    named: str | None, below: str, repository: Repository, where: str, main: str | None
) -> Path:
    """The folder that is meant: the one that is named, else that of the clone one stands in.

    `below` is where manifests lie in the repository, `where` its address, `main` its main branch.
    CommandError where a part would be taken for the whole.
    """
    here = _folder(named) if named else Path.cwd()
    clone = clone_around(here)
    if clone is not None and not _is_of(clone, repository, where, main):
        clone = None
    if clone is None:
        if not named:
            raise CommandError(_NO_CLONE.format(here=here, address=repository.address))
        return here
    whole = clone.root / below
    if named and here.resolve() != whole.resolve():
        raise CommandError(_PART.format(folder=here, whole=whole))
    return _folder(str(whole))


def _folder(named: str) -> Path:
    folder = Path(named)
    if not folder.exists():
        raise CommandError(f"{folder}: there is no such folder")
    if not folder.is_dir():
        raise CommandError(
            f"PATH must be a folder, and {folder} is a file: what is not in it would be deleted. "
            f"Name the folder with all manifests, or check the file with `gitvirt validate "
            f"{folder}`"
        )
    return folder


def _is_of(clone: Clone, repository: Repository, where: str, main: str | None) -> bool:
    """True for a clone of the repository, whatever it calls its address."""
    if where in (str(clone.root), origin_of(clone.root)):
        return True
    if main is not None and clone.has(main):
        return True
    return any(repository.resolve(tip) for tip in clone.tips)
