"""The plan of one branch, made in a process of its own with limits: what a stranger pushed must
cost the agent nothing.

It reads two lines of JSON and answers the first with a line, the second with Markdown:

1. {"ref", "tip", "fleet", "folder", "now", "before": files, "after": files, "both": paths,
   "theirs": files} as in BranchChange, each file [path, kind, size, content in Base64], the latter
   empty where it is too large; answered by
   {"changed": keys, "named": keys}, each key [kind, namespace, name]: what the branch changes or
   removes, and what its manifests refer to.
2. {"records": documents of the status branch, "trash": those of deleted objects that can come
   back, "agent": what the agent says of its node, "others": how many more objects there are, by
   kind}; answered by the plan.

Where it fails, the last line that it complains with is free of anything that it was given.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from agent.core import planprint
from agent.core.ledger import Record, is_redacted, record, same_content
from agent.core.model import BUILT_IN, Desired, Json, Key, Manifest, Problem
from agent.core.schema import Catalogue
from agent.gitrepo.repository import TreeFile
from agent.kinds.registry import CHECKS, complete
from agent.kinds.rivals import apart
from agent.reconcile.desired import ManifestReader
from agent.reconcile.plans.items import lines
from agent.reconcile.plans.merging import File, United, united
from agent.reconcile.plans.planning import named, plan
from agent.reconcile.status_branch import Ledger

MEMORY = 512 * 1024**2
"""Bytes beyond what the process has mapped once it is loaded: allocators reserve far more than they
use.
"""
CPU = 20
MOST_ITEMS = 200
MOST_PROBLEMS = 100


def limit() -> None:
    """Bound this process: memory, processor time, and no file may be written."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    for what, most in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU + 1))  # the first one's signal tells


def complain(kind: type[BaseException], _: BaseException, trace: TracebackType | None) -> None:
    """Say what went wrong and where, and not about what: that may be a secret."""
    at = ""
    for frame, line in traceback.walk_tb(trace):
        path = Path(frame.f_code.co_filename)
        if "agent" in path.parts:
            at = f" in {path.name}:{line}"
    sys.stderr.write(f"{kind.__name__}{at}\n")


@dataclass(frozen=True)
class _Given:
    """Files that came as JSON."""

    revision: str
    content: Mapping[str, File]

    def files(self) -> Iterator[TreeFile]:
        return (TreeFile(path, "", kind) for path, (kind, _, _) in sorted(self.content.items()))

    def size(self, file: TreeFile) -> int:
        return self.content[file.path][1]

    def read(self, file: TreeFile) -> bytes:
        return self.content[file.path][2]


@dataclass(frozen=True)
class Changed:
    """What a branch does to objects."""

    before: Desired
    after: Desired
    new: Mapping[Key, Manifest]
    """Objects that it adds or changes."""
    removed: frozenset[Key]
    files: frozenset[str]
    """Every file that it touches."""

    def named(self, catalogue: Catalogue) -> set[Key]:
        """What its manifests refer to."""
        return {target for manifest in self.new.values() for target in named(catalogue, manifest)}


def changed(reader: ManifestReader, tip: str, files: United) -> Changed:
    before, after = reader.read(_Given("", files.before)), reader.read(_Given(tip, files.after))
    after = replace(after, problems=(*files.problems, *after.problems))
    manifests = {
        key: manifest
        for key, manifest in after.manifests.items()
        if not _same(manifest, before.manifests.get(key))
    }
    removed = before.manifests.keys() - after.manifests.keys() - after.invalid
    touched = frozenset(files.before.keys() | files.after.keys())
    return Changed(before, after, manifests, frozenset(removed), touched)


def united_of(first: Mapping[str, Json]) -> United:
    """The branch's files, merged with main's."""

    def files(name: str) -> dict[str, File]:
        return {
            path: (kind, size, base64.b64decode(data)) for path, kind, size, data in first[name]
        }

    return united(files("before"), files("after"), files("theirs"), first["both"])


