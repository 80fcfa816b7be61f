"""All the facts that there are, one object, and what its kind decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core import known
from agent.core.facts import Decide, Decision, Engine, View
from agent.core.host import RawNode
from agent.core.identity import POOL
from agent.core.known import Fact
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.kinds.local import Place
from tests.golden.case import NODE

NOW = 1000.0
FLEET = "default"
PATH = "/pool"
READY: Mapping[Fact, Any] = {
    (known.FLEET, None): FLEET,
    (known.NODES, None): (NODE.name,),
    (known.NODE, NODE.name): NODE,
    (known.POOL_PATH, (NODE.name, POOL)): PATH,
}
"""A host that can be reached, with nothing on it."""
UNREAD: Mapping[Fact, Any] = {(known.FLEET, None): FLEET, (known.NODES, None): (NODE.name,)}


def on(node: RawNode) -> Mapping[Fact, Any]:
    return {**READY, (known.NODE, node.name): node}


def made(key: Key, spec: Mapping[str, Json], deleted: str = "", **annotations: str) -> Object:
    manifest = Manifest(key, {}, annotations, {"spec": spec})
    return Object(manifest, f"uid-{key.name}", 2, "1970-01-01T00:00:00Z", "commit:f.yaml", deleted)


def decided(decide: Decide, obj: Object, facts: Mapping[Fact, Any], now: float = NOW) -> Decision:
    return decide(obj, view_of(facts, now))


def said(decision: Decision) -> Mapping[str, Any]:
    """The status, which there is."""
    assert decision.status is not None
    return decision.status


def condition(decision: Decision, name: str) -> Condition:
    """The condition of a type, of which there is one."""
    (found,) = [each for each in said(decision)["conditions"] if each.type == name]
    assert isinstance(found, Condition)
    return found


def types(decision: Decision) -> set[str]:
    return {each.type for each in said(decision)["conditions"]}


def view_of(facts: Mapping[Fact, Any], now: float = NOW) -> View:
    """What somebody who decides would see."""
    engine = Engine({}, {})
    for (table, key), value in facts.items():
        engine.put(table, key, value)
        if table is known.VOLUME and isinstance(key, tuple) and value is not None:
            node, *where = key  # as the world states it
            found = engine.get(known.VOLUME_AT, (where[0], where[1])) or ()
            engine.put(known.VOLUME_AT, (where[0], where[1]), (*found, node))
    return View(engine, now)


def place_of(node: RawNode = NODE) -> Place:
    return Place(node, PATH)
