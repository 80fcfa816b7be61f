"""From the files of a commit to what they ask for together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from agent.core.manifests import FileResult
from agent.core.model import Desired, Key, Manifest, Meant, Problem


def assemble(revision: str, files: Iterable[tuple[str, FileResult]]) -> Desired:
    """What all files ask for together. Of two manifests for one name neither counts."""
    problems: list[Problem] = []
    ignored: list[Problem] = []
    broken: list[str] = []
    invalid: set[Key] = set()
    read: dict[Key, tuple[Manifest, str]] = {}
    meant: dict[Meant, str] = {}
    stands: defaultdict[Key, list[tuple[str, int]]] = defaultdict(list)
    for path, result in files:
        problems.extend(replace(problem, file=path) for problem in result.problems)
        ignored.extend(replace(note, file=path) for note in result.ignored)
        if result.broken:
            broken.append(path)
        for key, line in result.refused:
            invalid.add(key)
            stands[key].append((path, line))
        for name, line in result.meant:
            meant.setdefault(name, f"{path}:{line}")
        for manifest in result.manifests:
            read[manifest.key] = manifest, path
            stands[manifest.key].append((path, manifest.line))
    for key, where in stands.items():
        if len(where) > 1:
            invalid.add(key)
            problems.extend(_duplicates(key, where))
    held = {key: entry for key, entry in read.items() if key not in invalid}
    return Desired(
        revision=revision,
        manifests={key: manifest for key, (manifest, _) in held.items()},
        paths={key: path for key, (_, path) in held.items()},
        invalid=frozenset(invalid),
        problems=tuple(sorted(problems)),
        ignored=tuple(sorted(ignored)),
        broken=tuple(broken),
        meant=meant,
    )


def amend(
    before: Desired,
    revision: str,
    gone: Iterable[tuple[str, FileResult]],
    new: Iterable[tuple[str, FileResult]],
) -> Desired | None:
    """What `assemble` says after these files went and came. None where only all files together can
    tell: something is wrong in one of these, or a name is declared twice.
    """
    manifests, paths = dict(before.manifests), dict(before.paths)
    for path, result in gone:
        for manifest in result.manifests:
            if paths.pop(manifest.key, None) != path:
                return None
            del manifests[manifest.key]
        if not _plain(result):
            return None
    for path, result in new:
        for manifest in result.manifests:
            if manifest.key in manifests or manifest.key in before.invalid:
                return None
            manifests[manifest.key], paths[manifest.key] = manifest, path
        if not _plain(result):
            return None
    return replace(before, revision=revision, manifests=manifests, paths=paths)


def _plain(result: FileResult) -> bool:
    return replace(result, manifests=()) == FileResult()


def _duplicates(key: Key, where: list[tuple[str, int]]) -> Iterator[Problem]:
    for at, (path, line) in enumerate(where):
        other, other_line = where[0] if at else where[1]
        message = f"is declared in {other}:{other_line} too: neither counts until one is gone"
        yield Problem(path, line, str(key), "metadata.name", message)
