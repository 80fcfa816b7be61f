"""Differences between two specs of one kind, each with what it takes to apply it.

Both sides are complete (defaults filled in) and sealed (secrets replaced by digests). They are
compared canonically, so that 1Gi is 1024Mi, and printed as they are written.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, auto
from typing import Any, Protocol

from agent.core import difference
from agent.core.addresses import bare, hidden
from agent.core.model import Json
from agent.core.quantity import parse

SENSITIVE = "(sensitive)"
"""What people see in place of a secret value."""
SEAL = "sealed:"

Path = tuple[str, ...]


class Disposition(IntEnum):
    """What applying a change takes, in order of disruption: combining takes the greatest."""

    NONE = auto()
    IMMEDIATE = auto()
    RESTART = auto()


@dataclass(frozen=True)
class Change:
    """One difference. `path` is dotted and relative to the spec; `current` or `desired` is None
    where there is no value.
    """

    operation: str
    path: str
    current: Json
    desired: Json
    disposition: Disposition

    def listed(self) -> dict[str, Json]:
        """As it stands in `.status.restartAwaitingChanges`: keys sorted, absent values left out."""
        values = {"currentValue": self.current, "desiredValue": self.desired}
        shown = {name: value for name, value in values.items() if value is not None}
        return {**shown, "operation": self.operation, "path": self.path}

    def __str__(self) -> str:
        match self.operation:
            case "add":
                return f"{self.path}: + {_shown(self.desired)}"
            case "remove":
                return f"{self.path}: - {_shown(self.current)}"
        return f"{self.path}: {_shown(self.current)} → {_shown(self.desired)}"


def sentence(listed: Mapping[str, Json]) -> str:
    """An entry of `.status.restartAwaitingChanges`: `cpu.cores: 1 → 2`."""
    values = (listed.get("currentValue"), listed.get("desiredValue"))
    operation, path = str(listed.get("operation", "")), str(listed.get("path", ""))
    return str(Change(operation, path, *values, Disposition.RESTART))


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


class Rule(Protocol):
    """What a schema says of one field."""

    @property
    def apply(self) -> str: ...
    @property
    def because(self) -> str: ...
    @property
    def list_key(self) -> tuple[str, ...] | None: ...
    @property
    def quantity(self) -> bool: ...
    @property
    def secret(self) -> bool: ...
    @property
    def address(self) -> bool: ...
    @property
    def structured(self) -> bool: ...
    @property
    def union(self) -> str: ...
    @property
    def immutable(self) -> str: ...


class Rules(Protocol):
    """A kind's fields. A path has no list indexes in it."""

    def rule(self, path: Path) -> Rule: ...


DISPOSITIONS = {
    "none": Disposition.NONE,
    "immediate": Disposition.IMMEDIATE,
    "restart": Disposition.RESTART,
}


def reason(rules: Rules, path: str) -> str:
    """Why a change there waits for a restart, as half a sentence; empty if nothing is known."""
    return rules.rule(("spec", *path.split("."))).because


def diff(
    rules: Rules, current: Mapping[str, Json], desired: Mapping[str, Json]
) -> tuple[Change, ...]:
    """What is different in `desired`, sorted by path."""
    if current is desired or current == desired:  # pragma: no mutate: it is only quicker
        return ()
    changes: list[Change] = []
    before = _canonical(rules, ("spec",), _other(current, desired))
    after = _canonical(rules, ("spec",), _other(desired, current))
    for path in difference.paths(before, after):
        changes.extend(_changes(rules, path, _at(current, path), _at(desired, path)))
    return tuple(sorted(_whole_variants(rules, changes), key=lambda change: change.path))


def _other(spec: Mapping[str, Json], than: Mapping[str, Json]) -> dict[str, Json]:
    """The fields of a spec that are not the same in another one."""
    return {name: at for name, at in spec.items() if name not in than or at != than[name]}


def _whole_variants(rules: Rules, changes: list[Change]) -> Iterable[Change]:
    """Where another variant was chosen, one change that names both instead of one a field."""
    switched: dict[str, Change] = {}
    for change in changes:
        parent, _, name = change.path.rpartition(".")
        if parent and rules.rule(("spec", *parent.split("."))).union == name:
            switched[parent] = change
    for change in changes:
        if not any(change.path.startswith(f"{parent}.") for parent in switched):
            yield change
    for parent, change in switched.items():
        inside = [one for one in changes if one.path.startswith(f"{parent}.")]
        worst = max(one.disposition for one in inside)
        yield replace(change, path=parent, disposition=worst)


def _changes(rules: Rules, path: Path, current: Json, desired: Json) -> Iterable[Change]:
    rule = rules.rule(("spec", *path))
    disposition = DISPOSITIONS[rule.apply]
    name = ".".join(path)
    if rule.list_key and current and desired:
        yield from keyed_list(name, current, desired, rule.list_key, disposition)
    else:
        yield _change(name, _open(rules, path, current), _open(rules, path, desired), disposition)


