"""Has a branch planned by a child with limits, and hands it what it may know: no secret, and no
object that has nothing to do with the branch.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.core import planprint
from agent.core.ledger import Record, document
from agent.core.model import Json, Key
from agent.core.schema import Catalogue
from agent.reconcile.plans.child import CPU, MEMORY
from agent.reconcile.plans.open_branches import BranchChange, Files
from agent.reconcile.plans.planning import part, related
from agent.reconcile.status_branch import Ledger

DEADLINE = 30.0
"""Seconds that one plan may take."""
LAST_WORDS = 2.0
"""Seconds in which a child that has failed can say why."""
MOST_ANSWER = 1024 * 1024
MOST_PAGE = 256 * 1024
MOST_KEYS = 5_000
MOST_RECORDS = 2_000
LONGEST_REASON = 200
FAILED = "It cannot be planned: {}."
LARGE = "look for deep nesting, aliases and very many objects"
TOO_MANY = (
    f"It cannot be planned: more than {MOST_RECORDS} objects have to do with what it changes."
)
ROOT = str(Path(__file__).resolve().parents[3])


class _ChildFailedError(Exception):
    """The child ended early, was ended, or said something strange."""


@dataclass(frozen=True)
class Known:
    """What a plan may be made from, of one object."""

    record: Record | None
    trashed: tuple[Record, ...]
    """What may come back if the object is wanted again."""

    @classmethod
    def of(cls, ledger: Ledger, key: Key) -> Known:
        trashed = (record for record in ledger.trash.values() if record.obj.key == key)
        return cls(ledger.records.get(key), tuple(trashed))


@dataclass(frozen=True)
class Planned:
    """A branch's plan, and the objects it was made from."""

    ref: str
    tip: str
    main: str
    page: str
    made_from: Mapping[Key, Known]
    failure: str = ""
    """Why there is none, where another try may help: the end of a sentence."""


def plan_branch(
    catalogue: Catalogue,
    change: BranchChange,
    ledger: Ledger,
    fleet: str,
    folder: str,
    now: float,
) -> Planned:
    """Takes at most DEADLINE seconds and a moment. Never raises: what cannot be planned says so."""
    about = planprint.branch(change.ref, change.tip)

    def made(page: str, keys: set[Key], failure: str = "") -> Planned:
        near = part(ledger, keys)
        made_from = {key: Known.of(near, key) for key in keys}
        return Planned(change.ref, change.tip, change.main, page, made_from, failure)

    if change.refusal:
        return made(planprint.refused(change.refusal, about), set())
    with _child() as child:
        try:
            changed, named = _told(child, change, fleet, folder, now)
            keys = related(catalogue, ledger.records, changed, named)
            if len(keys) > MOST_RECORDS:
                return made(planprint.refused(TOO_MANY, about), changed | named)
            child.say(_second(catalogue, ledger, keys))
            page = child.rest()
        except _ChildFailedError:
            return unplanned(change, child.failure())
    return made(page, keys)


def unplanned(change: BranchChange, why: str) -> Planned:
    """A plan that failed. `why` is the end of a sentence."""
    about = planprint.branch(change.ref, change.tip)
    page = planprint.refused(FAILED.format(planprint.escape(why)), about)
    return Planned(change.ref, change.tip, change.main, page, {}, why)


class _Child:
    """A process that plans, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said = b""
        self._late = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._alarm = threading.Timer(DEADLINE, self._end)
        self._listener.start()
        self._alarm.start()

    def close(self) -> None:
        self._alarm.cancel()
        self._process.kill()
        self._listener.join()
        self.hang_up()

    def hang_up(self) -> None:
        if self._process.stdin:
            with suppress(OSError):  # it may have left before it read all
                self._process.stdin.close()

    def say(self, value: Json) -> None:
        try:
            if self._process.stdin:
                self._process.stdin.write(json.dumps(value).encode() + b"\n")
                self._process.stdin.flush()
        except OSError as error:
            raise _ChildFailedError from error

    def line(self) -> bytes:
        return self._process.stdout.readline(MOST_ANSWER) if self._process.stdout else b""

    def rest(self) -> str:
        data = self._process.stdout.read(MOST_PAGE + 1) if self._process.stdout else b""
        if not data or len(data) > MOST_PAGE or self._process.wait():
            raise _ChildFailedError
        return data.decode(errors="replace")

    def failure(self) -> str:
        """Why it failed, as the end of a sentence. Nothing that a manifest says stands in it."""
        self.hang_up()
        try:
            status = self._process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = 0
        self._listener.join()
        lines = self._said.decode("ascii", "replace").strip().splitlines()
        last = "".join(filter(str.isprintable, lines[-1]))[:LONGEST_REASON] if lines else ""
        if self._late:
            return f"it takes longer than {DEADLINE:g} seconds; {LARGE}"
        if status == -signal.SIGXCPU:
            return f"it takes more than {CPU} seconds of processor time; {LARGE}"
        if last.startswith("MemoryError"):
            return f"it takes more than {MEMORY // 1024**2} MiB of memory; {LARGE}"
        if status == 0:
            return "the process that plans gave no answer that could be used"
        ended = f"by signal {-status}" if status < 0 else f"with exit status {status}"
        return f"the process that plans ended {ended}{': ' if last else ''}{last}"

    def _listen(self) -> None:
        """Keep the end of what it complains about."""
        while self._process.stderr and (chunk := os.read(self._process.stderr.fileno(), 4096)):
            self._said = (self._said + chunk)[-4096:]

    def _end(self) -> None:
        self._late = True
        self._process.kill()


@contextmanager
def _child() -> Iterator[_Child]:
    with subprocess.Popen(
        [sys.executable, "-B", "-P", "-m", "agent.reconcile.plans.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"LC_ALL": "C.UTF-8", "PATH": os.defpath, "PYTHONPATH": ROOT},
        start_new_session=True,
    ) as process:
        child = _Child(process)
        try:
            yield child
        finally:
            child.close()


def _told(
    child: _Child, change: BranchChange, fleet: str, folder: str, now: float
) -> tuple[set[Key], set[Key]]:
    """What the branch changes, and what its manifests refer to."""
    first = {
        "ref": change.ref,
        "tip": change.tip,
        "fleet": fleet,
        "folder": folder,
        "now": now,
        "before": _encoded(change.before),
        "after": _encoded(change.after),
        "both": change.both,
        "theirs": _encoded(change.theirs),
    }
    child.say(first)
    try:
        value = json.loads(child.line())
        return _keys(value["changed"]), _keys(value["named"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _ChildFailedError from error


def _second(catalogue: Catalogue, ledger: Ledger, keys: set[Key]) -> dict[str, Json]:
    near = part(ledger, keys)
    others = Counter(
        key.kind
        for key, record in ledger.records.items()
        if key not in keys and not record.obj.deleted
    )
    return {
        "records": [document(catalogue, record) for _, record in sorted(near.records.items())],
        "trash": [document(catalogue, record) for record in near.trash.values()],
        "agent": dict(ledger.agent),
        "others": others,
    }


def _keys(value: Json) -> set[Key]:
    if len(value) > MOST_KEYS:
        raise _ChildFailedError
    keys = {Key(kind, namespace, name) for kind, namespace, name in value}
    if not all(isinstance(part, str) for key in keys for part in key):
        raise _ChildFailedError
    return keys


def _encoded(files: Files) -> list[list[str | int]]:
    return [[path, kind, size, base64.b64encode(data).decode()] for path, kind, size, data in files]
