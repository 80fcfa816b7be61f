"""Plans of the other open branches, one file each on the status branch: which are there, and which
are to be made anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from urllib.parse import quote

from agent.core.ledger import PLANS
from agent.core.mistakes import INTERNAL
from agent.core.model import Json, Key
from agent.gitrepo.repository import RepositoryError
from agent.reconcile.git import HEADS
from agent.reconcile.news import Lanes, Post, reported
from agent.reconcile.outbox import Outbox
from agent.reconcile.plans.open_branches import BranchChange, OpenBranches, Surveyed
from agent.reconcile.plans.planning import part
from agent.reconcile.plans.process import Known, Planned, unplanned
from agent.reconcile.status_branch import Ledger

log = logging.getLogger("gitvirt")

LONGEST_NAME = 200
STANDS = 10.0
"""Seconds that a plan stands at least, whatever the fleet does meanwhile."""
TRIES = 3
"""Of one commit of a branch, whatever main does meanwhile."""
PLAN_AGAIN = 60.0
"""Seconds until a plan that failed is tried again; four times as long after that."""
AT_ONCE, NEVER = 0.0, float("inf")
TOLD = ("phase", "restartAwaitingChanges", "capacity", "digest")
"""What a plan is made of, of an object's status."""

MakePlan = Callable[[BranchChange, Ledger], Planned]


def path_of(ref: str) -> str:
    """The file of a branch's plan. A branch goes by its name, any other ref by its full one."""
    name = ref.removeprefix(HEADS)
    encoded = quote(ref if name.startswith("refs/") else name, safe="")
    if len(encoded) > LONGEST_NAME:
        digest = hashlib.sha256(ref.encode()).hexdigest()[:16]
        encoded = f"{encoded[:LONGEST_NAME]}-{digest}"
    return f"{PLANS}{encoded}.md"


class BranchPlans:
    """One survey or plan at a time. What is to be written is put into the outbox."""

    def __init__(
        self,
        branches: OpenBranches,
        make: MakePlan,
        lanes: Lanes,
        post: Post,
        outbox: Outbox,
    ) -> None:
        self._branches, self._make = branches, make
        self._lanes, self._post, self._outbox = lanes, post, outbox
        self._heads: Mapping[str, str] = {}
        self._main = ""
        self._plans: dict[str, Planned] = {}
        self._made_at: dict[str, float] = {}
        self._again: dict[str, float] = {}
        """When a branch is to be planned again."""
        self._failed: dict[str, tuple[str, int]] = {}
        """By ref: the commit whose plan failed, and how often."""
        self._paths: set[str] = set()
        """Files that the status branch holds, or will."""
        self._look_at = NEVER
        """When the branches are to be looked at, whatever has been planned."""
        self.busy = False

    def load(self, paths: frozenset[str]) -> None:
        """The status branch was read anew."""
        self._paths = set(paths)
        self._plans, self._again, self._failed, self._look_at = {}, {}, {}, AT_ONCE
        self._outbox.drop_files()

    def seen(self, main: str, heads: Mapping[str, str]) -> None:
        """The repository was looked at. `heads` are all branches but our own, and other refs that
        count as branches.
        """
        if (main, heads) != (self._main, self._heads):
            self._main, self._heads, self._look_at = main, heads, AT_ONCE

    def changed(self, keys: set[Key], ledger: Ledger) -> None:
        """Objects have changed, or what of them is in the trash."""
        touched = {ref: keys & made.made_from.keys() for ref, made in self._plans.items()}
        if not any(touched.values()):
            return
        near = part(ledger, set().union(*touched.values()))
        told = {key: _told(Known.of(near, key)) for some in touched.values() for key in some}
        for ref, made in self._plans.items():
            if any(told[key] != _told(made.made_from[key]) for key in touched[ref]):
                self._again.setdefault(ref, self._made_at[ref] + STANDS)

    def ask(self, now: float) -> None:
        """Go on with the next branch that wants a plan."""
        if not self._main or self.due() > now:
            return
        self._look_at, self.busy = NEVER, True
        main, heads = self._main, self._heads
        planned = {
            ref: (main if self._given_up(ref, made.tip) else made.main, made.tip)
            for ref, made in self._plans.items()
            if self._again.get(ref, now + STANDS) > now
        }
        self._lanes.git(
            reported(
                self._post,
                lambda: self._branches.survey(main, heads, planned, now),
                lambda message: Surveyed(main, error=RepositoryError(INTERNAL, message)),
            )
        )

    def surveyed(self, news: Surveyed, ledger: Callable[[], Ledger], now: float) -> None:
        """Forget what is closed, and have the next one planned."""
        self.busy = False
        if news.error is not None:
            log.warning("plans of branches: %s", news.error)
            self._again = {ref: max(at, now + STANDS) for ref, at in self._again.items()}
            self._look_at = min(self._look_at, now + STANDS)
            return
        self._plans = {ref: made for ref, made in self._plans.items() if ref in news.open}
        self._again = {ref: at for ref, at in self._again.items() if ref in news.open}
        self._failed = {ref: tries for ref, tries in self._failed.items() if ref in news.open}
        self._made_at = {ref: at for ref, at in self._made_at.items() if ref in self._plans}
        for path in self._paths - {path_of(ref) for ref in news.open}:
            self._paths.discard(path)
            self._outbox.file(path, None)
        change = news.change
        if change is not None:
            self.busy = True
            known = ledger()
            self._lanes.plans(
                reported(
                    self._post,
                    lambda: self._make(change, known),
                    lambda message: unplanned(change, message),
                )
            )

    def planned(self, news: Planned, now: float) -> None:
        self.busy, self._look_at = False, AT_ONCE
        old = self._plans.get(news.ref)
        self._plans[news.ref], self._made_at[news.ref] = news, now
        self._again.pop(news.ref, None)
        if news.failure:
            self._fail(news, now)
        else:
            self._failed.pop(news.ref, None)
        path = path_of(news.ref)
        if old is None or old.page != news.page:
            self._paths.add(path)
            self._outbox.file(path, news.page.encode())

    def _fail(self, news: Planned, now: float) -> None:
        tip, tries = self._failed.get(news.ref, ("", 0))
        tries = tries + 1 if tip == news.tip else 1
        self._failed[news.ref] = (news.tip, tries)
        name = quote(news.ref)
        log.warning("plan of %s failed, try %d of %d: %s", name, tries, TRIES, news.failure)
        if tries < TRIES:
            self._again[news.ref] = now + PLAN_AGAIN * 4 ** (tries - 1)

    def _given_up(self, ref: str, tip: str) -> bool:
        return self._failed.get(ref) == (tip, TRIES)

    def due(self) -> float:
        """When there is something to do; what is under way wakes by its end."""
        if self.busy:
            return NEVER
        return min([self._look_at, *self._again.values()])


def _told(known: Known) -> tuple[Json, ...]:
    """What of an object a plan depends on."""
    back = tuple((record.obj.uid, record.status.get("phase")) for record in known.trashed)
    if known.record is None:
        return back
    obj, status = known.record.obj, known.record.status
    return (back, obj.manifest, obj.deleted, obj.uid, *(status.get(name) for name in TOLD))
