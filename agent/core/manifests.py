"""From a file to what it says: documents become manifests, problems, or things that are recognised
and not applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from agent.core.addresses import HIDDEN, is_hidden
from agent.core.annotations import HTTP_SECRET, LAST_APPLIED, misused
from agent.core.changes import SENSITIVE
from agent.core.documents import Document, Path
from agent.core.meaning import Hidden, hidden, in_texts, meant_by, named_by
from agent.core.model import Json, Key, Manifest, Meant, Problem
from agent.core.parsing import parse, parse_json
from agent.core.recognition import Foreign, Wrong, at, key_of, label, recognise
from agent.core.schema import Catalogue, Kind

Check = Callable[[Mapping[str, Json]], Iterable[tuple[Path, str]]]
"""One rule about one object: takes the top-level fields except apiVersion, kind, metadata and
status, which may be of any shape, and says what is wrong where, or is to be noted.
"""

Checks = Mapping[str, Sequence[Check]]
"""The rules of each kind, by its name."""

SUFFIXES = (".yaml", ".yml", ".json")
JSON = ".json"
MAX_PROBLEMS = 100
"""Of one document."""

_ENVELOPE = frozenset(("apiVersion", "kind", "metadata", "status"))
_HEAD = ("apiVersion", "kind")
_TEMPLATE = "looks like a template (`{{`): render it first, templates are not applied"


class Note(str):
    """What a rule says of content that holds: it is told, and stops nothing."""

    __slots__ = ()


@dataclass(frozen=True)
class Accepted:
    manifest: Manifest
    meant: frozenset[Meant] = frozenset()
    """What it may have meant instead, although it holds."""


@dataclass(frozen=True)
class Refused:
    """A document that does not hold. `key` is None where one cannot tell what object it means."""

    problems: tuple[Problem, ...]
    key: Key | None
    meant: frozenset[Meant]
    """All that it may mean; empty where that is anything."""


@dataclass(frozen=True)
class Ignored:
    """A document that is recognised and not applied. `key` names one of our own objects, which
    stays as it is.
    """

    note: Problem
    key: Key | None = None
    meant: frozenset[Meant] = frozenset()


@dataclass(frozen=True)
class FileResult:
    """What one file's content means, wherever the file lies; `file` of every Problem is empty.
    `refused` holds the key and line of documents that do not hold, `meant` what they and others
    may have meant; `broken` is True if some object's manifest may be hidden in what cannot be read.
    """

    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    ignored: tuple[Problem, ...] = ()
    refused: tuple[tuple[Key, int], ...] = ()
    meant: tuple[tuple[Meant, int], ...] = ()
    broken: bool = False


def is_manifest_file(path: str) -> bool:
    """True for the names of files that are read. Dot folders are the caller's to skip."""
    return path.lower().endswith(SUFFIXES)


def is_json(path: str) -> bool:
    return path.lower().endswith(JSON)


def read_file(
    catalogue: Catalogue, checks: Checks, data: bytes, *, json: bool = False
) -> FileResult:
    """Everything in one file. Never raises, whatever the file holds."""
    parsed = parse_json(data) if json else parse(data)
    lines = [line for line, _ in parsed.errors]
    lines += [
        document.line_of(path) for document in parsed.documents for path, _ in document.problems
    ]
    if _is_template(data, lines):
        return FileResult(ignored=(Problem("", lines[0], "", "", _TEMPLATE),), broken=True)
    problems = [Problem("", line, "", "", message) for line, message in parsed.errors]
    manifests: list[Manifest] = []
    ignored: list[Problem] = []
    refused: list[tuple[Key, int]] = []
    meant: list[tuple[Meant, int]] = []
    broken = bool(parsed.errors)
    for document in parsed.documents:
        reading = read_document(catalogue, checks, document)
        meant += [(name, document.line) for name in sorted(reading.meant, key=str)]
        match reading:
            case Accepted(manifest):
                manifests.append(manifest)
            case Ignored(note, key):
                ignored.append(note)
                refused += [(key, document.line)] if key is not None else []
            case Refused(wrong, key):
                problems.extend(wrong)
                refused += [(key, document.line)] if key is not None else []
                broken = broken or not reading.meant
    return FileResult(
        *(tuple(manifests), tuple(problems), tuple(ignored), tuple(refused)), tuple(meant), broken
    )


