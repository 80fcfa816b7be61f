"""Which files of the operations branch go, once operations have ended. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set

from agent.core.ledger import dump, path_of
from agent.core.model import Desired, Json, Key, Manifest
from agent.core.schema import Catalogue


def withdrawal(
    catalogue: Catalogue, asked: Desired, gone: Set[Key], kept: Set[Key]
) -> dict[str, bytes | None]:
    """Changes that take `gone` away; `kept` are those that have ended too, and stay.

    A file goes when all in it has ended: who stays gets a file of its own. With anything else in
    it, also with what does not hold, it is left as people wrote it.
    """
    files: defaultdict[str, set[Key]] = defaultdict(set)
    for key, path in asked.paths.items():
        files[path].add(key)
    spoiled = {problem.file for problem in (*asked.problems, *asked.ignored)}
    changes: dict[str, bytes | None] = {}
    for path in sorted(files.keys() - spoiled):
        stay = files[path] - gone
        if stay == files[path] or not stay <= kept:
            continue
        own = {path_of(catalogue, key): _document(catalogue, asked.manifests[key]) for key in stay}
        if own.keys() & ((files.keys() | spoiled) - {path}):
            continue  # somebody else's file
        changes |= {path: None, **own}
    return changes


def _document(catalogue: Catalogue, manifest: Manifest) -> bytes:
    key, kind = manifest.key, catalogue.kinds[manifest.key.kind]
    metadata: dict[str, Json] = {
        "annotations": dict(manifest.annotations),
        "labels": dict(manifest.labels),
        "name": key.name,
        "namespace": key.namespace,
    }
    return dump(
        {
            "apiVersion": kind.api_versions[0],  # pragma: no mutate: operations and nodes have one
            "kind": kind.name,
            "metadata": {name: value for name, value in metadata.items() if value},
            **manifest.content,
        }
    )
