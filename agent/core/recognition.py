"""What a document is by its head: one of our kinds, a slip of the pen that may have been one, or
something that is none of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.core.documents import Path
from agent.core.human import shown
from agent.core.model import Json, Key, Meant
from agent.core.schema import Catalogue, Kind
from agent.core.spelling import nearest

DEFAULT_NAMESPACE = "default"
OWN_GROUP = "virtualization.deckhouse.io"
NEAR_GROUP = 0.85
"""Groups share words (`virtualization`, `.io`) and are told apart by less than kinds are."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KUSTOMIZATION = frozenset(
    ("resources", "bases", "patches", "components", "namePrefix", "nameSuffix")
)


@dataclass(frozen=True)
class Foreign:
    """None of ours, or none that is applied here: what is said of it, and what of ours it names all
    the same.
    """

    note: str
    meant: Meant | None = None


@dataclass(frozen=True)
class Wrong:
    """What is wrong with the head of a document that may be one of ours, and the kind that it is
    meant to be, where that shows.
    """

    path: Path
    message: str
    kind: Kind | None = None


def recognise(catalogue: Catalogue, value: dict[str, Json]) -> Kind | Wrong | Foreign:
    version, name = value.get("apiVersion"), value.get("kind")
    if _is_kustomization(version, name):
        return Foreign("is a kustomization: build it first, only its result is applied")
    if name == "List":
        return Wrong(("items",), "must be a list of objects: of a List, nothing else is read")
    kind = catalogue.kinds.get(name) if isinstance(name, str) else None
    if kind is not None:
        return _of_kind(catalogue, kind, version, value)
    if (version is None or name is None) and "metadata" not in value and "spec" not in value:
        note = _not_an_object(value)
        if note:
            return Foreign(note)
    if not isinstance(name, str) or not name:
        return Wrong(("kind",), f"must name a kind, such as {catalogue.machine.name}")
    if not isinstance(version, str) or not version:
        return Wrong(("apiVersion",), "must name the API of the kind, such as v1")
    if len(value) == 2:
        return Wrong(("metadata",), "is required: this object ends after its head")
    return _of_no_kind(catalogue, version, name, value)


def _is_kustomization(version: Json, name: Json) -> bool:
    return name == "Kustomization" or (
        isinstance(version, str) and version.startswith("kustomize.") and "/" in version
    )


def _not_an_object(value: dict[str, Json]) -> str:
    """What a document is that has nothing of an object; empty if it may be the rest of one."""
    if _KUSTOMIZATION & value.keys():
        return "is a kustomization: build it first, only its result is applied"
    if "sops" in value:
        return "is encrypted with SOPS: encrypted files are not applied"
    if {"name", "version", "apiVersion"} <= value.keys():
        return "is a Helm chart: render it first, only its result is applied"
    if "apiVersion" in value and isinstance(value["apiVersion"], str | None):
        return ""
    if "kind" in value and value["kind"] is None:
        return ""
    return "is no Kubernetes object (no apiVersion and kind): not applied"


def _of_kind(
    catalogue: Catalogue, kind: Kind, version: Json, value: dict[str, Json]
) -> Kind | Wrong | Foreign:
    """A document with the name of a kind of ours."""
    if version in kind.api_versions:
        return _module(kind, value) if kind.module else kind
    allowed = " or ".join(kind.api_versions)
    message = f"must be {allowed} for a {kind.name}, not {shown(version)}"
    if isinstance(version, str):
        group, near = group_of(version), _near_api(catalogue, version)
        if near is None and "." in group and group not in catalogue.groups:
            namespace = namespace_of(value) if kind.namespaced else None
            return Foreign(_other_group(version), Meant(kind.name, namespace, name_of(value)))
        if near is not None and group not in catalogue.groups:
            message = f"must be an API that gitvirt knows: did you mean {allowed}?"
    return Wrong(("apiVersion",), message, kind)


def _module(kind: Kind, value: dict[str, Json]) -> Kind | Wrong | Foreign:
    name = at(value, "metadata", "name")
    if not isinstance(name, str) or name == kind.module:
        return kind
    if not name or nearest(name, [kind.module]):
        message = f"must be the name of a module: did you mean {kind.module}?"
        return Wrong(("metadata", "name"), message)
    return Foreign("is the configuration of another module: not applied here")


