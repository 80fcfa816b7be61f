"""Manifests that hold by themselves and not beside each other. None of them counts, as of two for
one name, since Git does not say which one was first: the last good version of each stays in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.core.model import Desired, Key, Problem
from agent.kinds.virtual_machine_class.validation import IS_DEFAULT, KIND, is_default


def apart(desired: Desired) -> Desired:
    """The same without manifests that go against each other, which are problems."""
    found = dict(_default_classes(desired))
    if not found:
        return desired
    return replace(
        desired,
        manifests={key: each for key, each in desired.manifests.items() if key not in found},
        paths={key: path for key, path in desired.paths.items() if key not in found},
        invalid=desired.invalid | found.keys(),
        problems=tuple(sorted((*desired.problems, *found.values()))),
    )


def _default_classes(desired: Desired) -> Iterator[tuple[Key, Problem]]:
    """There is one default class, or none."""
    classes = [key for key in desired.manifests if key.kind == KIND]
    marked = sorted(key for key in classes if is_default(desired.manifests[key]))
    for key in marked if len(marked) > 1 else ():
        other = marked[1] if key == marked[0] else marked[0]
        path = f"metadata.annotations.{IS_DEFAULT}"
        message = f"marks a second default class beside {other.name}: mark only one of them"
        manifest, file = desired.manifests[key], desired.paths.get(key, "")
        yield key, Problem(file, manifest.line, str(key), path, message)
