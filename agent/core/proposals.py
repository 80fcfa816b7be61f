"""Manifests that the agent proposes: written to a branch of their own, for people to merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.model import Json, Key, Manifest

CLONES = "refs/heads/clone/"
"""Where such branches lie."""
TRAILER = "Gitvirt-Operation"
"""Line of a commit's message: the uid of the operation that asked for it."""


def clone_ref(vm: Key) -> str:
    """The branch on which a new machine is proposed."""
    return f"{CLONES}{vm.namespace}/{vm.name}"


@dataclass(frozen=True)
class Draft:
    """One manifest: that of another object, under a new name."""

    key: Key
    origin: Key
    source: str
    """Where the other one's manifest stands, `<commit>:<path>`."""
    known: Manifest | None = field(default=None, repr=False)
    """What stands there, as the ledger has it: with markers in place of secrets, perhaps."""
    sets: tuple[tuple[tuple[str, ...], Json], ...] = ()
    """Fields that it has instead, by their paths below `spec`."""


@dataclass(frozen=True)
class Proposal:
    """What is to be merged. References among the drafts' origins become those among the drafts."""

    uid: str
    """Of the operation that asks for it: its branch is written once."""
    ref: str
    subject: str
    body: str
    drafts: tuple[Draft, ...]
    """The first one is what the others are for."""
    copied: frozenset[str] = frozenset()
    """Kinds of objects that no two may share: what is not among the origins is not there."""
    apart: frozenset[str] = frozenset()
    """Kinds of objects that belong to the origin alone: references to them are left out."""
    lenient: bool = False
    """True if what is missing is left out, where the rest holds without it."""
    written: bool = False
    """False if it is only looked at."""

    @property
    def name(self) -> str:
        """Of the branch."""
        return self.ref.removeprefix("refs/heads/")

    @property
    def says(self) -> str:
        """What is on it, in words."""
        return ", ".join(f"{draft.key.kind} {draft.key.name}" for draft in self.drafts)


@dataclass(frozen=True)
class Proposed:
    """What has become of a proposal."""

    uid: str
    written: bool
    """As it was asked for."""
    commit: str = ""
    """With which its branch began; empty while there is none."""
    problems: Mapping[Key, str] = field(default_factory=dict)
    """Why it cannot be written as it is, in sentences by draft."""
    left: Mapping[Key, str] = field(default_factory=dict)
    """What is left out or stays open, in sentences by draft."""
    gone: frozenset[Key] = frozenset()
    """Drafts that are left out."""
    refusal: str = ""
    """Why it is not written, whatever it says, in a sentence."""
    error: str = ""
    """What kept it from being looked at or written, in a sentence: it is tried again."""

    @property
    def final(self) -> bool:
        return not self.error
