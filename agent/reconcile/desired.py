"""From a commit to what it asks for. What a blob means is remembered by its id, a whole commit by
its tree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from agent.core import marks as core_marks
from agent.core.assembly import amend, assemble
from agent.core.manifests import Checks, FileResult, is_json, is_manifest_file, read_file
from agent.core.model import Desired, Key, Manifest, Problem
from agent.core.schema import Catalogue
from agent.gitrepo.repository import TreeFile
from agent.gitrepo.worktree import CommitSource, Source
from agent.kinds.rivals import apart

MAX_FILE = 1024 * 1024
REMEMBERED = 50_000
"""Results of files that may have gone meanwhile."""
TOO_LARGE = "is larger than 1 MiB: manifests are small, split the file"
NO_FILE = "is a {} and not followed: put the manifests here, or take it out of the folder"
ODD_NAME = "has control characters in its name: rename the file"


class ManifestReader:
    """Reads manifests from commits and folders."""

    def __init__(self, catalogue: Catalogue, checks: Checks) -> None:
        self._catalogue = catalogue
        self._checks = checks
        self._results: dict[tuple[str, bool], FileResult] = {}
        self._limit = REMEMBERED
        self._last: dict[str, tuple[str | None, Desired]] = {}
        """What was read last of a branch, and from which tree."""

    def read(self, source: Source) -> Desired:
        """Everything below the source's folder. Dot folders are not looked at."""
        files = _manifests(source.files())
        if self._full:
            self._forget(files)
        return apart(assemble(source.revision, self._files(source, files)))

    def follow(self, source: CommitSource, branch: str) -> Desired:
        """The same of a branch's next commit, at the cost of what has changed since the last."""
        tree = source.tree()
        last = self._last.get(branch)
        desired = self._amended(source, *last) if last is not None and not self._full else None
        if desired is None:
            desired = self.read(source)
        self._last[branch] = tree, desired
        return desired

    def find(self, source: Source, path: str, key: Key) -> Manifest | None:
        """One object's manifest as a file of another commit has it."""
        for file in source.files():
            if file.path == path and file.kind == "file":
                return next(
                    (
                        manifest
                        for manifest in self._result(source, file).manifests
                        if manifest.key == key
                    ),
                    None,
                )
        return None

    def _amended(self, source: CommitSource, tree: str | None, last: Desired) -> Desired | None:
        """The last read with what has changed since; None where that does not tell."""
        pairs = source.changed(tree)
        if pairs is None:
            return None
        gone = _manifests(old for old, _ in pairs if old)
        new = _manifests(new for _, new in pairs if new)
        if any(file.kind == "file" and _content(file) not in self._results for file in gone):
            return None  # forgotten, or too large
        amended = amend(last, source.revision, self._files(source, gone), self._files(source, new))
        return None if amended is None else apart(amended)

    def _files(self, source: Source, files: Iterable[TreeFile]) -> Iterator[tuple[str, FileResult]]:
        for file in files:
            if file.kind != "file":
                yield file.path, _broken(NO_FILE.format(file.kind))
            elif not file.path.isprintable():  # it becomes a part of XML, and people read it
                yield file.path, _broken(ODD_NAME)
            else:
                yield file.path, self._result(source, file)

    @property
    def _full(self) -> bool:
        return len(self._results) > self._limit

    def _forget(self, files: Collection[TreeFile]) -> None:
        """Keep the results of these files."""
        contents = {_content(file) for file in files}
        self._results = {key: result for key, result in self._results.items() if key in contents}
        self._limit = REMEMBERED + len(self._results)

    def _result(self, source: Source, file: TreeFile) -> FileResult:
        content = _content(file)
        known = self._results.get(content) if file.blob else None
        if known is None:
            if source.size(file) > MAX_FILE:
                return _broken(TOO_LARGE)
            data = source.read(file)
            known = read_file(self._catalogue, self._checks, data, json=is_json(file.path))
            if file.blob:
                self._results[content] = known
        return known


def _manifests(files: Iterable[TreeFile]) -> list[TreeFile]:
    return [file for file in files if counts(file)]


def counts(file: TreeFile) -> bool:
    """True for what is read, and for what may hide something that would be: manifests may lie
    below a link to a folder or in another repository, whatever its name.
    """
    if file.path.startswith(".") or "/." in file.path:
        return False
    return file.kind != "file" or is_manifest_file(file.path)


def _content(file: TreeFile) -> tuple[str, bool]:
    """What is read of a file, and how."""
    return file.blob, is_json(file.path)


def _broken(message: str) -> FileResult:
    return FileResult(problems=(Problem("", 0, "", "", message),), broken=True)


def together(catalogue: Catalogue, main: Desired, operations: Desired) -> Desired:
    """What both branches ask for: the operations branch holds requests, of which main's word
    counts, and marks, where both count.
    """
    marks = {
        key: manifest
        for key, manifest in operations.manifests.items()
        if key.kind in catalogue.marked
    }
    marked = {
        key: core_marks.marked(catalogue.kinds[key.kind], main.manifests.get(key), mark)
        for key, mark in marks.items()
        if key not in main.invalid
    }
    # one that does not hold takes no mark away: the object stays as it was
    spoiled = {key for key in operations.invalid if key.kind in catalogue.marked}
    ours = {key: manifest for key, manifest in main.manifests.items() if key not in spoiled}
    extra = {
        key: manifest
        for key, manifest in operations.manifests.items()
        if key.kind in catalogue.requests
    }
    problems = list(main.problems) + list(operations.problems)
    taken = " and ".join(f"{kind}s" for kind in sorted(catalogue.requests))
    for key in operations.manifests.keys() - extra.keys() - marks.keys():
        path = operations.paths[key]
        message = f"stands on the operations branch, where only {taken} are accepted"
        problems.append(Problem(path, 0, str(key), "", message))
    for key, mark in marks.items():
        kind, path = catalogue.kinds[key.kind], operations.paths[key]
        message = f"counts on the main branch only; here only {', '.join(kind.marks)} does"
        for field in core_marks.beyond(kind, mark):
            problems.append(Problem(path, mark.line, str(key), field, message))
    return replace(
        main,
        manifests={**extra, **ours, **marked},
        paths={**operations.paths, **main.paths},
        invalid=main.invalid | operations.invalid,
        problems=tuple(problems),
        broken=main.broken + operations.broken,
        meant={**operations.meant, **main.meant},
        asked=dict.fromkeys(
            (extra.keys() | marked.keys()) - main.manifests.keys(), operations.revision
        ),
    )