def _of_no_kind(
    catalogue: Catalogue, version: str, name: str, value: dict[str, Json]
) -> Wrong | Foreign:
    """A document with a kind that is none of ours."""
    group = group_of(version)
    if group == OWN_GROUP:
        return _of_own_group(catalogue, name)
    for kind in catalogue.kinds.values():
        if name in kind.encrypted_as:
            named = Meant(kind.name, namespace_of(value), name_of(value))
            note = f"is an encrypted {kind.name}: encrypted manifests are not applied"
            return Foreign(note, named)
    near = _near_api(catalogue, version)
    if near is not None and group not in catalogue.groups - {""}:
        message = f"must be an API that gitvirt knows: did you mean {near}?"
        return Wrong(("apiVersion",), message)
    meant = _near_kind(catalogue, name, group)
    if meant is not None:
        return Wrong(("kind",), f"must be a kind that gitvirt knows: did you mean {meant}?")
    if group in catalogue.groups:
        return Foreign(f"is {_word(version)} {_word(name)}: not applied here")
    return Foreign(_other_group(version))


def _of_own_group(catalogue: Catalogue, name: str) -> Wrong | Foreign:
    if name in catalogue.later:
        return Foreign(f"is a {name}: this kind is not supported yet, and not applied")
    if (instead := catalogue.former.get(name)) is not None:
        return Foreign(f"is a {name}, a kind that the API has no more, and not applied: {instead}")
    words = {word: kind.name for kind in catalogue.kinds.values() for word in _words(kind)}
    words |= {name: name for name in catalogue.later}
    meant = words.get(name.lower()) or words.get(nearest(name, words) or "")
    if meant is None:
        known = ", ".join(sorted(catalogue.kinds))
        return Wrong(
            ("kind",), f"must be a kind that gitvirt knows, not {shown(name)}; known are {known}"
        )
    message = f"must be a kind that gitvirt knows: did you mean {meant}?"
    return Wrong(("kind",), message, catalogue.kinds.get(meant))


def _words(kind: Kind) -> tuple[str, ...]:
    return (kind.name, kind.singular, kind.plural, *kind.short_names)


def _near_kind(catalogue: Catalogue, name: str, group: str) -> str | None:
    """The kind that a misspelt one stands for, in a group that has some of ours, or in one of
    Kubernetes' own, for which any group may have been lost.
    """
    if "." not in group:
        return nearest(name, ["List", *catalogue.kinds])
    return nearest(
        name,
        [
            kind.name
            for kind in catalogue.kinds.values()
            if group in {group_of(version) for version in kind.api_versions}
        ],
    )


def _near_api(catalogue: Catalogue, version: str) -> str | None:
    """The API that a misspelt apiVersion stands for. A group below one of ours is another one."""
    apis = {api: api for kind in catalogue.kinds.values() for api in kind.api_versions}
    apis |= {group_of(api): api for api in apis}
    text = group_of(version) or version
    meant = nearest(text, [api for api in apis if "." in api], cutoff=NEAR_GROUP)
    if meant is None or (text.endswith(f".{meant}") and text != f".{meant}"):
        return None
    return apis[meant]


def group_of(version: str) -> str:
    return version.rpartition("/")[0]


def _other_group(version: str) -> str:
    return f"is of the API group {_word(group_of(version))}: not applied here"


def _word(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9./-]{1,100}", text) else "of another kind"


# -- which object -----------------------------------------------------------------------------


def at(value: Json, *path: str) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def name_of(value: Json) -> str | None:
    """The name that a document gives; None if it gives none that an object can have."""
    name = at(value, "metadata", "name")
    good = isinstance(name, str) and len(name) <= 253 and _NAME.fullmatch(name)
    return name if good else None


def namespace_of(value: Json) -> str | None:
    namespace = at(value, "metadata", "namespace")
    good = isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace)
    return namespace if good else None


def key_of(kind: Kind | None, value: Json) -> Key | None:
    """What object a document means, as far as one can tell."""
    name, namespace = name_of(value), namespace_of(value)
    if kind is None or name is None:
        return None
    if not kind.namespaced:
        return Key(kind.name, "", name)
    if at(value, "metadata", "namespace") is None:
        return Key(kind.name, DEFAULT_NAMESPACE, name)
    return None if namespace is None else Key(kind.name, namespace, name)


def label(value: Json) -> str:
    """How a document is named in messages that has no key; only plain words of it, whatever it
    holds.
    """
    kind = at(value, "kind")
    words = [kind if isinstance(kind, str) and re.fullmatch(r"[A-Za-z0-9]{1,63}", kind) else ""]
    words.append(name_of(value) or "")
    return " ".join(word for word in words if word)
