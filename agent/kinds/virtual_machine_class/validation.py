"""Rules about one VirtualMachineClass that its schema cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import combinations

from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json, Manifest
from agent.core.quantity import parse
from agent.kinds.content import at, integer, items, mapping
from agent.kinds.virtual_machine_class.sizing import percent

KIND = "VirtualMachineClass"
IS_DEFAULT = "virtualmachineclass.virtualization.deckhouse.io/is-default-class"

Problems = Iterable[tuple[Path, str]]
Content = Mapping[str, Json]


def is_default(manifest: Manifest) -> bool:
    """True for the class of machines that name none."""
    return manifest.key.kind == KIND and manifest.annotations.get(IS_DEFAULT) == "true"


def _policies(content: Content) -> Iterator[tuple[Path, dict[str, Json]]]:
    for index, policy in enumerate(items(content, "spec", "sizingPolicies")):
        yield ("spec", "sizingPolicies", index), mapping(policy)


def ranges(content: Content) -> Problems:
    for path, policy in _policies(content):
        low, high = integer(policy, "cores", "min"), integer(policy, "cores", "max")
        step = integer(policy, "cores", "step")
        if low is not None and high is not None and high <= low:
            yield (*path, "cores", "max"), f"must be more than min, which is {low}, not {high}"
        if step is not None and high is not None and high <= step:
            yield (*path, "cores", "step"), f"must be less than max, which is {high}, not {step}"


def overlaps(content: Content) -> Problems:
    """Two ranges that share a number of cores, be it only their ends."""
    known = [
        (path, low, high)
        for path, policy in _policies(content)
        if (low := integer(policy, "cores", "min")) is not None
        and (high := integer(policy, "cores", "max")) is not None
    ]
    few = known[:64]  # pragma: no mutate: the schema allows fewer, so this only bounds the work
    for (first, low, high), (second, other_low, other_high) in combinations(few, 2):
        if low <= other_high and other_low <= high:
            clash = f"{other_low}-{other_high} shares cores with {low}-{high}"
            yield (*second, "cores"), f"must not overlap: {clash} of sizingPolicies.{first[-1]}"


def default_shares(content: Content) -> Problems:
    for path, policy in _policies(content):
        default = at(policy, "defaultCoreFraction")
        shares = [percent(share) for share in items(policy, "coreFractions")]
        if default in (None, "Auto") or not shares or percent(default) in shares:
            continue
        shown = (share[:8] for share in shares[:100])  # pragma: no mutate: so that it ends
        allowed = ", ".join(shown)
        yield (*path, "defaultCoreFraction"), f"must be one of coreFractions: {allowed}"


def memory(content: Content) -> Problems:
    for path, policy in _policies(content):
        for below in ((), ("perCore",)):
            where = ("memory", *below)
            low, high = (_number(at(policy, *where, end)) for end in ("min", "max"))
            if low is not None and high is not None and high < low:
                yield (*path, *where, "max"), "must not be less than min"
        step = _number(at(policy, "memory", "step"))
        if step is not None and step <= 0:
            yield (*path, "memory", "step"), "must be more than 0"


def _number(value: Json) -> Decimal | None:
    """The number that a quantity stands for; None if it is none, which the schema tells."""
    try:
        return parse(value)
    except ValueError:
        return None


CHECKS: tuple[Check, ...] = (ranges, overlaps, default_shares, memory)
