from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from lxml import etree

from agent.core.model import Key
from agent.core.picture import NAMED, PHASES, SQUARES, Machine, Node, draw, per_square, shortened
from agent.core.readme import Readme
from tests.fleets import CATALOGUE, machine

GIB = 1 << 30
SVG = "{http://www.w3.org/2000/svg}"
AGENT = {"node": {"name": "host-a", "ready": True, "memory": "8Gi"}}


def node(name: str, machines: Sequence[Machine], memory: int = 64 * GIB, **more: Any) -> Node:
    counts = Counter(each.phase for each in machines)
    used: Counter[str] = Counter()
    for each in machines:
        used[each.phase] += each.memory
    named = machines if len(machines) <= NAMED else ()
    return Node(name, memory, counts=counts, used=used if name else {}, machines=named, **more)


def many(count: int, phase: str = "Running") -> list[Machine]:
    return [Machine(f"vm-{at:05}", phase, GIB) for at in range(count)]


def texts(picture: bytes) -> list[str]:
    return [each.text or "" for each in etree.fromstring(picture).iter(f"{SVG}text")]


def squares(picture: bytes, phase: str) -> int:
    found = etree.fromstring(picture).iterfind(f"{SVG}path[@class='{phase}']")
    return sum(each.get("d", "").count("z") for each in found)


def test_a_node_with_its_memory_and_its_machines_by_phase() -> None:
    machines = [Machine("linux-vm", "Running", 2 * GIB), Machine("prod/web", "Pause", GIB)]
    picture = draw([node("host-a", machines, 8 * GIB)])
    assert texts(picture) == [
        "host-a",
        "2 machines · 3 of 8 GiB",
        "linux-vm",
        "Running · 2 GiB",
        "prod/web",
        "Pause · 1 GiB",
        "Running 1",
        "Pause 1",
    ]
    root = etree.fromstring(picture)
    assert root.findtext(f"{SVG}title") == "1 node, 1 of 2 virtual machines running"
    track = float(root.find(f"{SVG}rect[@class='track']").get("width"))  # type: ignore[union-attr,arg-type]
    bar = float(root.find(f"{SVG}rect[@class='running']").get("width"))  # type: ignore[union-attr,arg-type]
    assert bar == pytest.approx(track * 2 / 8, abs=0.1)


def test_machines_on_no_node_and_nodes_that_are_away_or_too_full() -> None:
    picture = draw(
        [
            node("", [Machine("off", "Stopped", GIB)]),
            node("full", [Machine("big", "Running", 9 * GIB)], 8 * GIB),
            node("gone", [Machine("lost", "Running", GIB)], ready=False),
        ]
    )
    said = texts(picture)
    assert "On no node" in said
    assert "not ready · 1 machine" in said
    alarming = etree.fromstring(picture).iterfind(f"{SVG}text[@class='bad']")
    assert [each.text for each in alarming] == ["1 machine · 9 of 8 GiB", "not ready · 1 machine"]


def test_many_machines_are_squares_and_very_many_share_one() -> None:
    picture = draw([node("host-a", [*many(299), Machine("bad", "Pause", GIB)])])
    assert "vm-00001" not in texts(picture)
    assert (squares(picture, "running"), squares(picture, "pause")) == (299, 1)
    picture = draw([node("host-a", [*many(9_999), Machine("bad", "Pause", GIB)])])
    assert (squares(picture, "running"), squares(picture, "pause")) == (1000, 1)
    assert "one square: up to 10 machines" in texts(picture)
    assert [per_square(count) for count in (SQUARES, SQUARES + 1, 3000, 10_000, 10**6)] == [
        1, 2, 5, 10, 1000,
    ]  # fmt: skip


@pytest.mark.parametrize(("nodes", "each"), [(1, 10_000), (60, 166), (300, 33), (1, NAMED)])
def test_its_size_is_bounded_however_large_the_fleet_is(nodes: int, each: int) -> None:
    picture = draw([node(f"node-{at:03}.example.com", many(each)) for at in range(nodes)])
    assert len(picture) < 100_000


