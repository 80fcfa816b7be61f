"""The ledger: every object whole, as last accepted, with its status, one file an object on the
status branch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core import plain_yaml
from agent.core.addresses import is_hidden
from agent.core.annotations import SOURCE
from agent.core.changes import SENSITIVE, redacted
from agent.core.model import Json, Key, Manifest, Object, Owner
from agent.core.nodes import HOME
from agent.core.parsing import parse
from agent.core.schema import Catalogue, Kind

FLEET_FILE = "agent.yaml"
TRASH = "trash/"
PLANS = "plans/"
LONGEST_PATH = 255
"""Bytes; names are ASCII."""

VOLUME = "volume"
"""Field of a status: pool, name and format of the volume that a disk lies in. It is not there where
that is the one that every disk had once: in the pool gitvirt, in format qcow2, and never moved.
"""
MOVE = "migrationState"
"""Field of a status: from which volume to which a disk moves, or did last; or from which node to
which a machine does.
"""


@dataclass(frozen=True)
class Record:
    """One object of the ledger. Read from Git, its secrets are markers."""

    obj: Object
    status: Mapping[str, Json]

    @property
    def identity(self) -> str:
        """What has to be known of an object before anything is made of it, or what it was made from
        is taken away: its uid, the node that it belongs to where there are several, the volume of a
        disk where that is not the one that its uid says, the one that it is about to have, the
        digest of an image's data, and when a machine left its node that has not arrived.
        """
        volume, move = self.status.get(VOLUME, {}), self.status.get(MOVE, {})
        going = () if "endTimestamp" in move else (move.get("pool", ""), move.get("targetPVC", ""))
        leaving = "target" in move and "endTimestamp" not in move
        begun = move.get("startTimestamp", "") if leaving else ""
        where = (
            self.status.get(HOME, ""),
            begun,
            volume.get("pool", ""),
            volume.get("name", ""),
            *going,
        )
        return " ".join(filter(None, (self.obj.uid, *where, self.status.get("digest", ""))))


def path_of(catalogue: Catalogue, key: Key) -> str:
    """The file of an object. Systems to which people check the branch out take no longer ones."""
    folder = _folder(catalogue.kinds[key.kind], key)
    return _path(folder, key.name, ".yaml")


def trash_path(catalogue: Catalogue, key: Key, uid: str) -> str:
    """The file of a deleted object that can still come back."""
    folder = _folder(catalogue.kinds[key.kind], key)
    return _path(f"{TRASH}{folder}", key.name, f".{uid}.yaml")


def former_path(catalogue: Catalogue, key: Key) -> str:
    """Where the object stood before names were shortened."""
    return f"{_folder(catalogue.kinds[key.kind], key)}/{key.name}.yaml"


def _folder(kind: Kind, key: Key) -> str:
    folder = f"namespaces/{key.namespace}" if key.namespace else "cluster"
    return f"{folder}/{kind.plural}"


def _path(folder: str, name: str, ending: str) -> str:
    """The name is cut where it is too long, with a digest of all of it behind a sign that no name
    has: whoever chooses names finds no two objects with one file.
    """
    room = LONGEST_PATH - len(f"{folder}/{ending}")
    if len(name) > room:
        digest = hashlib.sha256(name.encode()).hexdigest()[:40]
        name = f"{name[: room - 41]}_{digest}"
    return f"{folder}/{name}{ending}"


def is_record(path: str) -> bool:
    return path.startswith(("namespaces/", "cluster/")) and path.endswith(".yaml")


def document(catalogue: Catalogue, record: Record) -> dict[str, Json]:
    """The object as `get -o yaml` prints it: Kubernetes' shape, secrets as markers."""
    obj = record.obj
    kind = catalogue.kinds[obj.key.kind]
    annotations = {**obj.manifest.annotations, SOURCE: obj.source}
    metadata: dict[str, Json] = {
        "annotations": annotations,
        "creationTimestamp": obj.created,
        "deletionTimestamp": obj.deleted,
        "generation": obj.generation,
        "labels": dict(obj.manifest.labels),
        "name": obj.key.name,
        "namespace": obj.key.namespace,
        "ownerReferences": [_owner(catalogue, obj.owner)] if obj.owner else [],
        "uid": obj.uid,
    }
    content = redacted(kind, obj.manifest.content, ())
    whole = {
        "apiVersion": kind.api_versions[0],
        "kind": kind.name,
        "metadata": {name: value for name, value in metadata.items() if value},
        **content,
    }
    if record.status:
        whole["status"] = dict(record.status)
    return whole


def _owner(catalogue: Catalogue, owner: Owner) -> dict[str, Json]:
    version = catalogue.kinds[owner.kind].api_versions[0]
    named = {"kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return {"apiVersion": version, "controller": True, **named}


def _owned_by(references: Sequence[Mapping[str, Json]]) -> Owner | None:
    return next((Owner(each["kind"], each["name"], each["uid"]) for each in references), None)


def dump(value: Json, *, ascii_only: bool = False) -> bytes:
    """YAML that people can read and `load` gives back."""
    return plain_yaml.dump(value, ascii_only=ascii_only).encode()


def load(data: bytes) -> dict[str, Json] | None:
    """One document; None if it is not one that this program wrote."""
    if (plain := plain_yaml.read(data)) is not None:
        return plain
    parsed = parse(data)
    if (
        parsed.errors
        or len(parsed.documents) != 1
        or not isinstance(parsed.documents[0].value, dict)
    ):
        return None
    return parsed.documents[0].value


def record(catalogue: Catalogue, value: Mapping[str, Json]) -> Record | None:
    """The object of one file, with the defaults of today's schema; None if it is not one."""
    try:
        kind = catalogue.kind(value["apiVersion"], value["kind"])
        metadata = value["metadata"]
        if kind is None:
            return None
        content = {
            name: value[name]
            for name in value
            if name not in ("apiVersion", "kind", "metadata", "status")
        }
        annotations = dict(metadata.get("annotations", {}))
        source = annotations.pop(SOURCE, "")
        key = Key(kind.name, metadata.get("namespace", ""), metadata["name"])
        obj = Object(
            manifest=Manifest(
                key, metadata.get("labels", {}), annotations, catalogue.defaulted(kind, content)
            ),
            uid=metadata["uid"],
            generation=metadata["generation"],
            created=metadata["creationTimestamp"],
            source=source,
            deleted=metadata.get("deletionTimestamp", ""),
            owner=_owned_by(metadata.get("ownerReferences", ())),
        )
    except (KeyError, TypeError, AttributeError):
        return None
    return Record(obj, value.get("status", {}))


def is_redacted(value: Json) -> bool:
    """True if the marker of a secret, or of a part of an address, stands somewhere in the value."""
    if isinstance(value, Mapping):
        return any(is_redacted(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(is_redacted(item) for item in value)
    return isinstance(value, str) and (value == SENSITIVE or is_hidden(value))


def same_content(kind: Kind, manifest: Manifest, known: Manifest) -> bool:
    """True if both say the same, as far as markers let one see."""
    if manifest.content == known.content:
        return True
    if not is_redacted(known.content):
        return False
    return redacted(kind, manifest.content, ()) == redacted(kind, known.content, ())


def same_words(one: Object, other: Object) -> bool:
    """True if two versions of an object are written down alike, markers aside."""
    ours, theirs = one.manifest, other.manifest
    return (
        (one.source, one.generation, one.deleted) == (other.source, other.generation, other.deleted)
        and (one.uid, one.created) == (other.uid, other.created)
        and (ours.labels, ours.annotations) == (theirs.labels, theirs.annotations)
        and ours.content == theirs.content
    )
