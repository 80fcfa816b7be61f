"""Which other objects a manifest names: what the schemas say of it is all that anybody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.core.fields import Ref
from agent.core.model import Json, Key, Manifest
from agent.core.recognition import DEFAULT_NAMESPACE
from agent.core.schema import Catalogue


def references(catalogue: Catalogue, manifest: Manifest) -> Iterator[tuple[Ref, Key]]:
    """Each reference to an object of a kind of ours, with what it means."""
    for ref, value in catalogue.kinds[manifest.key.kind].references(manifest.content):
        target = target_of(catalogue, manifest.key.namespace, ref, value)
        if target is not None:
            yield ref, target
    for annotation, kind in catalogue.named_by.items():
        if text := manifest.annotations.get(annotation):
            namespace, _, name = text.rpartition("/")
            within = manifest.key.namespace or namespace or DEFAULT_NAMESPACE
            yield Ref(kind), Key(kind, within, name)


def target_of(catalogue: Catalogue, namespace: str, ref: Ref, value: Json) -> Key | None:
    """What a reference, as it is written in a namespace, names; None where that is nothing, or an
    object of a kind that is not served.
    """
    fields = value if isinstance(value, Mapping) else {"name": value}
    kind = catalogue.kinds.get(ref.kind or fields.get("kind", ""))
    if kind is None or not fields.get("name"):
        return None
    within = fields.get("namespace", namespace) if kind.namespaced else ""
    return Key(kind.name, within, fields["name"])
