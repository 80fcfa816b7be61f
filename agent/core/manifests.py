"""From files to what is wanted: documents become manifests, problems, or things that are recognised
and not applied.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from agent.core import documents
from agent.core.documents import Document, Path
from agent.core.model import Desired, Json, Key, Manifest, Problem
from agent.core.schema import Catalogue, Kind
from agent.core.sentences import shown
from agent.core.spelling import nearest

Check = Callable[[Mapping[str, Json]], Iterable[tuple[Path, str]]]
"""One rule about one object: takes the top-level fields except apiVersion, kind, metadata and
status, which may be of any shape, and says what is wrong where, or is to be noted.
"""

Checks = Mapping[str, Sequence[Check]]
"""The rules of each kind, by its name."""

SUFFIXES = (".yaml", ".yml", ".json")
MAX_PROBLEMS = 100
"""Of one document."""
MAX_ANNOTATIONS = 256 * 1024
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_NAMESPACE = "default"
CHOICES: Mapping[str, Sequence[str]] = {
    "gitvirt.io/prune": ("disabled", "enabled"),
    "gitvirt.io/reconcile": ("disabled", "enabled"),
    "gitvirt.io/drift": ("report",),
}
"""Annotations that guard an object, with what they may say: one with a slip of the pen would guard
nothing, and nobody would know.
"""
NOT_AFTER = "gitvirt.io/not-after"
OURS = "gitvirt.io/"
ANNOTATIONS = frozenset(
    (*CHOICES, NOT_AFTER, f"{OURS}confirm-deletion", f"{OURS}source")  # the last one is the agent's
)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ENVELOPE = frozenset(("apiVersion", "kind", "metadata", "status"))
_KUSTOMIZATION = frozenset(
    ("resources", "bases", "patches", "components", "namePrefix", "nameSuffix")
)
NOT_YET = frozenset(
    f"{prefix}{name}"
    for prefix, names in {
        "": ("NodeUSBDevice", "USBDevice", "VirtualDiskSnapshot"),
        "VirtualMachine": (
            *(
                "BlockDeviceAttachment",
                "IPAddress",
                "IPAddressLease",
                "MACAddress",
                "MACAddressLease",
            ),
            *("Pool", "Restore", "Snapshot", "SnapshotOperation"),
        ),
    }.items()
    for name in names
)
"""Kinds of the API that are left to later."""
_OWN_GROUP = "virtualization.deckhouse.io"
_TEMPLATE = "looks like a template (`{{`): render it first, templates are not applied"


class Note(str):
    """What a rule says of content that holds: it is told, and stops nothing."""

    __slots__ = ()


@dataclass(frozen=True)
class Refused:
    """A document that does not hold. `key` is None where one cannot tell what object it means."""

    problems: tuple[Problem, ...]
    key: Key | None
    hides: bool = True
    """True if without a key some object of ours may be meant."""


@dataclass(frozen=True)
class Ignored:
    """A document that is recognised and not applied. `key` names one of our own objects, which
    stays as it is.
    """

    note: Problem
    key: Key | None = None


@dataclass(frozen=True)
class FileResult:
    """What one file's content means, wherever the file lies; `file` of every Problem is empty.
    `refused` holds the key and line of documents that do not hold; `broken` is True if some
    object's manifest may be hidden in what cannot be read.
    """

    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    ignored: tuple[Problem, ...] = ()
    refused: tuple[tuple[Key, int], ...] = ()
    broken: bool = False


def is_manifest_file(path: str) -> bool:
    """True for the names of files that are read. Dot folders are the caller's to skip."""
    return path.lower().endswith(SUFFIXES)


def read_file(catalogue: Catalogue, checks: Checks, data: bytes) -> FileResult:
    """Everything in one file. Never raises, whatever the file holds."""
    parsed = documents.parse(data)
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
    broken = bool(parsed.errors)
    for document in parsed.documents:
        match read_document(catalogue, checks, document):
            case Manifest() as manifest:
                manifests.append(manifest)
            case Ignored(note, key):
                ignored.append(note)
                if key is not None:
                    refused.append((key, document.line))
            case Refused(found, key, hides):
                problems.extend(found)
                if key is not None:
                    refused.append((key, document.line))
                broken = broken or (key is None and hides)
    return FileResult(tuple(manifests), tuple(problems), tuple(ignored), tuple(refused), broken)


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
) -> Manifest | Refused | Ignored:
    """One document: a manifest with defaults, or all its problems at once, or a note why it is not
    applied.
    """
    value = document.value
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "a single value"
        return _refused(
            document, None, [((), f"must be a mapping with apiVersion and kind, not {what}")]
        )
    foreign = _foreign(catalogue, value)
    if foreign:
        return Ignored(Problem("", document.line, _label(value), "", foreign))
    kind = _kind(catalogue, value)
    if isinstance(kind, tuple):
        meant = _meant(catalogue, value.get("kind"))
        refused = _refused(document, _key(meant, value), [kind])
        return replace(refused, hides=meant is not None or "kind" not in value)
    key = _key(kind, value)
    if "sops" in value:
        note = "is encrypted with SOPS: encrypted manifests are not applied"
        return Ignored(Problem("", document.line, _label(value), "", note), key)
    content = {name: part for name, part in value.items() if name not in _ENVELOPE}
    found = [
        *document.problems,
        *_metadata(value),
        *catalogue.problems(kind, value),
        *(problem for check in checks.get(kind.name, ()) for problem in check(content)),
    ]
    wrong = [problem for problem in found if not isinstance(problem[1], Note)]
    if wrong or key is None:
        return _refused(document, key, wrong)
    told = [f"{_dotted(path)} {note}" for path, note in found]
    return _manifest(catalogue, kind, key, document, content, told)


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