def _same(new: Manifest, old: Manifest | None) -> bool:
    return old is not None and (new.content, new.labels, new.annotations) == (
        old.content,
        old.labels,
        old.annotations,
    )


def merged(change: Changed, records: Mapping[Key, Record], folder: str) -> Desired:
    """Main's objects with the branch's own changes."""
    twice = dict(_declared_elsewhere(change, records, folder))
    known = {
        (problem.file, problem.resource, problem.path, problem.message)
        for problem in change.before.problems
    }
    problems = [
        problem
        for problem in change.after.problems
        if (problem.file, problem.resource, problem.path, problem.message) not in known
    ]
    manifests = {
        key: entry.obj.manifest
        for key, entry in records.items()
        if key not in change.removed and not entry.obj.deleted and entry.obj.source != BUILT_IN
    }
    manifests |= {key: manifest for key, manifest in change.new.items() if key not in twice}
    whole = Desired(
        revision=change.after.revision,
        manifests=manifests,
        paths=change.after.paths,
        invalid=change.after.invalid,
        problems=tuple(sorted([*problems, *twice.values()])),
        broken=change.after.broken,
        meant=change.after.meant,
    )
    return apart(whole)


def _declared_elsewhere(
    change: Changed, records: Mapping[Key, Record], folder: str
) -> Iterator[tuple[Key, Problem]]:
    """New objects whose name stands in a file that the branch leaves alone."""
    for key, manifest in change.new.items():
        known = records.get(key)
        if known is None or known.obj.deleted or key in change.before.manifests:
            continue
        _, _, path = known.obj.source.partition(":")
        if path and path.removeprefix(folder) not in change.files:
            message = f"is declared in {path} too: neither counts until one is gone"
            file = change.after.paths[key]
            yield key, Problem(file, manifest.line, str(key), "metadata.name", message)


def remembered(
    catalogue: Catalogue, documents: Json, before: Mapping[Key, Manifest]
) -> dict[Key, Record]:
    """The ledger's objects; secrets as the branch found them, where it changes them."""
    records: dict[Key, Record] = {}
    for document in documents:
        entry = record(catalogue, document)
        if entry is None:
            continue
        key, manifest = entry.obj.key, entry.obj.manifest
        plain = before.get(key)
        if plain is not None and is_redacted(manifest.content):
            plain = complete(plain, manifest.spec, {})
            if same_content(catalogue.kinds[key.kind], plain, manifest):
                entry = replace(entry, obj=replace(entry.obj, manifest=plain))
        records[key] = entry
    return records


def page(about: str, desired: Desired, report_lines: list[planprint.Line]) -> str:
    """The plan, cut to a length that people may read."""
    problems = list(map(str, desired.problems))
    return planprint.markdown(
        report_lines, problems, about, most=MOST_ITEMS, most_problems=MOST_PROBLEMS
    )


def main() -> None:
    sys.excepthook = complain
    limit()
    catalogue = Catalogue.load()
    first = json.loads(sys.stdin.buffer.readline())
    reader = ManifestReader(catalogue, CHECKS)
    change = changed(reader, first["tip"], united_of(first))
    keys = {
        "changed": sorted({*change.new, *change.removed}),
        "named": sorted(change.named(catalogue)),
    }
    sys.stdout.write(json.dumps(keys) + "\n")
    sys.stdout.flush()
    second = json.loads(sys.stdin.buffer.readline())
    records = remembered(catalogue, second["records"], change.before.manifests)
    desired = merged(change, records, first["folder"])
    trash = [entry for entry in (record(catalogue, value) for value in second["trash"]) if entry]
    entries = {entry.obj.uid: entry for entry in trash}
    ledger = Ledger(first["tip"], records, entries, fresh=False, agent=second["agent"])
    fleet, now = first["fleet"], first["now"]
    report = plan(catalogue, ledger, desired, fleet, now, others=second["others"])
    about = planprint.branch(first["ref"], first["tip"])
    text = page(about, replace(desired, problems=report.problems), lines(report))
    sys.stdout.buffer.write(text.encode(errors="replace"))


if __name__ == "__main__":
    main()
