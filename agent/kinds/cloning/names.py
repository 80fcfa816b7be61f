"""What copies are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NotRequired, TypedDict

from agent.core.model import Key


class Customization(TypedDict):
    namePrefix: NotRequired[str]
    nameSuffix: NotRequired[str]


class From(TypedDict):
    kind: NotRequired[str]
    name: str


Replacement = TypedDict("Replacement", {"from": From, "to": str})


class Naming(TypedDict):
    """How an operation says it."""

    mode: Literal["DryRun", "Strict", "BestEffort"]
    customization: NotRequired[Customization]
    nameReplacement: NotRequired[Sequence[Replacement]]


def new_name(origin: Key, how: Naming) -> str:
    """What the copy of an object is called."""
    for each in how.get("nameReplacement", ()):
        if _names(each, origin):
            return each["to"]
    around = how.get("customization", {})
    return f"{around.get('namePrefix', '')}{origin.name}{around.get('nameSuffix', '')}"


def idle(how: Naming, origins: Iterable[Key]) -> Iterator[str]:
    """New names for what is not there, in a sentence each."""
    known = list(origins)
    for each in how.get("nameReplacement", ()):
        if not any(_names(each, origin) for origin in known):
            what = f"{each['from'].get('kind', 'object')} {each['from']['name']}"
            yield f"nameReplacement has a name for {what}, which does not belong to the machine."


def _names(each: Replacement, origin: Key) -> bool:
    kind = each["from"].get("kind")
    return each["from"]["name"] == origin.name and kind in (None, origin.kind)