def _refused(document: Document, key: Key | None, found: Iterable[tuple[Path, str]]) -> Refused:
    """The first problem at each path: what follows from it says nothing new."""
    first: dict[Path, str] = {}
    for path, message in islice(found, MAX_PROBLEMS):
        first.setdefault(path, message)
    resource = str(key) if key is not None else _label(document.value)
    problems = [
        Problem("", document.line_of(path), resource, _dotted(path), message)
        for path, message in first.items()
    ]
    return Refused(tuple(sorted(problems, key=lambda problem: problem.line)), key)


def _dotted(path: Path) -> str:
    steps = (str(step) for step in path)
    return ".".join(step if len(step) <= 317 else step[:60] + "…" for step in steps)


def _label(value: Json) -> str:
    """How a document is named in messages that has no key; only plain words of it, whatever it
    holds.
    """
    if not isinstance(value, dict):
        return ""
    kind, name = value.get("kind"), _at(value, "metadata", "name")
    words = [kind if isinstance(kind, str) and re.fullmatch(r"[A-Za-z0-9]{1,63}", kind) else ""]
    words.append(
        name if isinstance(name, str) and len(name) <= 253 and _NAME.fullmatch(name) else ""
    )
    return " ".join(word for word in words if word)


def _at(value: Json, *path: str) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _key(kind: Kind | None, value: dict[str, Json]) -> Key | None:
    """What object a document means, as far as one can tell."""
    name, namespace = _at(value, "metadata", "name"), _at(value, "metadata", "namespace")
    if kind is None or not isinstance(name, str) or len(name) > 253 or not _NAME.fullmatch(name):
        return None
    if not kind.namespaced:
        return Key(kind.name, "", name)
    if namespace is None:
        return Key(kind.name, DEFAULT_NAMESPACE, name)
    if isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace):
        return Key(kind.name, namespace, name)
    return None


def _foreign(catalogue: Catalogue, value: dict[str, Json]) -> str:
    """Why a document is none of ours; empty if it is, or seems meant to be."""
    version, name = value.get("apiVersion"), value.get("kind")
    if (version is None or name is None) and "metadata" not in value and "spec" not in value:
        return _not_an_object(value)
    if not isinstance(version, str) or not isinstance(name, str):
        return ""
    group = version.rpartition("/")[0]
    if group == _OWN_GROUP:
        return ""
    if group.startswith("kustomize.") or name == "Kustomization":
        return "is a kustomization: build it first, only its result is applied"
    if name == "SealedSecret":
        return "is an encrypted Secret: encrypted manifests are not applied"
    if group not in catalogue.groups:
        return f"is of the API group {_word(group)}: not applied here"
    kind = catalogue.kinds.get(name)
    if kind is None or group not in {known.rpartition("/")[0] for known in kind.api_versions}:
        return f"is {_word(version)} {_word(name)}: not applied here"
    module = _at(value, "metadata", "name")
    if name == "ModuleConfig" and isinstance(module, str) and module != "virtualization":
        return "is the configuration of another module: not applied here"
    return ""


def _word(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9./-]{1,100}", text) else "of another kind"


def _not_an_object(value: dict[str, Json]) -> str:
    if _KUSTOMIZATION & value.keys():
        return "is a kustomization: build it first, only its result is applied"
    if "sops" in value:
        return "is encrypted with SOPS: encrypted files are not applied"
    if {"name", "version", "apiVersion"} <= value.keys():
        return "is a Helm chart: render it first, only its result is applied"
    return "is no Kubernetes object (no apiVersion and kind): not applied"


def _kind(catalogue: Catalogue, value: dict[str, Json]) -> Kind | tuple[Path, str]:
    """The document's kind, or what is wrong with what it says."""
    version, name = value.get("apiVersion"), value.get("kind")
    if not isinstance(name, str):
        return ("kind",), "must name a kind, such as VirtualMachine"
    kind = catalogue.kinds.get(name)
    if kind is not None:
        if version in kind.api_versions:
            return kind
        allowed = " or ".join(kind.api_versions)
        return ("apiVersion",), f"must be {allowed} for a {name}, not {shown(version)}"
    meant = _meant(catalogue, name)
    if meant is not None:
        return ("kind",), f"must be a kind that gitvirt knows: did you mean {meant.name}?"
    known = ", ".join(sorted(catalogue.kinds))
    if name in NOT_YET:
        return ("kind",), f"{name} is not supported yet; supported are {known}"
    return ("kind",), f"must be a kind that gitvirt knows, not {shown(name)}; known are {known}"


