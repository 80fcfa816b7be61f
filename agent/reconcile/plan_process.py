"""Has a branch planned by a child with limits, and hands it what it may know: no secret, and no
object that has nothing to do with the branch.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.core import planprint
from agent.core.ledger import Record, document
from agent.core.model import Json, Key
from agent.core.schema import Catalogue
from agent.reconcile.open_branches import BranchChange, Files
from agent.reconcile.planning import related

DEADLINE = 30.0
"""Seconds that one plan may take."""
MOST_ANSWER = 1024 * 1024
MOST_PAGE = 256 * 1024
MOST_KEYS = 5_000
MOST_RECORDS = 2_000
ALWAYS = ("ModuleConfig", "StorageClass", "Node", "VirtualMachineClass")
"""Kinds whose few objects decide about others."""
GUARDED = ("VirtualMachine", "VirtualDisk")
FREE_DELETIONS = 2
FAILED = (
    "It cannot be planned: that takes more memory or time than is allowed here. "
    "Look for deep nesting, aliases and very many objects."
)
TOO_MANY = (
    f"It cannot be planned: more than {MOST_RECORDS} objects have to do with what it changes."
)
ROOT = str(Path(__file__).resolve().parents[2])


class _ChildFailedError(Exception):
    """The child ended early, was ended, or said something strange."""


@dataclass(frozen=True)
class Planned:
    """A branch's plan, and the objects it was made from; None for one that was not there."""

    ref: str
    tip: str
    main: str
    page: str
    made_from: Mapping[Key, Record | None]


def plan_branch(
    catalogue: Catalogue,
    change: BranchChange,
    records: Mapping[Key, Record],
    fleet: str,
    folder: str,
    now: float,
) -> Planned:
    """Takes at most DEADLINE seconds. Never fails: what cannot be planned says so."""
    about = planprint.branch(change.ref, change.tip)

    def made(page: str, keys: set[Key]) -> Planned:
        made_from = {key: records.get(key) for key in keys}
        return Planned(change.ref, change.tip, change.main, page, made_from)

    if change.refusal:
        return made(planprint.refused(change.refusal, about), set())
    with _child() as child:
        alarm = threading.Timer(DEADLINE, child.kill)
        alarm.start()
        try:
            changed, named = _told(child, change, fleet, folder, now)
            always = {key for key in records if key.kind in ALWAYS}
            keys = related(records, changed, named) | always
            if len(keys) > MOST_RECORDS:
                return made(planprint.refused(TOO_MANY, about), changed | named)
            _say(child, _second(catalogue, records, keys, changed))
            page = _rest(child)
        except _ChildFailedError:
            return made(planprint.refused(FAILED, about), set())
        finally:
            alarm.cancel()
            child.kill()
            if child.stdin:
                with suppress(OSError):  # it may have left before it read all
                    child.stdin.close()
    return made(page, keys)


def _child() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-B", "-P", "-m", "agent.reconcile.plan_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C.UTF-8", "PATH": os.defpath, "PYTHONPATH": ROOT},
        start_new_session=True,
    )


def _told(
    child: subprocess.Popen[bytes], change: BranchChange, fleet: str, folder: str, now: float
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
    }
    _say(child, first)
    answer = child.stdout.readline(MOST_ANSWER) if child.stdout else b""
    try:
        value = json.loads(answer)
        return _keys(value["changed"]), _keys(value["named"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _ChildFailedError from error


def _second(
    catalogue: Catalogue, records: Mapping[Key, Record], keys: set[Key], changed: set[Key]
) -> dict[str, Json]:
    rest = Counter(key.kind for key in records if key.kind in GUARDED and key not in keys)
    deletions = Counter(key.kind for key in changed)
    others = {
        kind: count if deletions[kind] > FREE_DELETIONS else min(count, 1)
        for kind, count in rest.items()
    }
    known = [records[key] for key in sorted(keys & records.keys())]
    return {"records": [document(catalogue, each) for each in known], "others": others}


def _keys(value: Json) -> set[Key]:
    if len(value) > MOST_KEYS:
        raise _ChildFailedError
    keys = {Key(kind, namespace, name) for kind, namespace, name in value}
    if not all(isinstance(part, str) for key in keys for part in key):
        raise _ChildFailedError
    return keys


def _encoded(files: Files) -> list[list[str]]:
    return [[path, kind, base64.b64encode(data).decode()] for path, kind, data in files]


def _say(child: subprocess.Popen[bytes], value: Json) -> None:
    try:
        if child.stdin:
            child.stdin.write(json.dumps(value).encode() + b"\n")
            child.stdin.flush()
    except OSError as error:
        raise _ChildFailedError from error


def _rest(child: subprocess.Popen[bytes]) -> str:
    data = child.stdout.read(MOST_PAGE + 1) if child.stdout else b""
    if not data or len(data) > MOST_PAGE or child.wait():
        raise _ChildFailedError
    return data.decode(errors="replace")