@pytest.mark.parametrize(("nodes", "each"), [(1, 3), (5, 9), (20, 3), (60, 166)])
def test_nothing_stands_beyond_its_edges(nodes: int, each: int) -> None:
    names = [f"hypervisor-{at:02}.{'rack-' * 20}" for at in range(nodes)]
    picture = draw([node(name, many(each)) for name in names])
    root = etree.fromstring(picture)
    width, height = float(root.get("width")), float(root.get("height"))  # type: ignore[arg-type]
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x")) + float(rect.get("width")) <= width  # type: ignore[arg-type]
        assert float(rect.get("y")) + float(rect.get("height")) <= height  # type: ignore[arg-type]
    for text in root.iter(f"{SVG}text"):
        wide = len(text.text or "") * float(text.get("font-size")) * 0.55  # type: ignore[arg-type]
        at = float(text.get("x"))  # type: ignore[arg-type]
        assert at + (0 if text.get("text-anchor") else wide) <= width


def test_hostile_names_are_text_and_nothing_else() -> None:
    evil = "</text><script>alert(1)</script>\x07\u202e&amp;"
    picture = draw([node(evil, [Machine(evil + "x" * 300, evil, GIB)])])
    root = etree.fromstring(picture)
    assert {each.tag for each in root.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "title", "style", "rect", "text")
    }
    assert "\u202e" not in picture.decode()
    assert texts(picture)[0] == r"</text><script>alert(1)</script>\x07\u202e&amp;"
    assert all(len(each) < 120 for each in texts(picture))


def test_nothing_in_it_runs_moves_or_points_elsewhere() -> None:
    picture = draw([node("host-a", many(3)), node("", many(1, "Stopped"))]).decode()
    for word in ("href", "url(", "@import", "script", "animat", "<image", "foreignObject", " on"):
        assert word not in re.sub(r">[^<]*</(text|title)>", ">", picture)
    assert re.findall(r"https?://[^\"']*", picture) == ["http://www.w3.org/2000/svg"]


def test_every_phase_has_a_colour_of_its_own_on_light_and_on_dark_pages() -> None:
    for shade in ("light", "dark"):
        assert len({getattr(each, shade) for each in PHASES.values()}) == len(PHASES)
    picture = draw([node("host-a", [Machine(each, each, GIB) for each in (*PHASES, "Odd")])])
    for phase in (*map(str.lower, PHASES), "other"):
        assert f'class="{phase}"'.encode() in picture
        assert f".{phase}{{fill:".encode() in picture


@pytest.mark.parametrize(
    ("text", "length", "ends", "expected"),
    [
        ("short", 5, True, "short"),
        ("a-very-long-name-001", 10, True, "a-very…001"),
        ("host.example.com", 8, False, "host.ex…"),
        ("漢字漢字漢字", 7, True, "漢字…字"),
        ("anything", -5, True, "a…"),
    ],
)
def test_long_names_are_shortened_where_they_do_not_differ(
    text: str, length: int, ends: bool, expected: str
) -> None:
    assert shortened(text, length, ends=ends) == expected


def test_it_is_drawn_anew_only_where_something_in_it_has_changed() -> None:
    fleet = Readme(CATALOGUE)

    def put(value: dict[str, Any]) -> None:
        key = Key("VirtualMachine", "default", value["metadata"]["name"])
        fleet.put(key, value["status"], lambda: value)

    resources = {"memory": {"size": "2Gi"}}
    put(machine("a", status={"resources": resources}))
    put(machine("b", "Stopped"))
    first = fleet.picture(AGENT)
    assert "1 machine · 2 of 8 GiB" in texts(first)
    put(machine("a", status={"resources": resources, "ipAddress": "10.0.0.1"}))
    assert fleet.picture(AGENT) is first
    put(machine("b"))
    assert "2 machines · 2 of 8 GiB" in texts(fleet.picture(AGENT))
    fleet.drop(Key("VirtualMachine", "default", "b"))
    put(machine("b", "Stopped"))
    assert fleet.picture(AGENT) == first
    away = {"node": {**AGENT["node"], "ready": False}}
    assert "not ready · 1 machine" in texts(fleet.picture(away))
    several = {"nodes": [AGENT["node"], {"name": "host-b", "ready": False, "memory": "4Gi"}]}
    said = texts(fleet.picture(several))
    assert "1 machine · 2 of 8 GiB" in said
    assert "not ready · 0 machines" in said
