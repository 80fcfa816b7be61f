"""What a guest configures itself from at its first start: a small medium, made from the spec or
from a Secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.core.changes import SENSITIVE
from agent.core.encoded import decoded
from agent.core.facts import View
from agent.core.identity import seed_volume
from agent.core.model import Condition, Key, Object
from agent.kinds.secret import CLOUD_INIT
from agent.kinds.secret import USER_DATA as USER_DATA_KEYS
from agent.kinds.virtual_machine import network_config
from agent.kinds.virtual_machine.spec import Provisioning, machine_spec

READY = "ProvisioningReady"
SYSPREP = "provisioning.virtualization.deckhouse.io/sysprep"
_KEYS: Mapping[str, tuple[Literal["userDataRef", "sysprepRef"], str, tuple[str, ...]]] = {
    "UserDataRef": ("userDataRef", CLOUD_INIT, USER_DATA_KEYS),
    "SysprepRef": ("sysprepRef", SYSPREP, ("unattend.xml", "autounattend.xml")),
}
USER_DATA = "user-data"
MEDIA = ("cloudinit", "sysprep")
"""Serial numbers of media."""


@dataclass(frozen=True)
class Medium:
    """One medium. `files` is empty where only a marker of its content is left: the present one
    stays.
    """

    sysprep: bool
    files: Mapping[str, bytes] = field(repr=False)
    digest: str = ""
    """Of what people or their Secret say."""
    network: str = ""
    """Digest of what it says of the network; empty where it says nothing."""

    @property
    def known(self) -> bool:
        return bool(self.files)

    @property
    def serial(self) -> str:
        """What the guest sees as the disk's serial number."""
        return MEDIA[self.sysprep]

    def volume(self, fleet: str, uid: str) -> str:
        return seed_volume(fleet, uid, "-".join(filter(None, (self.digest, self.network))))


def provisioning(vm: Object, view: View) -> tuple[Medium | None, Condition]:
    """The medium, if the VM has one and all of it is there, and the condition that says so."""
    ready = Condition(READY, "True", READY)
    wanted = machine_spec(vm.spec).get("provisioning")
    if not wanted:
        return None, ready
    if wanted["type"] == "UserData":
        text = wanted.get("userData", "")
        return (_medium(vm, {USER_DATA: text.encode()}) if text else None), ready
    medium = _from_secret(vm, wanted, view)
    if isinstance(medium, str):
        return None, Condition(READY, "False", "ProvisioningNotReady", medium)
    return medium, ready


def with_network(vm: Object, medium: Medium | None, files: Mapping[str, bytes]) -> Medium | None:
    """The medium with what it says of the network. A machine that has none gets one for that alone;
    on one with answer files for Windows nobody would read it, and one whose content is not known
    stays as it is.
    """
    if not files or (medium is not None and (medium.sysprep or not medium.known)):
        return medium
    known = medium or _medium(vm, {USER_DATA: network_config.USER_DATA})
    return replace(known, files={**known.files, **files}, network=network_config.digest(files))


def _from_secret(vm: Object, wanted: Provisioning, view: View) -> Medium | str:
    """The medium, or what is wrong with the Secret."""
    field_name, expected, keys = _KEYS[wanted["type"]]
    key = Key("Secret", vm.key.namespace, wanted[field_name]["name"])
    secret = view.object(key)
    if secret is None or secret.deleted:
        return f"{key} is not there: the VirtualMachine goes on as soon as it is."
    content = secret.manifest.content
    if content.get("type") != expected:
        return f"{key} is of type {content.get('type', 'Opaque')}; it has to be of type {expected}."
    data = content.get("data") or {}
    try:
        files = {name: _decoded(data[name]) for name in keys if data.get(name)}
    except ValueError:
        return f"{key} holds a value that is not Base64."
    if not files:
        return f"{key} has none of the keys {' and '.join(keys)}, or they are empty."
    sysprep = wanted["type"] == "SysprepRef"
    if not sysprep:
        files = {USER_DATA: next(iter(files.values()))}
    return _medium(vm, files, sysprep=sysprep)


def _medium(vm: Object, files: Mapping[str, bytes], *, sysprep: bool = False) -> Medium:
    if SENSITIVE.encode() in files.values():
        return Medium(sysprep, {})
    digest = hmac.new(vm.uid.encode(), digestmod=hashlib.sha256)
    for name in sorted(files):
        digest.update(f"{name}:{len(files[name])}:".encode() + files[name])
    return Medium(sysprep, files, digest.hexdigest()[:32])


def _decoded(text: str) -> bytes:
    return SENSITIVE.encode() if text == SENSITIVE else decoded(text)