def _is_template(data: bytes, lines: list[int]) -> bool:
    """True if a line that cannot be read as it should holds a placeholder. One in a script's text
    does not count.
    """
    if not lines or b"{{" not in data:
        return False
    text = data.splitlines()
    return any(0 < line <= len(text) and b"{{" in text[line - 1] for line in lines)


def read_document(
    catalogue: Catalogue, checks: Checks, document: Document
) -> Accepted | Refused | Ignored:
    """One document: a manifest with defaults, or all its problems at once, or a note why it is not
    applied. Takes what is null out of the document, as the API server does.
    """
    value = document.value
    if not isinstance(value, dict | list):
        what = "nothing" if value is None else "a single value"
        message = f"must be a mapping with apiVersion and kind, not {what}"
        return _refused(catalogue, document, None, [((), message)])
    emptied = _drop_empty_namespace(value)
    texts = _drop_nulls(value)
    if isinstance(value, list):
        note = Foreign("is a list, no Kubernetes object: not applied")
        return _foreign(catalogue, document, note, texts)
    kind = recognise(catalogue, value)
    if isinstance(kind, Foreign):
        return _foreign(catalogue, document, kind, texts)
    if isinstance(kind, Wrong):
        wrong = [*document.problems, (kind.path, kind.message)]
        return _refused(catalogue, document, key_of(kind.kind, value), wrong)
    read = _ours(catalogue, checks, kind, document, texts)
    if isinstance(read, Accepted) and emptied and kind.namespaced:
        return _moved(read)
    return read


def _ours(
    catalogue: Catalogue, checks: Checks, kind: Kind, document: Document, texts: list[str]
) -> Accepted | Refused | Ignored:
    value = document.value
    key = key_of(kind, value)
    if "sops" in value:
        note = "is encrypted with SOPS: encrypted manifests are not applied"
        return Ignored(Problem("", document.line, label(value), "", note), key)
    content = {name: part for name, part in value.items() if name not in _ENVELOPE}
    remarks = [
        *document.problems,
        *_metadata(kind, value),
        *(_markers(kind, content) if any(map(_marked, texts)) else ()),
        *catalogue.problems(kind, value),
        *(problem for check in checks.get(kind.name, ()) for problem in check(content)),
    ]
    wrong = [problem for problem in remarks if not isinstance(problem[1], Note)]
    if wrong or key is None:
        return _refused(catalogue, document, key, wrong)
    told = [f"{_dotted(path)} {note}" for path, note in remarks]
    manifest = _manifest(catalogue, kind, key, document, content, told)
    return Accepted(manifest, in_texts(catalogue, texts))


def _moved(accepted: Accepted) -> Accepted:
    """A manifest of an empty namespace, which is none, as kubectl takes it. One that stood there
    may have been lost: nothing of this name is deleted elsewhere.
    """
    manifest, meant = accepted.manifest, accepted.meant
    note = f"metadata.namespace is empty: the object is in namespace {manifest.key.namespace}"
    return Accepted(
        replace(manifest, notes=(*manifest.notes, note)),
        meant | {Meant(manifest.key.kind, None, manifest.key.name)},
    )


def _foreign(
    catalogue: Catalogue, document: Document, foreign: Foreign, texts: list[str]
) -> Refused | Ignored:
    """A document that is none of ours, with what it holds of ours all the same: of another API's
    object that is its own affair, anywhere else somebody expects it to count.
    """
    value = document.value
    inside = list(hidden(catalogue, document))
    whole = all(isinstance(at(value, name), str) for name in ("apiVersion", "kind"))
    if inside and not (whole and all(part.path for part in inside)):
        return _refused(catalogue, document, None, _misplaced(document, inside))
    meant = {name for part in inside for name in named_by(catalogue, part.value)}
    meant |= in_texts(catalogue, texts)
    if foreign.meant is not None:
        meant.add(foreign.meant)
    note = Problem("", document.line, label(value), "", foreign.note)
    return Ignored(note, None, frozenset(meant))


def _misplaced(document: Document, inside: Iterable[Hidden]) -> Iterator[tuple[Path, str]]:
    yield from document.problems
    for part in inside:
        if part.path:
            yield (
                part.path,
                f"is a {label(part.value)} where nothing is read: make it a document of its own",
            )


