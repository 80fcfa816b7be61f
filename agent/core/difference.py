"""Where two nested maps differ. The one place that asks deepdiff, which compares lists by position:
whatever is told apart by a name has to be a map here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.core.model import Json

Path = tuple[str, ...]


def paths(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[Path]:
    """The path of each value that is not the same, or is only on one side."""
    one, other = _unlike(before, after)
    if not one and not other:
        return
    from deepdiff import DeepDiff  # loads asyncio, and more, which most commands need not

    tree = DeepDiff(
        one,
        other,
        view="tree",
        verbose_level=0,
        threshold_to_diff_deeper=0,  # else maps with little in common would differ as a whole
        multiprocessing_workers=1,  # else it asks the system for its processors, each time
    )
    for levels in tree.values():
        for level in levels:
            yield tuple(str(step) for step in level.path(output_format="list"))


def _unlike(
    before: Mapping[str, Json], after: Mapping[str, Json]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both maps without what they have in common: of each pair of equal values, too, deepdiff makes
    objects, for some 20 µs.
    """
    one = {name: value for name, value in before.items() if name not in after}
    other = {name: value for name, value in after.items() if name not in before}
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if old is new or old == new:
            continue
        both = isinstance(old, Mapping) and isinstance(new, Mapping)
        one[name], other[name] = _unlike(old, new) if both else (old, new)
    return one, other
