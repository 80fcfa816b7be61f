"""From a commit to what it asks for. What a blob means is remembered by its id, a whole commit by
its tree.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from agent.core.manifests import Checks, FileResult, amend, assemble, is_manifest_file, read_file
from agent.core.model import Desired, Key, Manifest, Problem
from agent.core.schema import Catalogue
from agent.gitrepo.repository import TreeFile
from agent.gitrepo.worktree import Source

MAX_FILE = 1024 * 1024
REMEMBERED = 50_000
TOO_LARGE = "is larger than 1 MiB: manifests are small, split the file"
NO_FILE = "is a {}: manifests are ordinary files, put the content here"
ODD_NAME = "has control characters in its name: rename the file"


@dataclass(frozen=True)
class _Read:
    """What was read last of a series. Files are known by their instance, which is the same for as
    long as nothing changes.
    """

    files: Mapping[int, TreeFile]
    desired: Desired


class ManifestReader:
    """Reads manifests from commits and folders."""

    def __init__(self, catalogue: Catalogue, checks: Checks) -> None:
        self._catalogue = catalogue
        self._checks = checks
        self._results: dict[str, FileResult] = {}
        self._last: dict[str, _Read] = {}

    def read(self, source: Source, series: str = "") -> Desired:
        """Everything below the source's folder. Dot folders are not looked at. In a series, such
        as the commits of one branch, a read costs what has changed since the one before it.
        """
        files = {id(file): file for file in source.files()}
        last = self._last.get(series)
        desired = self._amended(source, last, files) if last is not None else None
        if desired is None:
            desired = assemble(source.revision, self._files(source, _manifests(files.values())))
        if series:
            self._last[series] = _Read(files, desired)
        self._forget(files.values())
        return desired

    def find(self, source: Source, path: str, key: Key) -> Manifest | None:
        """One object's manifest as a file of another commit has it."""
        for file in source.files():
            if file.path == path and file.kind == "file":
                return next(
                    (each for each in self._result(source, file).manifests if each.key == key), None
                )
        return None

    def _amended(
        self, source: Source, last: _Read, files: Mapping[int, TreeFile]
    ) -> Desired | None:
        """The last read with what has changed since; None where that does not tell."""
        gone = _manifests(last.files[each] for each in last.files.keys() - files.keys())
        new = _manifests(files[each] for each in files.keys() - last.files.keys())
        if any(file.kind == "file" and file.blob not in self._results for file in gone):
            return None  # forgotten, or too large
        return amend(
            last.desired, source.revision, self._files(source, gone), self._files(source, new)
        )

    def _files(self, source: Source, files: Iterable[TreeFile]) -> Iterator[tuple[str, FileResult]]:
        for file in files:
            if file.kind != "file":
                yield file.path, _broken(NO_FILE.format(file.kind))
            elif not file.path.isprintable():  # it becomes a part of XML, and people read it
                yield file.path, _broken(ODD_NAME)
            else:
                yield file.path, self._result(source, file)

    def _forget(self, files: Collection[TreeFile]) -> None:
        """Of very many results keep those of these files."""
        if len(self._results) > REMEMBERED + len(files):
            blobs = {file.blob for file in files}
            self._results = {
                blob: result for blob, result in self._results.items() if blob in blobs
            }

    def _result(self, source: Source, file: TreeFile) -> FileResult:
        known = self._results.get(file.blob) if file.blob else None
        if known is None:
            if source.size(file) > MAX_FILE:
                return _broken(TOO_LARGE)
            known = read_file(self._catalogue, self._checks, source.read(file))
            if file.blob:
                self._results[file.blob] = known
        return known


def _manifests(files: Iterable[TreeFile]) -> list[TreeFile]:
    """Those that are read."""
    return [
        file
        for file in files
        if is_manifest_file(file.path) and not file.path.startswith(".") and "/." not in file.path
    ]


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


def removable(asked: Desired, keys: Container[Key]) -> list[str]:
    """Files in which there is nothing but these objects."""
    others = {path for key, path in asked.paths.items() if key not in keys}
    others |= {problem.file for problem in (*asked.problems, *asked.ignored)}
    return sorted({path for key, path in asked.paths.items() if key in keys} - others)
