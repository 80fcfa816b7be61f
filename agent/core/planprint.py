"""A plan as people read it: text for a terminal, Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.core import readme
from agent.core.changes import Change

LONGEST = 500
"""Letters of one text in Markdown."""
MARKS = {
    "create": "+",
    "restore": "+",
    "change": "~",
    "delete": "-",
    "act": ">",
    "blocked": "!",
    "held": "=",
    "drift": "?",
}
WORDS = (
    ("create", "to create"),
    ("restore", "to bring back"),
    ("change", "to change"),
    ("delete", "to delete"),
    ("act", "to act on"),
    ("blocked", "blocked"),
    ("held", "held"),
    ("drift", "changed by hand"),
)


@dataclass(frozen=True)
class Line:
    """One object of a plan."""

    name: str
    operation: str
    immediate: Sequence[Change]
    restart: Sequence[Change]
    next_start: Sequence[Change]
    actions: Sequence[str]
    reason: str
    automatic: bool = False
    """True if the restart that its changes need comes by itself."""
    because: Sequence[str] = ()
    """Why changes wait for a restart, each reason once."""
    drift: Sequence[str] = ()
    """What was changed by hand on the host, and what becomes of it."""


def summary(lines: Sequence[Line], problems: int) -> str:
    """One sentence that says it all."""
    counts = [(sum(line.operation == name for line in lines), words) for name, words in WORDS]
    parts = [f"{count} {words}" for count, words in counts if count]
    for automatic, one, more in (
        (True, "restarts by itself", "restart by themselves"),
        (False, "needs a restart", "need a restart"),
    ):
        count = sum(bool(line.restart) and line.automatic is automatic for line in lines)
        if count:
            parts.append(f"{count} {one if count == 1 else more}")
    if problems:
        parts.append(f"{problems} {'problem' if problems == 1 else 'problems'}")
    return ", ".join(parts) if parts else "No changes"


def text(lines: Sequence[Line], problems: Sequence[str]) -> str:
    """The plan for a terminal."""
    out = [f"{summary(lines, len(problems))}."]
    out += [f"\nproblem: {problem}" for problem in problems]
    for line in lines:
        out.append(f"\n{MARKS[line.operation]} {line.name}{_operation(line)}")
        width = 20 if line.automatic else 12
        out += [f"    {label:<{width}}{change}" for label, change in _changes(line)]
        out += [f"    {'because':<{width}}{why}" for why in line.because]
        out += [f"    {'drift':<{width}}{edit}" for edit in line.drift]
        if line.actions:
            out.append(f"    {'does':<{width}}{', '.join(line.actions)}")
        if line.reason:
            out.append(f"    {line.reason}")
    return "\n".join(out) + "\n"


def markdown(
    lines: Sequence[Line],
    problems: Sequence[str],
    about: str = "",
    *,
    most: int | None = None,
    most_problems: int | None = None,
) -> str:
    """The plan as a comment of a pull request, or a file. Everything from manifests is escaped;
    `about` is Markdown.
    """
    out = [f"### Plan: {summary(lines, len(problems))}", ""]
    out += [about, ""] if about else []
    out += [f"- **problem** {escape(problem)}" for problem in problems[:most_problems]]
    out += _left_out(len(problems), most_problems, "problems")
    for line in lines[:most]:
        out.append(
            f"- **{line.operation}** {escape(line.name)}"
            + (f": {escape(line.reason)}" if line.reason else "")
        )
        out += [f"  - {label}: {escape(str(change))}" for label, change in _changes(line)]
        out += [f"  - because {escape(why)}" for why in line.because]
        out += [f"  - drift: {escape(edit)}" for edit in line.drift]
        out += [f"  - does: {', '.join(line.actions)}"] if line.actions else []
    out += _left_out(len(lines), most, "objects")
    return "\n".join(out).rstrip("\n") + "\n"


def refused(why: str, about: str) -> str:
    """The page of a branch that has no plan. Both are Markdown."""
    return f"### Plan: none\n\n{about}\n\n{why}\n"


def branch(ref: str, commit: str) -> str:
    """What a page is about, as Markdown."""
    name = ref.removeprefix("refs/heads/")
    what = "Ref" if name == ref else "Branch"
    return f"{what} **{escape(name)}** at commit `{commit}`."


def escape(value: str) -> str:
    """The text as Markdown and HTML show it letter by letter, on one line."""
    return readme.markdown(value, LONGEST)


def _left_out(there: int, shown: int | None, what: str) -> list[str]:
    more = 0 if shown is None else max(0, there - shown)
    return [f"- … and {more} more {what}"] if more else []


def _operation(line: Line) -> str:
    return {"blocked": " is blocked", "held": " is kept", "delete": " is deleted"}.get(
        line.operation, ""
    )


def _changes(line: Line) -> Iterable[tuple[str, Change]]:
    for label, changes in (
        ("immediate", line.immediate),
        ("restart by itself" if line.automatic else "restart", line.restart),
        ("next start", line.next_start),
    ):
        for change in changes:
            yield label, change
