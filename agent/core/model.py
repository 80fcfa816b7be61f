"""The values that every stage of a pass speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

Json = Any
"""A value of JSON's types only: dict with string keys, list, str, int, float, bool, None."""


BUILT_IN = "built-in"
"""Source of objects that are there without a manifest."""


class Key(NamedTuple):
    """Identity of an object as people write it. `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.namespace}/{self.name}"
            if self.namespace
            else f"{self.kind} {self.name}"
        )


def block(lock: Key) -> Key:
    """What locks have in common whose names differ behind their last dash alone."""
    return lock._replace(name=lock.name.rpartition("-")[0])


class Meant(NamedTuple):
    """What a document may mean that does not count. None stands for any."""

    kind: str | None
    namespace: str | None
    name: str | None


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a manifest, in words that say what is allowed.

    `line` counts from 1 and is 0 where no line is meant; `resource` is `str(Key)` or empty; `path`
    is dotted (`spec.cpu.cores`, `spec.blockDeviceRefs.1.kind`) or empty. Values of secret fields
    never stand in `message`.
    """

    file: str
    line: int
    resource: str
    path: str
    message: str

    @property
    def where(self) -> str:
        """`file:line`, without what is empty."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        """On one line: `file:line: resource: path: message`, without what is empty."""
        parts = (self.where, self.resource, self.path, self.message)
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True)
class Manifest:
    """One valid document, with the schema's defaults filled in.

    `content` holds the top-level fields except apiVersion, kind, metadata and status:
    `{"spec": {...}}` for most kinds, `{"type": ..., "data": {...}}` for a Secret.
    """

    key: Key
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    content: Mapping[str, Json]
    line: int = 0
    notes: tuple[str, ...] = ()
    """Sentences about fields that are accepted and have no effect here, each after the field's
    dotted path.
    """

    @property
    def spec(self) -> Mapping[str, object]:
        spec: Mapping[str, object] = self.content.get("spec", {})
        return spec


@dataclass(frozen=True, slots=True)
class Owner:
    """The object of the same namespace that another one was made for, and goes with."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Object:
    """A manifest as the agent accepted it, with the identity that the agent gave it."""

    manifest: Manifest
    uid: str
    generation: int
    created: str
    """RFC 3339, UTC, whole seconds."""
    source: str
    """`<commit>:<path>` of the commit at which this content was accepted; or BUILT_IN."""
    deleted: str = ""
    """RFC 3339 time of the first pass that saw the manifest gone; empty while it is there."""
    owner: Owner | None = None
    """Of an object that the agent made by itself: it has no manifest anywhere."""

    @property
    def key(self) -> Key:
        return self.manifest.key

    @property
    def spec(self) -> Mapping[str, object]:
        return self.manifest.spec


@dataclass(frozen=True, slots=True)
class Condition:
    """A Kubernetes condition without its times: `stamp` in core.status adds them."""

    type: str
    status: str
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Desired:
    """What one commit of the desired branch asks for.

    `broken` names files that could not be read whole: nothing is pruned while there is one.
    `invalid` names the objects whose manifest does not hold: their last good version stays in
    force.
    """

    revision: str
    manifests: Mapping[Key, Manifest] = field(default_factory=dict)
    paths: Mapping[Key, str] = field(default_factory=dict)
    invalid: frozenset[Key] = frozenset()
    problems: tuple[Problem, ...] = ()
    ignored: tuple[Problem, ...] = ()
    """Documents that were recognised and are not applied (other API groups, kustomizations,
    encrypted Secrets).
    """
    broken: tuple[str, ...] = ()
    meant: Mapping[Meant, str] = field(default_factory=dict)
    """What documents may mean that do not hold or are not applied, and where they stand
    (`file:line`). None of it is deleted.
    """
    asked: Mapping[Key, str] = field(default_factory=dict)
    """The commit of the operations branch for each operation that stands there."""
    authors: Mapping[Key, str] = field(default_factory=dict)
    """Who asked for an operation, `Name <address>` as its commit has it, where that is news."""

    def meant_in(self, key: Key) -> str:
        """Where a document stands that does not count and may mean this object; empty if none
        does.
        """
        if not self.meant:
            return ""
        parts = product((key.kind, None), (key.namespace, None), (key.name, None))
        return next(
            (self.meant[meant] for part in parts if (meant := Meant(*part)) in self.meant), ""
        )

    @cached_property
    def complete(self) -> bool:
        """True if absence of a manifest means that its object is not wanted."""
        return not self.broken
