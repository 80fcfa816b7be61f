"""From a commit to what it asks for. What a blob means is remembered by its id, a whole commit by
its tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.core.manifests import Checks, FileResult, assemble, is_manifest_file, read_file
from agent.core.model import Desired, Key, Manifest, Problem
from agent.core.schema import Catalogue
from agent.gitrepo.repository import TreeFile
from agent.gitrepo.worktree import Source

MAX_FILE = 1024 * 1024
REMEMBERED = 50_000
TOO_LARGE = "is larger than 1 MiB: manifests are small, split the file"
NO_FILE = "is a {}: manifests are ordinary files, put the content here"


class ManifestReader:
    """Reads manifests from commits and folders."""

    def __init__(self, catalogue: Catalogue, checks: Checks) -> None:
        self._catalogue = catalogue
        self._checks = checks
        self._results: dict[str, FileResult] = {}

    def read(self, source: Source) -> Desired:
        """Everything below the source's folder. Dot folders are not looked at."""
        return assemble(source.revision, self._files(source))

    def find(self, source: Source, path: str, key: Key) -> Manifest | None:
        """One object's manifest as a file of another commit has it."""
        for file in source.files():
            if file.path == path and file.kind == "file":
                return next(
                    (each for each in self._result(source, file).manifests if each.key == key), None
                )
        return None

    def _files(self, source: Source) -> Iterator[tuple[str, FileResult]]:
        seen: dict[str, FileResult] = {}
        for file in source.files():
            if not is_manifest_file(file.path) or _hidden(file.path):
                continue
            if file.kind != "file":
                yield file.path, _broken(NO_FILE.format(file.kind))
            else:
                result = self._result(source, file)
                seen[file.blob] = result
                yield file.path, result
        if len(self._results) > REMEMBERED + len(seen):
            self._results = seen

    def _result(self, source: Source, file: TreeFile) -> FileResult:
        known = self._results.get(file.blob) if file.blob else None
        if known is None:
            if source.size(file) > MAX_FILE:
                return _broken(TOO_LARGE)
            known = read_file(self._catalogue, self._checks, source.read(file))
            if file.blob:
                self._results[file.blob] = known
        return known


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _broken(message: str) -> FileResult:
    return FileResult(problems=(Problem("", 0, "", "", message),), broken=True)


def together(main: Desired, operations: Desired) -> Desired:
    """What both branches ask for: the operations branch holds VirtualMachineOperations only, and
    main's word counts.
    """
    extra = {
        key: each
        for key, each in operations.manifests.items()
        if key.kind == "VirtualMachineOperation"
    }
    problems = list(main.problems) + list(operations.problems)
    for key in operations.manifests.keys() - extra.keys():
        path = operations.paths[key]
        message = "stands on the operations branch, where only VirtualMachineOperations are taken"
        problems.append(Problem(path, 0, str(key), "", message))
    return replace(
        main,
        manifests={**extra, **main.manifests},
        paths={**operations.paths, **main.paths},
        invalid=main.invalid | operations.invalid,
        problems=tuple(problems),
        broken=main.broken + operations.broken,
    )
