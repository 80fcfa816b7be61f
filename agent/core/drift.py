"""What somebody changed by hand on a host, as it is told: what it was, what it is now, and what
becomes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from agent.core.annotations import DRIFT, REPORT
from agent.core.changes import Disposition
from agent.core.model import Json

DEFINITION = "definition"
INSTANCE = "running instance"
MOST = 12
"""Edits in one sentence."""

_REMEDIES = {
    (DEFINITION, Disposition.IMMEDIATE): "put back",
    (DEFINITION, Disposition.NONE): f"it is left ({DRIFT}: {REPORT})",
    (INSTANCE, Disposition.IMMEDIATE): "put back",
    (INSTANCE, Disposition.RESTART): "a restart undoes it",
    (INSTANCE, Disposition.NONE): "a restart does not undo it",
}


@dataclass(frozen=True)
class Edit:
    """One thing that was changed by hand. `expected` or `found` is None where it is not there."""

    where: str
    """The definition, or the running instance."""
    path: str
    """Of the manifest where that has a field for it, else in libvirt's words; a device by its name:
    `cpu.cores`, `os.machine`, `disk data: bootOrder`.
    """
    expected: Json
    found: Json
    disposition: Disposition = Disposition.NONE
    """What it takes to undo it; none if it is left."""

    @property
    def operation(self) -> str:
        """What was done by hand: add, remove or replace."""
        return "add" if self.expected is None else "remove" if self.found is None else "replace"

    @property
    def remedy(self) -> str:
        return _REMEDIES[self.where, self.disposition]

    def listed(self) -> dict[str, Json]:
        """For machines: absent values left out."""
        values = {"expectedValue": self.expected, "foundValue": self.found}
        return {
            **{name: value for name, value in values.items() if value is not None},
            "operation": self.operation,
            "path": self.path,
            "where": self.where,
            "undoneBy": self.disposition.name.lower(),
        }

    def __str__(self) -> str:
        thing = self.found if self.expected is None else self.expected
        if self.operation != "replace" and (thing is True or isinstance(thing, Mapping)):
            return f"{self.path} {'added' if self.operation == 'add' else 'removed'}"
        return f"{self.path} {_shown(self.expected)} → {_shown(self.found)}"


@dataclass(frozen=True)
class Drift:
    """All that somebody changed by hand on one object."""

    edits: tuple[Edit, ...] = ()
    reported: tuple[str, ...] = ()
    """Sentences about what is never put back."""

    def __bool__(self) -> bool:
        return bool(self.edits or self.reported)

    @property
    def mended(self) -> tuple[Edit, ...]:
        """What is put back by defining the domain again."""
        return tuple(
            edit
            for edit in self.edits
            if (edit.where, edit.disposition) == (DEFINITION, Disposition.IMMEDIATE)
        )

    @property
    def plugged(self) -> tuple[Edit, ...]:
        """What is put back while the instance runs."""
        return tuple(
            edit
            for edit in self.edits
            if (edit.where, edit.disposition) == (INSTANCE, Disposition.IMMEDIATE)
        )

    def sentences(self) -> Iterator[str]:
        """One for what shares its fate, and what was reported."""
        fates = sorted(self.edits, key=lambda edit: (edit.where, edit.disposition, edit.path))
        for (where, remedy), group in groupby(fates, lambda edit: (edit.where, edit.remedy)):
            yield f"The {where} was changed by hand: {brief(tuple(group))}; {remedy}."
        yield from self.reported

    def lines(self) -> Iterator[str]:
        """One for each edit."""
        for edit in self.edits:
            yield f"{edit} ({edit.where}: {edit.remedy})"
        yield from self.reported


NO_DRIFT = Drift()


def brief(edits: Sequence[Edit]) -> str:
    """The edits on one line."""
    more = f" and {len(edits) - MOST} more" if len(edits) > MOST else ""
    return ", ".join(str(edit) for edit in edits[:MOST]) + more


def _shown(value: Json) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
