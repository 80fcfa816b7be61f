"""fleet.svg of the status branch: nodes with their memory, and the machines on them by phase.

A picture of its own colours, for light and for dark pages, with nothing in it that runs, moves or
points elsewhere. Its size is bounded however large the fleet is: many machines are squares, very
many share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from unicodedata import east_asian_width

from lxml import etree

from agent.core.human import size
from agent.core.tables import printable

NAMED = 60
"""Up to so many machines are drawn with their names."""
SQUARES = 1200
"""So many squares at most; where there are more machines, one stands for several."""
NODES = 60
"""Nodes that are drawn."""


@dataclass(frozen=True, order=True)
class Machine:
    label: str
    phase: str
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class Node:
    """A node; one without a name stands for the machines that are on none."""

    name: str
    memory: int = 0
    """Bytes; 0 where that is not known."""
    ready: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)
    """Machines by phase."""
    used: Mapping[str, int] = field(default_factory=dict)
    """Bytes of their memory, by phase."""
    machines: Sequence[Machine] = ()
    """Each of them, where they are drawn with their names."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Phase:
    light: str
    dark: str


PHASES = {
    "Running": Phase("#2da44e", "#3fb950"),
    "Migrating": Phase("#0969da", "#58a6ff"),
    "Starting": Phase("#54aeff", "#1f6feb"),
    "Stopping": Phase("#bc4c00", "#db6d28"),
    "Terminating": Phase("#953800", "#bd561d"),
    "Pending": Phase("#d4a72c", "#d29922"),
    "Pause": Phase("#cf222e", "#f85149"),
    "Degraded": Phase("#a40e26", "#da3633"),
    "Stopped": Phase("#afb8c1", "#6e7681"),
}
_OTHER = Phase("#8250df", "#a371f7")
_INK = {
    "page": Phase("#f6f8fa", "#0d1117"),
    "card": Phase("#ffffff", "#161b22"),
    "tile": Phase("#f6f8fa", "#0d1117"),
    "line": Phase("#d0d7de", "#30363d"),
    "track": Phase("#eaeef2", "#30363d"),
    "text": Phase("#1f2328", "#e6edf3"),
    "soft": Phase("#57606a", "#9198a1"),
    "bad": Phase("#cf222e", "#f85149"),
}

WIDTH, EDGE, GAP, INSET = 880, 16, 12, 16
HEAD, LINE = 52, 16
"""Height of a card's name and bar, and of the numbers where they stand between them."""
TILE_WIDTH, TILE_HEIGHT, TILE_GAP = 158, 42, 8
SQUARE, STEP = 11, 14
SIGN = 0.61
"""Width of one sign of a monospaced font, in parts of its size."""
_MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_SANS = "-apple-system,BlinkMacSystemFont,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif"


def draw(nodes: Sequence[Node]) -> bytes:
    """The picture. Equal nodes give equal bytes."""
    return _Drawing(nodes).bytes()


def per_square(machines: int) -> int:
    """How many machines one square stands for: 1, 2, 5, 10, 20, 50, …"""
    unit, steps = 1, (2.0, 2.5, 2.0)
    for turn in range(60):
        if machines <= unit * SQUARES:
            break
        unit = int(unit * steps[turn % 3])
    return unit


