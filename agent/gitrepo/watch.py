"""News of a local repository, within some ten milliseconds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import watchfiles

from agent.gitrepo.refs import TRACKED

_STEP, _DEBOUNCE = 5, 50
_LOOK = 1_000
"""Milliseconds without an event after which the folders are looked at, for what no event told."""


def watch(paths: Iterable[Path], wake: Callable[[], None], stop: threading.Event) -> None:
    """Call `wake` when a branch or a ref of the agent may have moved; return once `stop` is set.

    `paths` are what `Repository.watch_paths` gave. They may be missing, go, and come back. `wake`
    is called from this thread: once at the start, for what happened before, and sometimes without
    need.
    """
    roots = tuple(paths)
    seen = _look(roots)
    if roots:
        wake()
    while roots and not stop.is_set():
        seen = _watch(roots, seen, wake, stop)


def _watch(
    roots: tuple[Path, ...], seen: _Look, wake: Callable[[], None], stop: threading.Event
) -> _Look:
    """Watch the folders that are there now for as long as they are the same; what was seen last."""
    folders = _folders(roots)
    try:
        # Not recursively: below lie the objects, of which a repack makes thousands.
        for changes in watchfiles.watch(
            *folders,
            watch_filter=_no_lock,
            step=_STEP,
            debounce=_DEBOUNCE,
            rust_timeout=_LOOK,
            yield_on_timeout=True,
            stop_event=stop,
            recursive=False,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            now = _look(roots)
            # Two moves of a ref can fall into one tick of the file system's clock: an event counts.
            if now != seen or any(folders.get(Path(path).parent) for _, path in changes):
                seen = now
                wake()
            if _folders(roots) != folders:
                break
    except OSError:
        # A folder went before it could be watched.
        stop.wait(_STEP / 1000)
    return seen


def _no_lock(change: watchfiles.Change, path: str) -> bool:
    return not path.endswith(".lock")


def _folders(roots: tuple[Path, ...]) -> dict[Path, tuple[int, ...]]:
    """The folders to watch. Those of refs have their inode, by which a new folder is told.

    The others, the repository's own and the nearest one above a missing repository, have nothing.
    """
    folders: dict[Path, tuple[int, ...]] = {}
    for root in roots:
        control = _control(root)
        folders[next(at for at in (control, *control.parents) if at.is_dir())] = ()
        folders.update((folder, stamp[:1]) for folder, stamp in _ref_folders(control))
    return folders


_Look = list[tuple[Path, tuple[int, ...]]]


def _look(roots: tuple[Path, ...]) -> _Look:
    """What changes whenever a ref does: packed-refs is replaced, or a file in a folder of refs."""
    stamps: _Look = []
    for root in roots:
        control = _control(root)
        stamps.append((control, _stamp(control)[:1]))
        stamps.append((control, _stamp(control / "packed-refs")))
        stamps.extend(_ref_folders(control))
    return stamps


def _ref_folders(control: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
    yield from ((at, _stamp(at)) for at in (control / "refs",) if at.is_dir())
    for space in TRACKED:
        for at, _, _ in os.walk(control / space.rstrip("/")):
            yield Path(at), _stamp(Path(at))


def _control(root: Path) -> Path:
    inside = root / ".git"
    return inside if inside.is_dir() else root


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