def _meant(catalogue: Catalogue, name: Json) -> Kind | None:
    """The kind that a misspelt one stands for: its object then keeps its last good version."""
    if not isinstance(name, str) or name in NOT_YET:
        return None
    return catalogue.kinds.get(name) or catalogue.kinds.get(nearest(name, catalogue.kinds) or "")


def _metadata(value: dict[str, Json]) -> Iterator[tuple[Path, str]]:
    """What the schema cannot say about metadata."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return
    if "generateName" in metadata and "name" not in metadata:
        yield (
            ("metadata", "name"),
            "is required: a generated name would mean another object at each reading",
        )
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        for name, text in annotations.items():
            if name.startswith(OURS) and name not in ANNOTATIONS:
                meant = nearest(name, ANNOTATIONS)
                hint = f": did you mean {meant}?" if meant else ""
                yield ("metadata", "annotations", name), f"is no annotation of gitvirt's{hint}"
            allowed = _annotation(name, text) if isinstance(text, str) else ""
            if allowed:
                yield ("metadata", "annotations", name), f"must be {allowed}, not {shown(text)}"
        size = sum(
            len(name.encode()) + len(text.encode())
            for name, text in annotations.items()
            if isinstance(text, str) and name != LAST_APPLIED
        )
        if size > MAX_ANNOTATIONS:
            yield (
                ("metadata", "annotations"),
                f"must have at most {MAX_ANNOTATIONS // 1024} KiB in all, not {size // 1024} KiB",
            )


def _annotation(name: str, text: str) -> str:
    """What an annotation of gitvirt's has to be; empty if it is."""
    if name in CHOICES and text not in CHOICES[name]:
        return " or ".join(CHOICES[name])
    if name == NOT_AFTER:
        try:
            known = datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            known = False
        return "" if known else "a time with its zone, such as 2030-01-31T12:00:00Z"
    return ""


def assemble(revision: str, files: Iterable[tuple[str, FileResult]]) -> Desired:
    """What all files ask for together. Of two manifests for one name neither counts."""
    problems: list[Problem] = []
    ignored: list[Problem] = []
    broken: list[str] = []
    invalid: set[Key] = set()
    found: dict[Key, tuple[Manifest, str]] = {}
    places: defaultdict[Key, list[tuple[str, int]]] = defaultdict(list)
    for path, result in files:
        problems.extend(replace(problem, file=path) for problem in result.problems)
        ignored.extend(replace(note, file=path) for note in result.ignored)
        if result.broken:
            broken.append(path)
        for key, line in result.refused:
            invalid.add(key)
            places[key].append((path, line))
        for manifest in result.manifests:
            found[manifest.key] = manifest, path
            places[manifest.key].append((path, manifest.line))
    for key, where in places.items():
        if len(where) > 1:
            invalid.add(key)
            problems.extend(_duplicates(key, where))
    held = {key: entry for key, entry in found.items() if key not in invalid}
    return Desired(
        revision=revision,
        manifests={key: manifest for key, (manifest, _) in held.items()},
        paths={key: path for key, (_, path) in held.items()},
        invalid=frozenset(invalid),
        problems=tuple(sorted(problems)),
        ignored=tuple(sorted(ignored)),
        broken=tuple(broken),
    )


def amend(
    before: Desired,
    revision: str,
    gone: Iterable[tuple[str, FileResult]],
    new: Iterable[tuple[str, FileResult]],
) -> Desired | None:
    """What `assemble` says after these files went and came. None where only all files together can
    tell: something is wrong in one of these, or a name is declared twice.
    """
    manifests, paths = dict(before.manifests), dict(before.paths)
    for path, result in gone:
        for manifest in result.manifests:
            if paths.pop(manifest.key, None) != path:
                return None
            del manifests[manifest.key]
        if not _plain(result):
            return None
    for path, result in new:
        for manifest in result.manifests:
            if manifest.key in manifests or manifest.key in before.invalid:
                return None
            manifests[manifest.key], paths[manifest.key] = manifest, path
        if not _plain(result):
            return None
    return replace(before, revision=revision, manifests=manifests, paths=paths)


def _plain(result: FileResult) -> bool:
    return not (result.problems or result.ignored or result.refused or result.broken)


def _duplicates(key: Key, where: list[tuple[str, int]]) -> Iterator[Problem]:
    for at, (path, line) in enumerate(where):
        other, other_line = where[0] if at else where[1]
        message = f"is declared in {other}:{other_line} too: neither counts until one is gone"
        yield Problem(path, line, str(key), "metadata.name", message)
