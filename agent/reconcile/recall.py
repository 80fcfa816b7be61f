"""Secrets do not stand in the ledger: they are read again from the commit at which an object was
accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agent.core.ledger import Record, is_redacted, same_content
from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository, RepositoryError, TreeFile
from agent.kinds.registry import complete
from agent.reconcile.desired import ManifestReader
from agent.reconcile.status_branch import Ledger

COMMIT_ID = 40


def recall(
    ledger: Ledger, repository: Repository, catalogue: Catalogue, reader: ManifestReader
) -> None:
    """Fill the markers of a ledger in, where the source commit is still there."""
    for key, record in ledger.records.items():
        if is_redacted(record.obj.manifest.content):
            ledger.records[key] = _recalled(record, repository, catalogue, reader)


def _recalled(
    known: Record, repository: Repository, catalogue: Catalogue, reader: ManifestReader
) -> Record:
    commit, _, path = known.obj.source.partition(":")
    data = content_at(repository, known.obj.source)
    if data is None:
        return known
    header = b"blob %d\0" % len(data)
    blob = hashlib.sha1(header + data, usedforsecurity=False).hexdigest()  # as Git names it
    source = _OneFile(TreeFile(path, blob, "file"), data, commit)
    manifest = reader.find(source, path, known.obj.key)
    kind = catalogue.kinds[known.obj.key.kind]
    if manifest is not None:
        manifest = complete(manifest, known.obj.spec, {})
    if manifest is None or not same_content(kind, manifest, known.obj.manifest):
        return known
    return replace(known, obj=replace(known.obj, manifest=manifest))


def content_at(repository: Repository, source: str) -> bytes | None:
    """What stands at `<commit>:<path>`; None where nothing does, or the commit is gone by now, as
    after history was rewritten.
    """
    commit, _, path = source.partition(":")
    try:
        return repository.read_path(commit, path) if len(commit) == COMMIT_ID else None
    except RepositoryError as error:
        if error.reason != "ObjectMissing":
            raise
        return None


@dataclass(frozen=True)
class _OneFile:
    """A source of a single file whose content is at hand."""

    file: TreeFile
    data: bytes
    revision: str

    def files(self) -> Iterator[TreeFile]:
        yield self.file

    def size(self, file: TreeFile) -> int:
        return len(self.data)

    def read(self, file: TreeFile) -> bytes:
        return self.data
