"""What `gitvirt doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.tables import printable


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `level` is ok, note or problem."""

    level: str
    subject: str
    message: str
    mend: str = ""
    """The command that mends it."""

    def __str__(self) -> str:
        line = f"{self.level:<8} {self.subject}: {self.message}"
        return printable(line) + (f"\n{'':9}→ {self.mend}" if self.mend else "")