def _change(path: str, current: Json, desired: Json, disposition: Disposition) -> Change:
    operation = "add" if current is None else "remove" if desired is None else "replace"
    return Change(operation, path, current, desired, disposition)


def keyed_list(
    path: str,
    current: Sequence[Mapping[str, Json]],
    desired: Sequence[Mapping[str, Json]],
    key: tuple[str, ...],
    disposition: Disposition,
) -> Iterable[Change]:
    """Changes of a list whose items have a name, as DVP tells them: by index, where a shift alone
    is no change.
    """
    before = {_name(item, key): at for at, item in enumerate(current)}
    after = {_name(item, key): at for at, item in enumerate(desired)}
    added = {at for name, at in after.items() if name not in before}
    removed = {at for name, at in before.items() if name not in after}
    kept = [(before[name], at) for name, at in after.items() if name in before]
    moved = set() if added or removed else {new for old, new in kept if old != new}
    for at in sorted(added | removed | moved):
        old = current[at] if at in removed | moved else None
        new = desired[at] if at in added | moved else None
        yield _change(f"{path}.{at}", old, new, disposition)
    for old_at, at in kept:
        if at not in moved and current[old_at] != desired[at]:
            yield _change(f"{path}.{old_at}", current[old_at], desired[at], disposition)


def _name(item: Mapping[str, Json], key: tuple[str, ...]) -> tuple[Json, ...]:
    return tuple(item.get(part) for part in key)


def _at(value: Json, path: Path) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _canonical(rules: Rules, path: Path, value: Json) -> Json:
    """The value with structure where the schema has structure, and one comparable text where it
    has not.
    """
    rule = rules.rule(path)
    if rule.structured and isinstance(value, Mapping):
        return {name: _canonical(rules, (*path, name), item) for name, item in value.items()}
    return json.dumps(_plain(rules, path, value), sort_keys=True)


def _plain(rules: Rules, path: Path, value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _plain(rules, (*path, name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(rules, path, item) for item in value]
    if value is not None and rules.rule(path).quantity:
        number = parse(value)
        return f"{number.normalize():f}" if number else "0"
    return bare(value) if isinstance(value, str) and rules.rule(path).address else value


def sealed(rules: Rules, spec: Mapping[str, Json], salt: str) -> dict[str, Json]:
    """The spec with every secret value replaced by a digest, which shows a change only."""

    def seal(value: Json) -> Json:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        if text.startswith(SEAL):
            return text
        return SEAL + hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]

    return _secrets(rules, spec, seal)


def redacted(rules: Rules, content: Mapping[str, Json], root: Path = ("spec",)) -> dict[str, Json]:
    """The content with every secret value replaced by a marker, for the status branch."""
    return _secrets(rules, content, lambda _: SENSITIVE, root)


def _secrets(
    rules: Rules, content: Mapping[str, Json], mark: Any, root: Path = ("spec",)
) -> dict[str, Json]:
    def walk(path: Path, value: Json) -> Json:
        if value is None:
            return None
        if rules.rule(path).secret:
            if isinstance(value, Mapping):  # the names of a secret map's entries are no secret
                return {name: mark(item) for name, item in value.items()}
            return mark(value)
        if isinstance(value, Mapping):
            return {name: walk((*path, name), item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(path, item) for item in value]
        return _shown_address(rules, path, value)

    marked: dict[str, Json] = (
        walk(root, content)
        if root
        else {name: walk((name,), item) for name, item in content.items()}
    )
    return marked


def _open(rules: Rules, path: Path, value: Json) -> Json:
    """The value as people may see it: secrets as a marker."""
    if isinstance(value, Mapping):
        return {name: _open(rules, (*path, name), item) for name, item in value.items()}
    if value is not None and rules.rule(("spec", *path)).secret:
        return SENSITIVE
    return _shown_address(rules, ("spec", *path), value)


def _shown_address(rules: Rules, path: Path, value: Json) -> Json:
    """An address without what is secret of it; any other value as it is."""
    return hidden(value) if isinstance(value, str) and rules.rule(path).address else value


def applied(
    running: Mapping[str, Json], desired: Mapping[str, Json], pending: Iterable[Change]
) -> dict[str, Json]:
    """The spec that runs once the immediate changes are merged in: `desired`, but for what waits
    for a restart.
    """
    merged: dict[str, Json] = json.loads(json.dumps(desired))
    for top in {change.path.split(".")[0] for change in pending}:
        waiting = [change for change in pending if change.path.split(".")[0] == top]
        if any(_is_index(change.path) for change in waiting):
            merged[top] = running[top]
        else:
            for change in waiting:
                _restore(merged, running, change.path.split("."))
    return merged


def _is_index(path: str) -> bool:
    return path.rpartition(".")[2].isdigit()


def _restore(merged: dict[str, Json], running: Mapping[str, Json], path: list[str]) -> None:
    """Put back what runs at one path."""
    *parents, last = path
    old: Json = running
    for step in parents:
        merged = merged.setdefault(step, {})
        old = old.get(step, {})
    if last in old:
        merged[last] = old[last]
    else:
        merged.pop(last, None)
