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
    def whole(self) -> str:
        """All of it, as a text that nobody may see: equal for what is asked for in the same way."""
        return self.mark

    @property
    def mark(self) -> str:
        """What tells one source from another in a status."""
        return marked(self.identity)

    def found(self, resolved: str) -> Self:
        """The same where it was found earlier what it means: `Image.resolved`."""
        return self

    def at(self, node: str) -> Self:
        """The same for what is brought to that node: several may have a volume."""
        return self


def marked(identity: Json) -> str:
    """`ImageSource.mark` of a source of that identity."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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

    @property
    def whole(self) -> str:
        return json.dumps([self.url, dict(self.checksums), self.ca_bundle], sort_keys=True)


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

    @property
    def whole(self) -> str:
        return json.dumps([self.image, self.ca_bundle, self.credentials, self.resolved])

    def found(self, resolved: str) -> Self:
        return replace(self, resolved=resolved)


@dataclass(frozen=True)
class VolumeSource(ImageSource):
    """A volume of a node that nobody writes to meanwhile."""

    node: str
    pool: str
    volume: str
    format: str
    """Of the image: qcow2, raw or iso; of what a disk or a snapshot holds, qcow2 or raw."""
    size: int = 0
    """Bytes that a guest sees; 0 where the data itself tells."""
    digest: str = ""
    """What stands for its digest, where nobody has hashed it; empty where it is to be hashed."""
    copied: bool = False
    """True for what a disk or a snapshot holds: the node that has it copies it, flat and as qcow2,
    for it may be based on another volume.
    """
    of: str = ""
    """The object that the data is of, in words; empty where it is nobody's."""

    @property
    def identity(self) -> Json:
        return object_identity(self.of) if self.of else ("volume", self.pool, self.volume)

    def at(self, node: str) -> Self:
        return replace(self, node=node) if self.copied else self


def object_identity(words: str) -> Json:
    """Of the data of an object, also while nobody can tell where that is."""
    return "object", words


@dataclass(frozen=True)
class UploadSource(ImageSource):
    """A file that somebody has uploaded into a volume of a node, whole: of `size` bytes, with the
    SHA-256 `digest`. `checksums`: as of downloads, those that the manifest gives.
    """

    node: str
    pool: str
    volume: str
    size: int
    digest: str
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Json:
        return "upload", self.digest, dict(self.checksums)
