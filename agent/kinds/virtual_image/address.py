"""The whole address of a download: what of it is secret is not in the ledger, or in a Secret."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.addresses import completed, is_hidden
from agent.core.annotations import HTTP_SECRET
from agent.core.changes import SENSITIVE
from agent.core.encoded import decoded
from agent.core.facts import View
from agent.core.model import Key, Object
from agent.core.recognition import DEFAULT_NAMESPACE

GONE = (
    "The status branch has {} without what is secret, and commit {}, which has all of it, cannot "
    "be read any more: push its manifest again."
)
_KEYS = ("username", "password", "query")


def complete_address(obj: Object, url: str, view: View) -> tuple[str, str]:
    """The address to ask for, and what it lacks, as a sentence; empty if it lacks nothing."""
    if is_hidden(url):
        return url, GONE.format("its address", _commit(obj))
    named = obj.manifest.annotations.get(HTTP_SECRET)
    if not named:
        return url, ""
    namespace, _, name = named.rpartition("/")
    own = obj.key.namespace
    if own and namespace not in ("", own):
        return url, f"Its annotation {HTTP_SECRET} may name a Secret of its own namespace only."
    key = Key("Secret", own or namespace or DEFAULT_NAMESPACE, name)
    data, lacking = secret_data(key, view)
    given = [(data or {}).get(name) or "" for name in _KEYS]
    if lacking:
        return url, lacking
    if not any(given):
        return url, f"{key} has none of the keys {', '.join(_KEYS)}, or they are empty."
    try:
        return completed(url, *(decoded(text).decode().strip() for text in given)), ""
    except ValueError:
        return url, f"{key} holds a value that is no text in Base64."


def secret_data(key: Key, view: View) -> tuple[Mapping[str, str] | None, str]:
    """What a Secret holds, each value in base64, and what keeps it from being used, as a sentence.
    None if there is no such Secret.
    """
    secret = view.object(key)
    if secret is None or secret.deleted:
        return None, f"{key} is not there: the download begins as soon as it is."
    data = secret.manifest.content.get("data") or {}
    hidden = SENSITIVE in data.values()
    return data, GONE.format(key, _commit(secret)) if hidden else ""


def _commit(obj: Object) -> str:
    return obj.source.partition(":")[0][:12]