def _drop_nulls(value: Json) -> list[str]:
    """A field that is null is absent, all the way down. An empty head is that of an object yet.
    Gives the texts that may be more than a value: those of several lines, and markers.
    """
    parts, seen, texts = [value], {id(value)}, []
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            kept = _HEAD if part is value else ()
            for name in [name for name, item in part.items() if item is None and name not in kept]:
                del part[name]
        for item in part.values() if isinstance(part, dict) else part:
            if isinstance(item, str):
                if "\n" in item or _marked(item):
                    texts.append(item)
            elif isinstance(item, dict | list) and id(item) not in seen:
                seen.add(id(item))
                parts.append(item)
    return texts


def _marked(text: str) -> bool:
    """True if a marker stands in the place of a secret, or may do so."""
    return text == SENSITIVE or HIDDEN in text


def _drop_empty_namespace(value: Json) -> bool:
    """True if there was one."""
    metadata = at(value, "metadata")
    empty = isinstance(metadata, dict) and "namespace" in metadata
    if not empty or metadata["namespace"] not in ("", None):
        return False
    del metadata["namespace"]
    return True


def _manifest(
    catalogue: Catalogue,
    kind: Kind,
    key: Key,
    document: Document,
    content: Mapping[str, Json],
    told: list[str],
) -> Manifest:
    metadata = document.value["metadata"]
    notes = [*catalogue.notes(kind, content), *told]
    if not kind.namespaced and metadata.get("namespace"):
        notes.append(f"metadata.namespace is ignored: a {kind.name} belongs to no namespace")
    annotations = {
        name: text
        for name, text in (metadata.get("annotations") or {}).items()
        if name != LAST_APPLIED
    }
    return Manifest(
        key=key,
        labels=dict(metadata.get("labels") or {}),
        annotations=annotations,
        content=catalogue.defaulted(kind, content),
        line=document.line,
        notes=tuple(notes),
    )


def _refused(
    catalogue: Catalogue, document: Document, key: Key | None, wrong: Iterable[tuple[Path, str]]
) -> Refused:
    """The first problem at each path: what follows from it says nothing new."""
    first: dict[Path, str] = {}
    for path, message in islice(wrong, MAX_PROBLEMS):
        first.setdefault(path, message)
    resource = str(key) if key is not None else label(document.value)
    problems = [
        Problem("", document.line_of(path), resource, _dotted(path), message)
        for path, message in first.items()
    ]
    problems.sort(key=lambda problem: problem.line)
    misnamed = any(path[:2] == ("metadata", "name") for path in first)
    return Refused(tuple(problems), key, meant_by(catalogue, document, misnamed=misnamed))


def _dotted(path: Path) -> str:
    steps = (str(step) for step in path)
    return ".".join(step if len(step) <= 317 else step[:60] + "…" for step in steps)


def _metadata(kind: Kind, value: dict[str, Json]) -> Iterator[tuple[Path, str]]:
    """What the schema cannot say about metadata."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return
    if "generateName" in metadata and "name" not in metadata:
        message = "is required: a generated name would mean another object at each reading"
        if kind.request:
            message += "; `gitvirt restart` asks for a restart under a name of its own"
        yield ("metadata", "name"), message
    yield from misused(metadata.get("annotations"))


def _markers(kind: Kind, content: Mapping[str, Json]) -> Iterator[tuple[Path, str]]:
    """Secrets of which the status branch, and so `get -o yaml`, has nothing but a marker."""
    parts: list[tuple[Path, Json]] = [((), content)]
    while parts:
        path, value = parts.pop()
        if isinstance(value, Mapping):
            parts += [((*path, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            parts += [((*path, index), item) for index, item in enumerate(value)]
        elif value == SENSITIVE and kind.rule(path).secret:
            yield (
                path,
                f"is the marker {SENSITIVE} that stands for a secret: write the value itself",
            )
        elif isinstance(value, str) and is_hidden(value) and kind.rule(path).address:
            message = (
                f"has the marker {HIDDEN} in place of a secret: write the whole address, or keep "
                f"the secret in a Secret that the annotation {HTTP_SECRET} names"
            )
            yield path, message
