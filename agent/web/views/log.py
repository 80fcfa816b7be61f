"""What has happened: commits of the status branch, and of the branch with the manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.gitrepo.repository import CommitInfo
from agent.web.answers import View
from agent.web.pages import place

SIZE = 100


def commit_line(commit: CommitInfo) -> dict[str, Any]:
    return {
        "commit": commit.id,
        "author": commit.author.partition(" <")[0].strip(),
        "time": commit.time,
        "subject": commit.subject,
    }


def log(
    commits: Sequence[CommitInfo], changes: Sequence[CommitInfo], query: Mapping[str, str]
) -> View:
    """`commits` are those of the agent, one more than is shown; `changes` those of people."""
    shown = commits[:SIZE]
    more = commits[SIZE].id if len(commits) > SIZE else ""
    data = {
        "commits": [{**commit_line(each), "body": each.body} for each in shown],
        "changes": [commit_line(each) for each in changes],
        "older": place("history", before=more) if more else "",
        "before": query.get("before", ""),
    }
    return View("log.html", "History", data, place="history")
