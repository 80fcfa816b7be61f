"""Manifests of container images, as Docker and OCI write them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Json

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
LARGEST = 4 * 1024 * 1024
"""Bytes of a manifest: what registries and other clients take."""
MOST_LAYERS = 128
MAX_INDEXES = 3
"""Indexes within indexes that are looked into."""
PLATFORM = ("linux", "amd64")
_DIGEST = re.compile(r"(sha256):[0-9a-f]{64}|(sha512):[0-9a-f]{128}")


class ManifestError(Exception):
    """The text says what is wrong with a manifest, to be put behind the image's name."""


@dataclass(frozen=True)
class Descriptor:
    """Some bytes of a registry's. `digest` is `<algorithm>:<hex>`, `size` in bytes."""

    digest: str
    size: int

    @property
    def algorithm(self) -> str:
        return self.digest.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.digest.partition(":")[2]


@dataclass(frozen=True)
class Manifest:
    """One of them is empty: an index leads to other manifests, an image has layers, the lowest
    first.
    """

    layers: tuple[Descriptor, ...] = ()
    chosen: Descriptor | None = None
    """The one of an index that is for this platform."""


def digest_of(data: bytes, like: str = "sha256:") -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def read(data: bytes) -> Manifest:
    """Raises ManifestError."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        raise ManifestError("its manifest is no JSON") from None
    if not isinstance(parsed, dict):
        raise ManifestError("its manifest is no mapping")
    if isinstance(parsed.get("manifests"), list):
        return Manifest(chosen=_for_us(parsed["manifests"]))
    if parsed.get("schemaVersion") == 1:
        raise ManifestError("its manifest is of Docker's schema 1, which is obsolete: push it anew")
    layers = parsed.get("layers")
    if not isinstance(layers, list) or not layers:
        raise ManifestError("its manifest has no layers")
    if len(layers) > MOST_LAYERS:
        raise ManifestError(f"it has {len(layers)} layers; at most {MOST_LAYERS} are read")
    if any(isinstance(layer, dict) and layer.get("urls") for layer in layers):
        raise ManifestError("it has a layer that lies elsewhere than in its registry")
    return Manifest(tuple(_descriptor(layer) for layer in layers))


def _for_us(entries: list[Json]) -> Descriptor:
    """The entry for our platform, or the only one, if it is for none."""
    fitting = [entry for entry in entries if _platform(entry) == PLATFORM]
    if not fitting and len(entries) == 1 and _platform(entries[0]) == ("", ""):
        fitting = entries
    if not fitting:
        raise ManifestError(f"it has nothing for the platform {'/'.join(PLATFORM)}")
    return _descriptor(fitting[0])


def _platform(entry: Json) -> tuple[str, str]:
    platform = entry.get("platform") if isinstance(entry, Mapping) else None
    if not isinstance(platform, Mapping):
        return "", ""
    return str(platform.get("os", "")), str(platform.get("architecture", ""))


def _descriptor(entry: Json) -> Descriptor:
    if isinstance(entry, Mapping):
        digest, size = entry.get("digest"), entry.get("size")
        known = isinstance(digest, str) and _DIGEST.fullmatch(digest)
        if known and isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            return Descriptor(str(digest), size)
    raise ManifestError("its manifest has an entry without a digest and a size that can be used")
