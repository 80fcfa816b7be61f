"""Whether nodes mind each other's locks on the storage pools that they share. That is tried, and
what was seen stands in a node's status until it has been away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from agent.core.actions import Action
from agent.core.facts import View
from agent.core.identity import lock_volume
from agent.core.jobs import Job, held
from agent.core.known import POOL_PATH, SHARED
from agent.core.locking import TryLock
from agent.core.model import Condition, Json, Key, Object
from agent.core.status import seconds, timestamp
from agent.kinds.local import away, is_block, nodes

LOCKS = "locks"
"""Field of a node's status: by pool, the node whose locks were tried, when, and why they do not
hold, in a sentence; empty where they do.
"""
AGAIN = 3600.0
"""Seconds after which it is tried again whether they hold where they did not."""
_TRY = TryLock.__name__


@dataclass(frozen=True)
class Tried:
    known: Mapping[str, Json] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    told: tuple[Condition, ...] = ()
    wake: float | None = None


def tried(node: Object, view: View) -> Tried:
    """What is known of the locks on a node, and what is to be tried. While it is away what was seen
    before that holds; once it is back it may have mounted its storage in another way.
    """
    name, job = node.key.name, view.job(node.key)
    before: Mapping[str, Json] = view.previous(node.key).get(LOCKS, {})
    if away(view, name):
        return Tried(before)
    holders = dict(_holders(name, view))
    known = {
        pool: entry
        for pool, entry in {**before, **_news(job)}.items()
        if entry["holder"] == holders.get(pool, entry["holder"]) and _stands(entry, name, view)
    }
    again = {
        pool: seconds(entry["at"]) + AGAIN for pool, entry in known.items() if entry["problem"]
    }
    told = tuple(_told(entry["problem"]) for entry in known.values() if entry["problem"])[:1]
    due = [pool for pool in holders if pool not in known or again.get(pool, inf) <= view.now]
    wakes = [at for at in again.values() if at > view.now]
    if not due or job.busy:
        return Tried(known, told=told, wake=min(wakes, default=None))
    if held(job, node.generation, view.now):
        return Tried(known, told=told, wake=min((*wakes, job.retry_at)))
    volume = lock_volume(view.fleet, name)
    return Tried(known, (TryLock(name, holders[due[0]], due[0], volume),), told)


def _told(problem: str) -> Condition:
    return Condition("SharedStorageLocked", "False", "LockNotRefused", problem)


def mind(one: str, other: str, pool: str, view: View) -> bool:
    """True if it was seen that what one of two nodes has open in a pool is refused to the other."""
    return one != other and _root(one, pool, view) == _root(other, pool, view)


def _root(node: str, pool: str, view: View) -> str:
    """The node whose locks this one minds, and with it all others that do so."""
    seen = {""}
    while node not in seen:
        seen.add(node)
        entry = view.previous(_key(node)).get(LOCKS, {}).get(pool)
        node = entry["holder"] if entry is not None and not entry["problem"] else node
    return node


def _holders(name: str, view: View) -> Iterator[tuple[str, str]]:
    """By pool, the first other node that comes before this one and has it."""
    every = nodes(view)
    earlier = every[: every.index(name)] if name in every else ()
    for pool in sorted(view.read(SHARED, None) or ()):
        there = (each for each in earlier if not away(view, each) and _has(each, pool, view))
        if _has(name, pool, view) and (holder := next(there, "")):
            yield pool, holder


def _has(node: str, pool: str, view: View) -> bool:
    """Of block devices QEMU's locks are seen on their own host alone."""
    path: str | None = view.read(POOL_PATH, (node, pool))
    return bool(path) and not is_block(view, node, pool)


def _news(job: Job) -> Mapping[str, Json]:
    """What the last try has shown."""
    at = job.done.get(_TRY)
    if at is None or "holder" not in job.result:
        return {}
    seen = {name: job.result[name] for name in ("holder", "problem")}
    return {job.result["pool"]: {**seen, "at": timestamp(at)}}


def _stands(entry: Mapping[str, Json], name: str, view: View) -> bool:
    """True unless one of both has been away since."""
    return all(
        seconds(entry["at"]) >= seconds(each["lastTransitionTime"])
        for node in (name, entry["holder"])
        for each in view.previous(_key(node)).get("conditions", ())
        if each["type"] == "Ready" and (node == name or each["status"] == "True")
    )


def _key(node: str) -> Key:
    return Key("Node", "", node)
