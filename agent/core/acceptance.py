"""From what is desired, and what is known, to the objects that are in force."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace

from agent.core.annotations import CONFIRM, DISABLED, PRUNE, SUSPEND
from agent.core.changes import diff
from agent.core.ledger import Record, is_redacted, same_content
from agent.core.model import Desired, Key, Manifest, Object, Problem
from agent.core.recognition import DEFAULT_NAMESPACE
from agent.core.schema import Catalogue, Kind
from agent.core.status import timestamp

FREE_DELETIONS = 2
DOUBTFUL = (
    "its manifest is gone, but {} may be meant to be it and is not applied: mend that document or "
    f"remove it; to delete this all the same, set the annotation {CONFIRM}: {{}} on {{}}"
)
NONE_LEFT = (
    "no manifest is left in the repository: nothing is deleted; to delete all the same, push a "
    f"{{}} with the annotation {CONFIRM}: {{}}"
)
SHARE = 0.3


@dataclass(frozen=True)
class Identity:
    """What was known of an object before this ledger: from a domain, a volume's name, or the
    trash.
    """

    uid: str
    created: str = ""
    generation: int = 1


def accept(
    kind: Kind,
    manifest: Manifest,
    known: Object | None,
    source: str,
    now: float,
    identity: Callable[[Key], Identity],
) -> Object:
    """The object that this manifest makes. A deletion is taken back where it only waits; that of a
    machine is not.
    """
    if known is None:
        given = identity(manifest.key)
        return Object(
            manifest=manifest,
            uid=given.uid,
            generation=given.generation,
            created=given.created or timestamp(now),
            source=source,
        )
    if known.deleted and kind.irreversible:
        return known
    known = replace(known, deleted="", owner=None)  # whoever declares it has it
    if same_content(kind, manifest, known.manifest):
        same = (
            manifest.labels == known.manifest.labels
            and manifest.annotations == known.manifest.annotations
            and not is_redacted(known.manifest.content)  # its commit is gone: this one has it all
        )
        return replace(known, manifest=manifest, source=known.source if same else source)
    return replace(known, manifest=manifest, source=source, generation=known.generation + 1)


def frozen(kind: Kind, known: Object, manifest: Manifest, *, ready: bool) -> list[tuple[str, str]]:
    """Fields that the manifest changes although they cannot be changed any more: path and
    sentence.
    """
    wrong = []
    for change in diff(kind, known.spec, manifest.spec):
        path = tuple(part for part in change.path.split(".") if not part.isdigit())
        rule = kind.rule(("spec", *path)).immutable
        if rule == "always" or (rule == "ready" and ready):
            when = "" if rule == "always" else " once the object is ready"
            wrong.append(
                (f"spec.{change.path}", f"cannot be changed{when}: put it back, or use a new name")
            )
    return wrong


@dataclass(frozen=True)
class Pruning:
    """What is no longer wanted, and what is kept although its manifest is gone."""

    delete: tuple[Key, ...] = ()
    held: tuple[Problem, ...] = ()


def prune(
    catalogue: Catalogue,
    desired: Desired,
    wanted: Container[Key],
    records: Mapping[Key, Record],
    confirmed: str,
    others: Mapping[str, int] = {},
) -> Pruning:
    """Objects that are not wanted any more. Nothing is deleted while some manifest cannot be read
    or when none is left at all; without a confirmation neither what a document may mean that does
    not count, nor too many at once. `others` says how many objects there are, by kind, that stay
    and are not among these.
    """
    missing = sorted(
        key
        for key, record in records.items()
        if key not in wanted and key not in desired.invalid and not record.obj.deleted
    )
    if not missing:
        return Pruning()
    if not desired.complete:
        files = ", ".join(desired.broken)
        return Pruning(
            held=tuple(
                _held(
                    key,
                    (
                        f"its manifest is gone, but {files} cannot be read: nothing "
                        "is deleted until it can"
                    ),
                )
                for key in missing
            )
        )
    held = [
        _held(key, f"its manifest is gone; it is kept because of its annotation {name}: {DISABLED}")
        for key in missing
        for name in _keeping(records[key].obj.manifest)[:1]
    ]
    kept = {problem.resource for problem in held}
    missing = [key for key in missing if str(key) not in kept]
    doubts = {key: where for key in missing if (where := meant_in(desired, key, records))}
    sure = [key for key in missing if key not in doubts]
    code = deletion_set(records[key].obj for key in doubts)
    config = catalogue.settings
    if confirmed != code:
        held += [_held(key, DOUBTFUL.format(where, code, config)) for key, where in doubts.items()]
    if catalogue.requests.issuperset([*others, *(key.kind for key in desired.manifests)]):
        code = deletion_set(records[key].obj for key in sure if key.kind != config.kind)
        held += [_held(key, NONE_LEFT.format(config, code)) for key in sure]
        return Pruning(held=tuple(held))
    pruning = _guarded(catalogue, sure, held, records, confirmed, others)
    return replace(pruning, delete=(*pruning.delete, *(doubts if confirmed == code else ())))


def meant_in(desired: Desired, key: Key, known: Container[Key]) -> str:
    """Where a document stands that does not count and may mean this object; empty if none does. One
    that does not hold and has a name that nobody knows may mean any object of its kind, in whatever
    namespace where it may have lost its own.
    """
    strangers = {
        str(other)
        for other in desired.invalid
        if other.kind == key.kind
        and (other.namespace in (key.namespace, DEFAULT_NAMESPACE) or other.name == key.name)
        and other not in known
    }
    return desired.meant_in(key) or next(
        (problem.where for problem in desired.problems if problem.resource in strangers),
        "",
    )


def suspended(manifest: Manifest) -> bool:
    """True for an object that nothing is to be done about."""
    return manifest.annotations.get(SUSPEND) == DISABLED


def _keeping(manifest: Manifest) -> list[str]:
    """Annotations that keep an object whose manifest is gone."""
    return [name for name in (PRUNE, SUSPEND) if manifest.annotations.get(name) == DISABLED]


def _guarded(
    catalogue: Catalogue,
    missing: list[Key],
    held: list[Problem],
    records: Mapping[Key, Record],
    confirmed: str,
    others: Mapping[str, int],
) -> Pruning:
    for kind in (guarded.name for guarded in catalogue.in_order if guarded.guarded):
        going = sum(key.kind == kind for key in missing)
        there = sum(key.kind == kind and not record.obj.deleted for key, record in records.items())
        there += others.get(kind, 0)
        code = deletion_set(records[key].obj for key in missing)
        if going > FREE_DELETIONS and going > SHARE * there and confirmed != code:
            message = (
                f"{going} of {there} objects of kind {kind} would be deleted: to confirm, set the "
                f"annotation {CONFIRM}: {code} on {catalogue.settings}"
            )
            return Pruning(held=(*held, *(_held(key, message) for key in missing)))
    return Pruning(delete=tuple(missing), held=tuple(held))


def deletion_set(objects: Iterable[Object]) -> str:
    """A short name for a set of deletions, of just these objects as they are: a confirmation that
    stays in its place means no others that come to bear their names.
    """
    text = "\n".join(sorted(f"{obj.key} {obj.uid} {obj.generation}" for obj in objects))
    return hashlib.sha256(text.encode()).hexdigest()[:12]  # pragma: no mutate: any short name does


def _held(key: Key, message: str) -> Problem:
    return Problem(file="", line=0, resource=str(key), path="", message=message)
