"""Plans of open branches, and what lies in the trash."""

from __future__ import annotations

from agent.core.human import count
from agent.web.answers import View
from agent.web.reading import Reading
from agent.web.views.fleet import plan_line, trashed_line
from agent.web.views.markdown import blocks


def plans(reading: Reading) -> View:
    listed = [plan_line(ref) for ref in reading.plans]
    return View("plans.html", "Plans", {"plans": listed}, place="plans")


def plan(ref: str, text: str) -> View:
    """One plan, in the Markdown that the agent has written."""
    name = ref.removeprefix("refs/heads/")
    data = {"ref": ref, "name": name, "text": text}
    more = {"blocks": list(blocks(text))}
    return View("plan.html", f"Plan of {name}", data, more, "plans")


def trash(reading: Reading) -> View:
    entries = sorted(reading.trash, key=lambda each: each.deleted, reverse=True)
    data = {"heading": count(len(entries), "object"), "trash": list(map(trashed_line, entries))}
    return View("trash.html", "Trash", data, place="trash")
