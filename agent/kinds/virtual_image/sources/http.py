"""Data that is downloaded."""

from __future__ import annotations

from agent.core.encoded import decoded
from agent.core.facts import View
from agent.core.image_sources import HttpSource
from agent.core.model import Object
from agent.kinds.virtual_image.address import complete_address
from agent.kinds.virtual_image.sources.coming import Origin
from agent.kinds.virtual_image.spec import Http


def origin(obj: Object, http: Http, view: View) -> Origin:
    url, lacking = complete_address(obj, http["url"], view)
    checksums = dict(http.get("checksum", {}))
    return Origin(HttpSource(url, checksums, certificates(http.get("caBundle"))), lacking)


def certificates(encoded: str | None) -> str | None:
    """The certificates in PEM. What is no text stays what no certificate is."""
    return None if encoded is None else decoded(encoded).decode("ascii", "replace")
