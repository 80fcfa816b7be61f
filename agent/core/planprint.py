"""A plan as people read it: text for a terminal, Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.core.changes import Change

MARKS = {"create": "+", "change": "~", "delete": "-", "act": ">", "blocked": "!", "held": "="}
WORDS = (
    ("create", "to create"),
    ("change", "to change"),
    ("delete", "to delete"),
    ("act", "to act on"),
    ("blocked", "blocked"),
    ("held", "held"),
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


def summary(lines: Sequence[Line], problems: int) -> str:
    """One sentence that says it all."""
    counts = [(sum(line.operation == name for line in lines), words) for name, words in WORDS]
    parts = [f"{count} {words}" for count, words in counts if count]
    restarts = sum(bool(line.restart) for line in lines)
    if restarts:
        parts.append(f"{restarts} {'needs' if restarts == 1 else 'need'} a restart")
    if problems:
        parts.append(f"{problems} {'problem' if problems == 1 else 'problems'}")
    return ", ".join(parts) if parts else "No changes"


def text(lines: Sequence[Line], problems: Sequence[str]) -> str:
    """The plan for a terminal."""
    out = [f"{summary(lines, len(problems))}."]
    out += [f"\nproblem: {problem}" for problem in problems]
    for line in lines:
        out.append(f"\n{MARKS[line.operation]} {line.name}{_operation(line)}")
        out += [f"    {label:<12}{change}" for label, change in _changes(line)]
        if line.actions:
            out.append(f"    does        {', '.join(line.actions)}")
        if line.reason:
            out.append(f"    {line.reason}")
    return "\n".join(out) + "\n"


def markdown(lines: Sequence[Line], problems: Sequence[str]) -> str:
    """The plan as a comment of a pull request. Everything from manifests is escaped."""
    out = [f"### Plan: {summary(lines, len(problems))}", ""]
    out += [f"- **problem** {escape(problem)}" for problem in problems]
    for line in lines:
        out.append(
            f"- **{line.operation}** {escape(line.name)}"
            + (f": {escape(line.reason)}" if line.reason else "")
        )
        out += [f"  - {label}: {escape(str(change))}" for label, change in _changes(line)]
    return "\n".join(out) + "\n"


def escape(value: str) -> str:
    """The text as Markdown and HTML show it letter by letter."""
    flat = " ".join(value.split())
    for sign in "\\`*_{}[]()#+!|<>&@~":
        flat = (
            flat.replace(sign, f"&#{ord(sign)};" if sign in "<>&@" else f"\\{sign}")
            if sign != "&"
            else flat
        )
    return flat


def _operation(line: Line) -> str:
    return {"blocked": " is blocked", "held": " is kept", "delete": " is deleted"}.get(
        line.operation, ""
    )


def _changes(line: Line) -> Iterable[tuple[str, Change]]:
    for label, changes in (
        ("immediate", line.immediate),
        ("restart", line.restart),
        ("next start", line.next_start),
    ):
        for change in changes:
            yield label, change
