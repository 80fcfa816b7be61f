"""kubectl's JSONPath templates: `{.metadata.name}`, filters, unions, slices, `..`, and range … end.

What leads nowhere is empty, as `kubectl get` has it; what cannot be read as a template is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.jsonpath import following, reading
from agent.core.jsonpath.following import shown
from agent.core.jsonpath.syntax import JSONPathError, Node
from agent.core.model import Json

__all__ = ["JSONPathError", "Template", "find", "shown", "template"]


@dataclass(frozen=True, slots=True)
class Template:
    """A template that holds."""

    _nodes: tuple[Node, ...]

    def render(self, value: Json) -> str:
        """The text with every `{…}` replaced; several results of one stand apart by a space."""
        return "".join(following.rendered(self._nodes, value, value))


def template(text: str) -> Template:
    """Read a template: text with expressions in braces, or one path without any."""
    if "{" not in text:
        text = "{" + (text if text.startswith((".", "[", "$", "@")) else f".{text}") + "}"
    nodes, rest = reading.nodes(list(reading.pieces(text)), closing=False)
    if rest:
        raise JSONPathError("{end} has no {range} before it: leave it out")
    return Template(nodes)


def find(path: str, value: Json) -> list[Json]:
    """Everything that a path without braces leads to, in the order of the value."""
    return following.results(reading.only(path), value, value)
