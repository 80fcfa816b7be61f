"""From a proposal to its branch: manifests are read where they stand in Git, so that what people
wrote is what they find, and secrets are as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from agent.core import ledger
from agent.core.fields import Ref
from agent.core.manifests import Accepted, is_json, read_document, read_file
from agent.core.model import Desired, Json, Key
from agent.core.parsing import parse, parse_json
from agent.core.proposals import TRAILER, Draft, Proposal, Proposed
from agent.core.references import target_of
from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository
from agent.kinds.registry import BUILT_INS, CHECKS
from agent.reconcile.desired import MAX_FILE
from agent.reconcile.recall import content_at

LOOKED_THROUGH = 100
"""Commits of a branch among which its first one is looked for."""
THERE = "is there already: choose another name"
_BUILT_IN = frozenset(manifest.key for manifest in BUILT_INS)


@dataclass
class _Sheet:
    """What is written, and what is said of it."""

    documents: dict[Key, bytes] = field(default_factory=dict)
    problems: dict[Key, str] = field(default_factory=dict)
    left: dict[Key, list[str]] = field(default_factory=dict)
    gone: set[Key] = field(default_factory=set)


def propose(
    repository: Repository,
    catalogue: Catalogue,
    proposal: Proposal,
    refs: Mapping[str, str],
    desired: Desired,
    folder: str,
) -> Proposed:
    """Write a proposal's branch, unless it was written before, or look what would become of it.
    `refs` are as they were fetched just now, and `desired` is what main's tip among them says.
    """
    if (tip := refs.get(proposal.ref)) is not None:
        return _found(repository, proposal, tip)
    sheet = _composed(repository, catalogue, proposal, desired)
    data = b"---\n".join(sheet.documents.values())
    left = {key: " ".join(said) for key, said in sheet.left.items()}
    told = Proposed(
        *(proposal.uid, proposal.written), "", sheet.problems, left, frozenset(sheet.gone)
    )
    if sheet.problems or not proposal.written:
        return told
    if len(data) > MAX_FILE:
        return Proposed(proposal.uid, written=True, refusal="Its manifests are too large.")
    path = _path(repository, proposal, desired.revision, folder)
    message = f"{proposal.subject}\n\n{proposal.body}\n\n{TRAILER}: {proposal.uid}\n"
    commit = repository.commit(proposal.ref, None, {path: data}, message, beside=desired.revision)
    return Proposed(proposal.uid, written=True, commit=commit, left=left, gone=told.gone)


def _found(repository: Repository, proposal: Proposal, tip: str) -> Proposed:
    """The branch is there: by an agent that was killed before it could say so, or by somebody."""
    mark = f"{TRAILER}: {proposal.uid}"
    for commit in repository.log(tip, limit=LOOKED_THROUGH):
        if mark in commit.body.splitlines():
            return Proposed(proposal.uid, proposal.written, commit.id)
    refusal = (
        f"Branch {proposal.name} is there already, and was not begun for this: delete it, or "
        "choose another name."
    )
    return Proposed(proposal.uid, proposal.written, refusal=refusal)


def _path(repository: Repository, proposal: Proposal, main: str, folder: str) -> str:
    """A new file beside the one of the original, where manifests are read."""
    first = proposal.drafts[0]
    beside = first.source.partition(":")[2].rpartition("/")[0]
    if folder and not f"{beside}/".startswith(f"{folder}/"):
        beside = folder
    stem = f"{beside}/{first.key.name}" if beside else first.key.name
    path = f"{stem}.yaml"
    taken = repository.read_path(main, path) is not None or repository.tree_id(main, path)
    return f"{stem}-{proposal.uid[:8]}.yaml" if taken else path


def _composed(
    repository: Repository, catalogue: Catalogue, proposal: Proposal, desired: Desired
) -> _Sheet:
    sheet = _Sheet()
    for draft in proposal.drafts:
        if _there(desired, draft.key):
            sheet.problems[draft.key] = f"{draft.key} {THERE}."
            continue
        value = _original(repository, catalogue, draft)
        if value is None:
            sheet.problems[draft.key] = _lost(draft)
            continue
        renaming = _Renaming(catalogue, proposal, draft, desired)
        data = ledger.dump(renaming.document(value))
        _judge(catalogue, proposal, draft, data, renaming, sheet)
    return sheet


def _judge(
    catalogue: Catalogue,
    proposal: Proposal,
    draft: Draft,
    data: bytes,
    renaming: _Renaming,
    sheet: _Sheet,
) -> None:
    """Take a manifest in, or say why not. Nothing is proposed that would not hold."""
    if renaming.missing and not proposal.lenient:
        sheet.problems[draft.key] = " ".join(renaming.missing)
        return
    if renaming.hollow and draft is not proposal.drafts[0]:
        sheet.gone.add(draft.key)
        sheet.left[draft.key] = renaming.missing
        return
    result = read_file(catalogue, CHECKS, data)
    if [manifest.key for manifest in result.manifests] != [draft.key]:
        told = [f"{problem.path} {problem.message}." for problem in result.problems]
        sheet.problems[draft.key] = " ".join(told) or "It would not be read."
        return
    sheet.documents[draft.key] = data
    if renaming.missing:
        sheet.left[draft.key] = renaming.missing


def _there(desired: Desired, key: Key) -> bool:
    return (
        key in desired.manifests
        or key in desired.invalid
        or key in _BUILT_IN
        or bool(desired.meant_in(key))
    )


def _lost(draft: Draft) -> str:
    commit, _, path = draft.source.partition(":")
    return (
        f"Its manifest cannot be read at commit {commit[:12]} ({path}) any more, and the status "
        "branch does not have all of it: push it anew."
    )


def _original(repository: Repository, catalogue: Catalogue, draft: Draft) -> Json:
    """The document as people wrote it, else as the ledger has it; None where that has markers."""
    path = draft.source.partition(":")[2]
    data = content_at(repository, draft.source)
    parsed = (parse_json if is_json(path) else parse)(data or b"")
    for document in parsed.documents:
        read = read_document(catalogue, CHECKS, document)
        if isinstance(read, Accepted) and read.manifest.key == draft.origin:
            return document.value
    if draft.known is None or ledger.is_redacted(draft.known.content):
        return None
    return dict(draft.known.content)


class _Renaming:
    """Makes one draft's document, and finds what it refers to and is not there."""

    def __init__(
        self, catalogue: Catalogue, proposal: Proposal, draft: Draft, desired: Desired
    ) -> None:
        self._catalogue, self._proposal, self._draft = catalogue, proposal, draft
        self._desired = desired
        self._names = {each.origin: each.key.name for each in proposal.drafts}
        self.missing: list[str] = []
        self.hollow = False
        """True if what it cannot do without is missing."""

    def document(self, value: Mapping[str, Json]) -> dict[str, Json]:
        key = self._draft.key
        kind = self._catalogue.kinds[key.kind]
        spec = deepcopy(value.get("spec", {}))
        for path, _ in self._draft.sets:
            _set(spec, path, None)
        content = kind.rewritten({"spec": spec}, self._change)
        for path, new in self._draft.sets:
            _set(content["spec"], path, new)
        space = {"namespace": key.namespace} if key.namespace else {}
        return {
            "apiVersion": kind.api_versions[0],
            "kind": kind.name,
            "metadata": {"name": key.name, **space},
            **content,
        }

    def _change(self, ref: Ref, value: Json, listed: bool) -> Json:
        if ref.kind in self._proposal.apart:
            return None
        target = target_of(self._catalogue, self._draft.origin.namespace, ref, value)
        if target is None:
            return value
        if (name := self._names.get(target)) is not None:
            return {**value, "name": name} if isinstance(value, Mapping) else name
        copied = target.kind in self._proposal.copied
        if not copied and _there(self._desired, target):
            return value
        what = "is not copied" if copied else "is not there"
        self.missing.append(f"{target}, which it refers to, {what}.")
        if listed:
            return None
        self.hollow = self.hollow or copied
        return value


def _set(spec: dict[str, Json], path: tuple[str, ...], value: Json) -> None:
    """Set a field, or with None take it away."""
    *above, last = path
    for step in above:
        if value is None and step not in spec:
            return
        spec = spec.setdefault(step, {})
    if value is None:
        spec.pop(last, None)
    else:
        spec[last] = value
