"""Classes that go against each other."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.model import Desired, Key, Problem
from agent.kinds.virtual_machine_class.validation import IS_DEFAULT, KIND, is_default


def rivals(desired: Desired) -> Iterator[tuple[Key, Problem]]:
    """There is one default class, or none."""
    classes = [key for key in desired.manifests if key.kind == KIND]
    marked = sorted(key for key in classes if is_default(desired.manifests[key]))
    for key in marked if len(marked) > 1 else ():
        other = marked[1] if key == marked[0] else marked[0]
        path = f"metadata.annotations.{IS_DEFAULT}"
        message = f"marks a second default class beside {other.name}: mark only one of them"
        manifest, file = desired.manifests[key], desired.paths.get(key, "")
        yield key, Problem(file, manifest.line, str(key), path, message)
