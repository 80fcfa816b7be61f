"""The repository's side of the agent: what is asked of it, and what is known from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from agent.core.human import count
from agent.core.mistakes import INTERNAL
from agent.core.model import Desired, Json, Key
from agent.core.proposals import Proposal
from agent.core.status import timestamp
from agent.gitrepo.repository import RepositoryError, StaleTip
from agent.reconcile.git import Answer, GitWorker, Pushed, Synced, Withdrawn
from agent.reconcile.lease import TERM
from agent.reconcile.news import Post, Submit, reported

log = logging.getLogger("gitvirt")

News = Synced | Pushed | Withdrawn | Answer
FETCH_AGAIN = 5.0
"""Seconds until a repository that failed is asked again."""


SUBJECTS = 100
"""Commits whose subjects are remembered, for logs."""


class RepositorySide:
    """Knows the desired state, and whether this agent may act. One fetch or push at a time."""

    def __init__(
        self,
        git: GitWorker,
        lane: Submit,
        post: Post,
        poll: float,
        status_interval: float,
        jitter: Callable[[], float],
    ) -> None:
        self._git, self._lane, self._post = git, lane, post
        self._poll, self._status_interval, self._jitter = poll, status_interval, jitter
        self.desired: Desired | None = None
        self.attempted: Mapping[str, Json] = {}
        """The newest revision that was read, and since when."""
        self._subjects: dict[str, str] = {}
        """Of the last commits, by id."""
        self._leading = True
        self._unread = self._unwritten = ""
        """Why the repository cannot be read, and why the status branch cannot be written."""
        self.unreadable = ""
        """Why the main branch cannot be read, where the repository itself can."""
        self.syncing = False
        self.pushing = False
        """True while a branch is being written."""
        self.wanted = False
        """True if there may be news."""
        self._wrote = False
        """True if nothing was read since the last write."""
        self._sync_at = 0.0
        self.push_at = 0.0
        """When the status branch may be written again, unless something waits for it."""
        self._retry_at = 0.0
        """When a branch may be written again after that has failed, whatever waits for it."""

    @property
    def error(self) -> str:
        """What is wrong with the repository; empty if nothing is."""
        return self._unread or self.unreadable or self._unwritten

    @property
    def leading(self) -> bool:
        """True while this agent may act: it has the lease, and nobody can have taken it over."""
        return self._leading and self._git.may_act()

    def ask(self, now: float, clock: Callable[[], float]) -> None:
        """Fetch, if it is time to."""
        if self.syncing or self.pushing or not self._old(now):
            return
        self.syncing, self.wanted, self._wrote = True, False, False
        self._start(lambda: self._git.sync(clock()), Synced)

    def writable(self, now: float) -> bool:
        """True if a branch may be written now. Reads and writes take turns, so that neither many
        commits nor many changes of status keep the other one waiting.
        """
        if self.syncing or self.pushing or now < self._retry_at:
            return False
        return not (self._wrote and self._old(now))

    def _old(self, now: float) -> bool:
        """True if what is known of the repository may be out of date."""
        return self.wanted or now >= self._sync_at

    def push(self, changes: Mapping[str, bytes | None], message: str) -> None:
        self.pushing = self._wrote = True
        self._start(lambda: self._git.push(changes, message), Pushed)

    def withdraw(self, finished: frozenset[Key], kept: frozenset[Key]) -> None:
        """Have the files of finished operations removed."""
        self.pushing = self._wrote = True
        self._start(lambda: self._git.withdraw(finished, kept), Withdrawn)

    def propose(self, proposal: Proposal) -> None:
        """Have manifests written to a branch of their own, or looked at."""
        self.pushing = self._wrote = True
        self._start(lambda: self._git.propose(proposal), Answer)

    def _start(self, work: Callable[[], object], news: type[News]) -> None:
        def failed(message: str) -> News:
            self._git.reload()  # what was read on the way is lost
            return news(error=RepositoryError(INTERNAL, message))

        self._lane(reported(self._post, work, failed))

    def answered(self, news: Answer) -> None:
        """A branch that is new is a branch to plan for."""
        self.pushing = False
        written = news.proposed is not None and bool(news.proposed.commit)
        self.wanted = self.wanted or written or isinstance(news.error, StaleTip)

    def withdrawn(self, news: Withdrawn) -> None:
        self.pushing = False
        self.wanted = self.wanted or news.files > 0
        if isinstance(news.error, StaleTip):
            self.wanted = True
        elif news.error is not None:
            log.warning("finished operations stay: %s", news.error)

    def synced(self, news: Synced, now: float) -> None:
        self.syncing = False
        self._sync_at = now + min(self._poll * (0.9 + 0.2 * self._jitter()), news.renew_in)
        if news.error is not None:
            self._unread = self._told(str(news.error))
            self._sync_at = min(self._sync_at, now + FETCH_AGAIN)
            return
        if self._unread:
            log.info("repository: reachable again")
        if not news.leading or self._unwritten == self._unread:
            self._unwritten = ""  # what ended has kept it from writing too, or another one writes
        self._unread = ""
        self.unreadable = self._told(str(news.unreadable)) if news.unreadable else ""
        if news.unreadable is not None:
            self._sync_at = min(self._sync_at, now + FETCH_AGAIN)
        if self._leading and not news.leading:
            log.info(
                "%s acts on this repository: standing by, to take over once it has been silent for "
                "%.0f minutes",
                news.leader,
                TERM / 60,
            )
        elif news.leading and not self._leading:
            log.info("this agent acts now")
        self._leading = news.leading
        if news.ledger is not None and not self.attempted:
            self.attempted = news.ledger.agent.get("attempted", {})
        if news.desired is not None:
            self._new_revision(news.desired, news.subject, now)

    def origin(self, source: str) -> str:
        """The commit at which something was accepted (`<commit>:<path>`), for logs; empty if it
        comes from none.
        """
        commit, _, path = source.partition(":")
        if not path:
            return ""
        subject = self._subjects.get(commit)
        return f"commit {commit[:12]} ({subject})" if subject else f"commit {commit[:12]}"

    def _new_revision(self, desired: Desired, subject: str, now: float) -> None:
        self.desired = desired
        self._subjects.pop(desired.revision, None)
        self._subjects[desired.revision] = subject
        while len(self._subjects) > SUBJECTS:
            del self._subjects[next(iter(self._subjects))]
        if desired.revision == self.attempted.get("revision"):
            return
        self.attempted = {"revision": desired.revision, "since": timestamp(now)}
        self.push_at = now  # first results of a revision are shown at once
        manifests = count(len(desired.manifests) - len(desired.asked), "manifest")
        problems = count(len(desired.problems), "problem")
        log.info("%s: %s, %s", self.origin(f"{desired.revision}:."), manifests, problems)

    def pushed(self, news: Pushed, now: float) -> bool:
        """True if it was written."""
        self.pushing = False
        if news.tip is not None:
            if self._unwritten:
                log.info("repository: the status branch is written again")
            self._unwritten = ""
            self.push_at = now + self._status_interval
            return True
        if news.stale:
            self._unwritten = ""
            self.wanted = True
            self.push_at = now
        else:
            self._unwritten = self._told(str(news.error))
            self._retry_at = now + FETCH_AGAIN
        return False

    def due(self, now: float) -> float:
        """When it is to be asked again; what is under way wakes by its end."""
        if self.syncing or self.pushing:
            return now + self._poll
        at = now if self.wanted else self._sync_at
        return min(at, self._retry_at) if now < self._retry_at else at

    def _told(self, message: str) -> str:
        """The message, told if it is news."""
        if message not in (self._unread, self.unreadable, self._unwritten):
            log.error("repository: %s", message)
        return message
