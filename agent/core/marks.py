"""What the operations branch may say of an object beside its manifest on main: a few fields, which
the schema names, and gitvirt's own annotations. Both count: either side sets a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agent.core.annotations import FORGET, OURS
from agent.core.model import Manifest
from agent.core.schema import Kind
from agent.core.status import seconds


def marked(kind: Kind, manifest: Manifest | None, mark: Manifest) -> Manifest:
    """A manifest, if there is one, with what stands of it on the operations branch."""
    fields = {name: mark.spec[name] for name in kind.marks if mark.spec.get(name)}
    ours = {name: text for name, text in mark.annotations.items() if name.startswith(OURS)}
    if manifest is None:
        known = {name: value for name, value in mark.spec.items() if name in kind.marks}
        return replace(mark, labels={}, annotations=ours, content={"spec": known}, notes=())
    content = {**manifest.content, "spec": {**manifest.spec, **fields}}
    return replace(manifest, annotations={**manifest.annotations, **ours}, content=content)


def beyond(kind: Kind, mark: Manifest) -> Iterator[str]:
    """Fields that stand there and do not count there, by their paths."""
    if mark.labels:
        yield "metadata.labels"
    yield from (
        f"spec.{name}" for name, value in mark.spec.items() if name not in kind.marks and value
    )


def to_forget(marks: Iterable[Manifest], now: float) -> Iterator[str]:
    """Names of those that nobody is to hear of any more, unless it is too late to say so."""
    for mark in marks:
        if (until := mark.annotations.get(FORGET)) and now < seconds(until):
            yield mark.key.name
