"""Downloads that outlive the agent that began them: a file in the spool, and beside it what its
server said of the whole, by which it can be asked for the rest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.core.model import Json
from agent.images.errors import CancelledError
from agent.images.spool import PREFIX, Sink, new_file, new_hash

PART = f"{PREFIX}part-"
_SAID = ".json"
KEPT = 24 * 3600.0
"""Seconds for which nobody may go on with a file before it is removed."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def sweep(spool: Path) -> None:
    """Remove what a killed run left, but for what a download can go on with. Call it before the
    first fetch: it takes files of fetches that run, too.
    """
    if spool.is_dir():
        for path in spool.glob(f"{PREFIX}*"):
            if not (path.name.startswith(PART) and _said(_file_of(path)) is not None):
                path.unlink(missing_ok=True)
    _forget_old(spool)


def _file_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(_SAID))


def _forget_old(spool: Path) -> None:
    for path in spool.glob(f"{PART}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > KEPT:
                path.unlink()


@dataclass(frozen=True)
class Said:
    """What a server said of a file."""

    validator: str
    """What `If-Range` may carry."""
    total: int
    """Bytes in all."""


class PartialSink(Sink):
    """A sink for what `name` tells from all others; it goes on with what is there of it. At the end
    the file bears another name. It stays where the agent ends, and nowhere else.
    """

    def __init__(
        self,
        spool: Path,
        limit: int,
        algorithms: Collection[str],
        name: str,
        ending: Callable[[], bool],
    ) -> None:
        for algorithm in algorithms:
            new_hash(algorithm)  # which this machine may not have
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(spool)
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        path = spool / f"{PART}{digest}"
        self._ending = ending
        self.said = _said(path)
        if self.said is None:
            _forget(path)
            path.touch(mode=0o600)
        super().__init__(spool, limit, algorithms, path, self.said.total - 1 if self.said else 0)

    def note(self, validator: str | None, total: int | None) -> None:
        """What the server says of the file that is written from now on."""
        if validator is None or total is None:
            _beside(self.path).unlink(missing_ok=True)
            return
        said = {"validator": validator, "total": total, "boot": _boot()}
        new = new_file(self.spool)
        new.write_text(json.dumps(said))
        new.replace(_beside(self.path))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        path = self.path
        if isinstance(error, CancelledError) and self._ending():
            self.close()
            return
        super().__exit__(kind, error, trace)
        if error is None:
            self.path = new_file(self.spool)
            path.replace(self.path)
        _forget(path)


def _said(path: Path) -> Said | None:
    """What is known of a file that can be gone on with. After a crash of the machine nobody knows
    what of it has reached the disk.
    """
    try:
        said: Json = json.loads(_beside(path).read_bytes())
        usable = said["boot"] == _boot() and path.is_file()
        return Said(str(said["validator"]), int(said["total"])) if usable else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _boot() -> str:
    return _BOOT.read_text().strip()


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _SAID)


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)