class _Drawing:
    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        total = sum(node.total for node in nodes)
        self._named = total <= NAMED
        self._unit = per_square(total)
        real = [node for node in nodes if node.name]
        shown, more = real[:NODES], len(real) - NODES
        self._columns = next(
            count for count, most in ((1, 1), (2, 6), (3, 24), (4, NODES)) if len(shown) <= most
        )
        self._narrow = self._columns > 2
        self._head = HEAD + (LINE if self._narrow else 0)
        self._card = (WIDTH - 2 * EDGE - GAP * (self._columns - 1)) / self._columns
        self._root = etree.Element(
            "svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": _SANS}
        )
        self._add("title").text = self._title(total)
        self._add("style").text = _style()
        page = self._rect("page", 0, 0, WIDTH, 0, 10)
        foot = self._cards(shown)
        if more > 0:
            self._text("soft", EDGE, foot + 12, 12, f"… and {more} more nodes")
            foot += 24
        self._columns, self._card, self._narrow, self._head = 1, WIDTH - 2 * EDGE, False, HEAD - 12
        foot = self._cards([node for node in nodes if not node.name and node.total], foot)
        foot = self._legend(foot + 4)
        page.set("height", _number(foot))
        self._root.set("viewBox", f"0 0 {WIDTH} {_number(foot)}")
        self._root.set("width", str(WIDTH))
        self._root.set("height", _number(foot))

    def bytes(self) -> bytes:
        return etree.tostring(self._root, encoding="UTF-8") + b"\n"

    def _title(self, total: int) -> str:
        nodes = sum(bool(node.name) for node in self._nodes)
        running = sum(node.counts.get("Running", 0) for node in self._nodes)
        return (
            f"{nodes} {'node' if nodes == 1 else 'nodes'}, {running} of {total} "
            f"virtual {'machine' if total == 1 else 'machines'} running"
        )

    # -- cards --------------------------------------------------------------------------------

    def _cards(self, nodes: Sequence[Node], y: float = EDGE) -> float:
        """Draw the nodes; where the next thing begins."""
        for first in range(0, len(nodes), self._columns):
            row = nodes[first : first + self._columns]
            height = max(self._head + self._inside(node) for node in row)
            for position, node in enumerate(row):
                self._node(node, EDGE + position * (self._card + GAP), y, height)
            y += height + GAP
        return y

    def _per_row(self) -> tuple[int, float]:
        """How many tiles or squares stand beside each other in a card, and how wide each is."""
        room = self._card - 2 * INSET
        if not self._named:
            return max(1, int((room + STEP - SQUARE) // STEP)), SQUARE
        count = max(1, int((room + TILE_GAP) // (TILE_WIDTH + TILE_GAP)))
        return count, (room + TILE_GAP) / count - TILE_GAP

    def _inside(self, node: Node) -> float:
        """Height of what stands below a card's head."""
        many = node.total if self._named else sum(count for _, count in self._squares(node))
        rows = -(-many // self._per_row()[0])
        if not rows:
            return 0.0
        pitch = TILE_HEIGHT + TILE_GAP if self._named else STEP
        return rows * pitch - (TILE_GAP if self._named else STEP - SQUARE) + INSET

    def _node(self, node: Node, x: float, y: float, height: float) -> None:
        card = self._rect("card", x, y, self._card, height, 8)
        card.set("stroke", _INK["line" if node.ready else "bad"].light)
        card.set("class", "card" if node.ready else "card away")
        if not node.name:
            card.set("stroke-dasharray", "5 4")
        left, right = x + INSET, x + self._card - INSET
        numbers, alarming = _numbers(node)
        room = self._card - 2 * INSET - (0 if self._narrow else (len(numbers) + 2) * 6.7)
        name = shortened(node.name or "On no node", int(room / (14 * SIGN)), ends=False)
        self._text("text", left, y + 25, 14, name, mono=bool(node.name), bold=True)
        soft = "bad" if alarming else "soft"
        if self._narrow:
            self._text(soft, left, y + 25 + LINE, 11, numbers)
        else:
            self._text(soft, right, y + 25, 12, numbers, end=True)
        if node.name:
            self._bar(node, left, y + self._head - 17)
        if self._named:
            self._tiles(node, left, y + self._head)
        else:
            self._grid(node, left, y + self._head)

    def _bar(self, node: Node, x: float, y: float) -> None:
        """What of the node's memory its machines have, by phase."""
        length = self._card - 2 * INSET
        self._rect("track", x, y, length, 6, 3)
        whole = max(node.memory, sum(node.used.values()))
        at = x
        for phase in _sorted(node.used):
            part = length * node.used[phase] / whole if whole else 0
            if part > 0:
                self._rect(_class(phase), at, y, max(part, 1), 6, min(1.5, part / 2))
            at += part

    def _tiles(self, node: Node, x: float, y: float) -> None:
        count, width = self._per_row()
        for position, machine in enumerate(node.machines):
            row, column = divmod(position, count)
            left = x + column * (width + TILE_GAP)
            top = y + row * (TILE_HEIGHT + TILE_GAP)
            self._rect("tile", left, top, width, TILE_HEIGHT, 6)
            self._rect(_class(machine.phase), left, top + 7, 4, TILE_HEIGHT - 14, 2)
            name = shortened(machine.label, int((width - 20) / (12 * SIGN)))
            self._text("text", left + 12, top + 18, 12, name, mono=True)
            facts = f"{machine.phase or 'new'} · {_memory(machine.memory)}"
            self._text("soft", left + 12, top + 33, 11, shortened(facts, int((width - 20) / 6)))

    def _grid(self, node: Node, x: float, y: float) -> None:
        count, _ = self._per_row()
        begun = 0
        for phase, squares in self._squares(node):
            path, at = [], (0, 0)
            for square in range(begun, begun + squares):
                row, column = divmod(square, count)
                here = column * STEP, row * STEP
                path.append(f"m{here[0] - at[0]} {here[1] - at[1]}h{SQUARE}v{SQUARE}h-{SQUARE}z")
                at = here
            begun += squares
            origin = f"M{_number(x)} {_number(y)}"
            self._add("path", {**_ink(_class(phase)), "d": origin + "".join(path)})

    def _squares(self, node: Node) -> list[tuple[str, int]]:
        """Squares by phase: one at least where there is a machine."""
        return [(phase, -(-node.counts[phase] // self._unit)) for phase in _sorted(node.counts)]

    # -- legend -------------------------------------------------------------------------------

    def _legend(self, y: float) -> float:
        counts: dict[str, int] = {}
        for node in self._nodes:
            for phase, count in node.counts.items():
                counts[phase] = counts.get(phase, 0) + count
        words = [(phase, f"{phase or 'New'} {counts[phase]}") for phase in _sorted(counts)]
        x = float(EDGE)
        for phase, word in words:
            width = 16 + len(word) * 7 + 14
            if x + width > WIDTH - EDGE:
                x, y = float(EDGE), y + 20
            self._rect(_class(phase), x, y, 10, 10, 2)
            self._text("soft", x + 16, y + 9, 12, word)
            x += width
        if self._unit > 1 and not self._named:
            word = f"one square: up to {self._unit} machines"
            if x + len(word) * 7 > WIDTH - EDGE:
                y += 20
            self._text("soft", WIDTH - EDGE, y + 9, 12, word, end=True)
        return y + (10 + EDGE if words else 4)

    # -- what it is drawn with ----------------------------------------------------------------

    def _add(self, tag: str, attributes: Mapping[str, str] | None = None) -> etree._Element:
        return etree.SubElement(self._root, tag, dict(attributes or {}))

    def _rect(
        self, ink: str, x: float, y: float, width: float, height: float, radius: float
    ) -> etree._Element:
        numbers = {"x": x, "y": y, "width": width, "height": height, "rx": radius}
        texts = {name: _number(value) for name, value in numbers.items()}
        return self._add("rect", {**_ink(ink), **texts})

    def _text(
        self,
        ink: str,
        x: float,
        y: float,
        height: int,
        text: str,
        *,
        mono: bool = False,
        bold: bool = False,
        end: bool = False,
    ) -> None:
        attributes = {"x": _number(x), "y": _number(y), "font-size": str(height)}
        if mono:
            attributes["font-family"] = _MONO
        if bold:
            attributes["font-weight"] = "600"
        if end:
            attributes["text-anchor"] = "end"
        self._add("text", {**_ink(ink), **attributes}).text = printable(text)


def shortened(text: str, length: int, *, ends: bool = True) -> str:
    """The text with a part left out where it is wider than so many signs: with `ends` its middle,
    for machines' names differ there and nodes' names at their beginning.
    """
    text, length = printable(text), max(length, 2)
    if _width(text) <= length:
        return text
    tail = (length - 1) // 3 if ends else 0
    head = length - 1 - tail
    return f"{_first(text, head)}…{_first(text[::-1], tail)[::-1]}"


def _first(text: str, length: int) -> str:
    text = text[:length]
    while _width(text) > length:
        text = text[:-1]
    return text


def _width(text: str) -> int:
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def _numbers(node: Node) -> tuple[str, bool]:
    """What stands at the right of a card's head, and whether it is alarming."""
    machines = f"{node.total} {'machine' if node.total == 1 else 'machines'}"
    if not node.ready:
        return f"not ready · {machines}", True
    if not node.name or not node.memory:
        return machines, False
    used = sum(node.used.values())
    part, whole = _memory(used), _memory(node.memory)
    if part.split()[1] == whole.split()[1]:
        part = part.split()[0]
    return f"{machines} · {part} of {whole}", used > node.memory


def _memory(count: int) -> str:
    text = size(count)
    digits = text.rstrip("KMGTPi")
    return f"{digits} {text[len(digits) :]}B"


def _sorted(phases: Mapping[str, int]) -> Iterator[str]:
    known = [phase for phase in PHASES if phases.get(phase)]
    return iter(
        (*known, *sorted(phase for phase in phases.keys() - PHASES.keys() if phases[phase]))
    )


def _class(phase: str) -> str:
    return phase.lower() if phase in PHASES else "other"


def _ink(name: str) -> dict[str, str]:
    return {"class": name, "fill": _COLOURS[name].light}


_COLOURS = {**_INK, **{_class(name): colour for name, colour in PHASES.items()}, "other": _OTHER}


def _style() -> str:
    """Dark pages; without it, as where a forge takes it out, the light colours stay."""
    rules = "".join(f".{name}{{fill:{colour.dark}}}" for name, colour in _COLOURS.items())
    strokes = f".card{{stroke:{_INK['line'].dark}}}.away{{stroke:{_INK['bad'].dark}}}"
    return f"@media (prefers-color-scheme:dark){{{rules}{strokes}}}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
