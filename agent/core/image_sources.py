"""Where image data is brought from: one frozen class a sort, with all that bringing it takes."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from agent.core.addresses import bare
from agent.core.model import Json


class ImageSource(ABC):
    """`agent.reconcile.sources` has, for each sort, what brings it."""

    @property
    @abstractmethod
    def identity(self) -> Json:
        """Equal for what gives the same data, whoever asks for it; without anything secret."""

    @property
    def mark(self) -> str:
        """What tells one source from another in a status."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def found(self, resolved: str) -> Self:
        """The same where it was found earlier what it means: `Image.resolved`."""
        return self


@dataclass(frozen=True)
class HttpSource(ImageSource):
    """`checksums`: md5, sha1, sha256, sha512, streebog256 or streebog512 -> hex in either case,
    of the file as served. `ca_bundle`: PEM text, trusted beside the system's authorities.
    """

    url: str = field(repr=False)
    """With credentials, if it takes any."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None

    @property
    def identity(self) -> Json:
        return bare(self.url), dict(self.checksums), self.ca_bundle


@dataclass(frozen=True)
class ContainerSource(ImageSource):
    """The one file below /disk of a container image. `image`: its reference. `ca_bundle`: as of
    downloads.
    """

    image: str
    ca_bundle: str | None = None
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    """User and password, if any are given."""
    resolved: str = ""
    """What the reference was found to mean earlier, to be asked for in its place: a tag may mean
    something else by now.
    """

    @property
    def identity(self) -> Json:
        return "container image", self.image, self.ca_bundle

    def found(self, resolved: str) -> Self:
        return replace(self, resolved=resolved)
