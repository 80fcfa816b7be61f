"""What every sort of source comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.image_sources import ImageSource
from agent.core.model import Condition, Json, Key

NOT_STARTED = "ProvisioningNotStarted"
"""Reason of what has not begun."""
READY = Condition("DatasourceReady", "True", "DatasourceReady")


@dataclass(frozen=True)
class Origin:
    """Where an object's image data comes from, as far as anybody can tell now. What is the matter
    with it keeps nothing from going on with data that is there.
    """

    source: ImageSource | None = None
    """What it is brought from; None while there is nothing to bring."""
    lacking: str = ""
    """Why it cannot be brought now, in a sentence; empty if it can."""
    reason: str = NOT_STARTED
    """Of condition Ready, while something is lacking."""
    condition: Condition = field(default=READY)
    """DatasourceReady."""
    waiting: bool = False
    """True if what is lacking comes by itself."""
    doing: str = "The image is being downloaded and checked."
    """What goes on while it is brought, in a sentence."""
    copied: bool = False
    """True if it is copied on or between nodes, and comes from no network."""
    shared: Mapping[str, Json] | None = None
    """What is known of data that is there already and is this object's, too: digest, format,
    storedBytes and unpackedBytes.
    """
    near: tuple[str, ...] = ()
    """Nodes that have what it is made of; empty where it makes no difference."""
    gone: str = ""
    """As `ImageSource.mark`, while there is no source: what was brought before still counts."""
    command: str = ""
    """What people run to upload its data; empty where nobody can."""
    progress: str = ""
    """How much of an upload is there."""
    wake: float | None = None
    """Seconds since the epoch at which this may change by itself."""
    reads: Key | None = None
    """The disk that nobody may write to while it is copied."""

    @property
    def once(self) -> bool:
        """True if nobody can bring the same data again."""
        return self.copied or bool(self.command)

    @property
    def mark(self) -> str:
        """What tells it from others; empty where it brings nothing."""
        return self.source.mark if self.source else self.gone
