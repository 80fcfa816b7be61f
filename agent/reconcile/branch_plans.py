"""Plans of the other open branches, one file each on the status branch: which are there, and which
are to be made anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from urllib.parse import quote

from agent.core.ledger import PLANS, Record
from agent.core.model import Json, Key
from agent.reconcile.news import Lanes, Post
from agent.reconcile.open_branches import BranchChange, OpenBranches, Surveyed
from agent.reconcile.plan_process import Planned

log = logging.getLogger("gitvirt")

HEADS = "refs/heads/"
LONGEST_NAME = 200
CALM = 10.0
"""Seconds that a plan stands at least, whatever the fleet does meanwhile."""
TOLD = ("phase", "restartAwaitingChanges", "capacity", "digest")
"""What a plan is made of, of an object's status."""

MakePlan = Callable[[BranchChange, Mapping[Key, Record]], Planned]


def path_of(ref: str) -> str:
    """The file of a branch's plan. A branch goes by its name, any other ref by its full one."""
    name = ref.removeprefix(HEADS)
    encoded = quote(ref if name.startswith("refs/") else name, safe="")
    if len(encoded) > LONGEST_NAME:
        digest = hashlib.sha256(ref.encode()).hexdigest()[:16]
        encoded = f"{encoded[:LONGEST_NAME]}-{digest}"
    return f"{PLANS}{encoded}.md"


class BranchPlans:
    """One survey or plan at a time. What is to be written is put into `files`."""

    def __init__(
        self,
        branches: OpenBranches,
        make: MakePlan,
        lanes: Lanes,
        post: Post,
        files: dict[str, bytes | None],
    ) -> None:
        self._branches, self._make = branches, make
        self._lanes, self._post, self._files = lanes, post, files
        self._heads: Mapping[str, str] = {}
        self._main = ""
        self._plans: dict[str, Planned] = {}
        self._made_at: dict[str, float] = {}
        self._stale: set[str] = set()
        self._paths: set[str] = set()
        """Files that the status branch holds, or will."""
        self._wanted = False
        self.busy = False

    def load(self, paths: frozenset[str]) -> None:
        """The status branch was read anew."""
        self._paths = set(paths)
        self._plans, self._stale, self._wanted = {}, set(), True
        self._files.clear()

    def seen(self, main: str, heads: Mapping[str, str]) -> None:
        """The repository was looked at. `heads` are all branches but our own."""
        if (main, heads) != (self._main, self._heads):
            self._main, self._heads, self._wanted = main, heads, True

    def changed(self, keys: set[Key], records: Mapping[Key, Record]) -> None:
        """Objects are others than before."""
        for ref, each in self._plans.items():
            touched = keys & each.made_from.keys()
            if any(_told(records.get(key)) != _told(each.made_from[key]) for key in touched):
                self._stale.add(ref)

    def ask(self, now: float) -> None:
        """Go on with the next branch that wants a plan."""
        if self.busy or not self._main or self.due(now) > now:
            return
        self._wanted, self.busy = False, True
        ripe = {ref for ref in self._stale if self._made_at.get(ref, 0.0) + CALM <= now}
        planned = {ref: (p.main, p.tip) for ref, p in self._plans.items() if ref not in ripe}
        main, heads = self._main, self._heads
        self._lanes.git(lambda: self._post(self._branches.survey(main, heads, planned, now)))

    def surveyed(self, news: Surveyed, records: Mapping[Key, Record]) -> None:
        """Forget what is closed, and have the next one planned."""
        self.busy = False
        if news.error is not None:
            log.warning("plans of branches: %s", news.error)
            return
        self._plans = {ref: each for ref, each in self._plans.items() if ref in news.open}
        self._stale &= news.open
        for path in self._paths - {path_of(ref) for ref in news.open}:
            self._paths.discard(path)
            self._files[path] = None
        change = news.change
        if change is not None:
            self.busy = True
            snapshot = dict(records)
            self._lanes.plans(lambda: self._post(self._make(change, snapshot)))

    def planned(self, news: Planned, now: float) -> None:
        self.busy, self._wanted = False, True
        old = self._plans.get(news.ref)
        self._plans[news.ref], self._made_at[news.ref] = news, now
        self._stale.discard(news.ref)
        path = path_of(news.ref)
        if old is None or old.page != news.page:
            self._paths.add(path)
            self._files[path] = news.page.encode()

    def due(self, now: float) -> float:
        """When there is something to do."""
        if self._wanted:
            return now
        return min(
            (self._made_at.get(ref, 0.0) + CALM for ref in self._stale), default=float("inf")
        )


def _told(each: Record | None) -> tuple[Json, ...]:
    """What of an object makes a plan another one."""
    if each is None:
        return ()
    obj = each.obj
    told = tuple(each.status.get(name) for name in TOLD)
    return (obj.manifest, obj.deleted, obj.uid, *told)
