"""Rules about one VirtualMachine that its schema cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agent.core.documents import Path
from agent.core.manifests import Check, Note
from agent.core.model import Json
from agent.core.quantity import parse
from agent.kinds.cloud_config import notes as cloud_config_notes
from agent.kinds.content import at, integer, items, mapping, repeated, text
from agent.kinds.virtual_machine.spec import MAIN
from agent.kinds.virtual_machine.topology import problem
from agent.kinds.virtual_machine.wanted import LEGACY, LEGACY_INTERFACES

USER_DATA_BYTES = 2048

LEGACY_DEVICES = 4
"""Places on IDE."""

Problems = Iterable[tuple[Path, str]]
Content = Mapping[str, Json]


def cores(content: Content) -> Problems:
    wanted = integer(content, "spec", "cpu", "cores")
    sentence = problem(wanted) if wanted is not None else None
    if sentence:
        yield ("spec", "cpu", "cores"), sentence


def memory(content: Content) -> Problems:
    try:
        size = parse(text(content, "spec", "memory", "size"))
    except ValueError:
        return
    if size <= 0:
        yield ("spec", "memory", "size"), "must be more than 0, such as 512Mi"


def block_devices(content: Content) -> Problems:
    devices = list(enumerate(items(content, "spec", "blockDeviceRefs")))
    named = (
        (("spec", "blockDeviceRefs", index), (text(device, "kind"), text(device, "name")))
        for index, device in devices
        if text(device, "name")
    )
    for path, (kind, name) in repeated(named):
        yield path, f"names the {kind} {name} a second time: a device can be there only once"
    ordered = (
        (("spec", "blockDeviceRefs", index, "bootOrder"), integer(device, "bootOrder"))
        for index, device in devices
        if integer(device, "bootOrder") is not None
    )
    for path, order in repeated(ordered):
        yield path, f"must be different for each device, and {order} is taken"


def legacy(content: Content) -> Problems:
    if text(content, "spec", "osType") != LEGACY:
        return
    if at(content, "spec", "bootloader") not in (None, "BIOS"):
        yield ("spec", "bootloader"), "must be BIOS for osType Legacy"
    if at(content, "spec", "provisioning") is not None:
        yield ("spec", "provisioning"), "must be absent for osType Legacy: such guests read none"
    if len(items(content, "spec", "networks")) > LEGACY_INTERFACES:
        yield (
            ("spec", "networks"),
            f"must have at most {LEGACY_INTERFACES} entries for osType Legacy",
        )
    devices = len(items(content, "spec", "blockDeviceRefs"))
    if at(content, "spec", "enableParavirtualization") is False and devices > LEGACY_DEVICES:
        yield (
            ("spec", "blockDeviceRefs"),
            f"must have at most {LEGACY_DEVICES} entries for osType Legacy without virtio",
        )


def user_data(content: Content) -> Problems:
    size = len(text(content, "spec", "provisioning", "userData").encode())
    if size > USER_DATA_BYTES:
        hint = "put longer data into a Secret and use type UserDataRef"
        yield (
            ("spec", "provisioning", "userData"),
            f"must be at most {USER_DATA_BYTES} bytes, not {size}: {hint}",
        )


def cloud_config(content: Content) -> Problems:
    for note in cloud_config_notes(text(content, "spec", "provisioning", "userData")):
        yield ("spec", "provisioning", "userData"), Note(note)


def usb_devices(content: Content) -> Problems:
    named = (
        (("spec", "usbDevices", index), text(device, "name"))
        for index, device in enumerate(items(content, "spec", "usbDevices"))
        if text(device, "name")
    )
    for path, name in repeated(named):
        yield path, f"names the USBDevice {name} a second time: a device can be there only once"


def address(content: Content) -> Problems:
    """An address belongs to the Main interface, which is there unless others are named alone."""
    wanted = items(content, "spec", "networks")
    main = not wanted or any(text(network, "type") == MAIN for network in wanted)
    if text(content, "spec", "virtualMachineIPAddressName") and not main:
        yield (
            ("spec", "virtualMachineIPAddressName"),
            "needs the network Main: add `type: Main` to spec.networks, or take the address out",
        )


def networks(content: Content) -> Problems:
    wanted = items(content, "spec", "networks")
    for index, network in enumerate(wanted):
        yield from _network(("spec", "networks", index), index, mapping(network))
    by_path = [(("spec", "networks", index), network) for index, network in enumerate(wanted)]
    named = ((path, (text(network, "type"), text(network, "name"))) for path, network in by_path)
    for path, (kind, name) in repeated(named):
        yield path, f"names {' '.join(word for word in (kind, name) if word)} a second time"
    numbered = (
        ((*path, "id"), number)
        for path, network in by_path
        if (number := _number(network)) is not None
    )
    for path, number in repeated(numbered):
        yield path, f"must be different for each interface, and {number} is taken"


def _number(network: Json) -> int | None:
    """The interface's number; Main has one also where none is written."""
    return 1 if text(network, "type") == MAIN else integer(network, "id")


def _network(path: Path, index: int, network: dict[str, Json]) -> Iterator[tuple[Path, str]]:
    number = integer(network, "id")
    if text(network, "type") == MAIN:
        if index:
            yield (*path, "type"), "must stand first: Main is always the first interface"
        if "name" in network:
            yield (*path, "name"), "must be absent for Main: there is only one"
        if number not in (None, 1):
            yield (*path, "id"), f"must be 1 for Main, not {number}"
    elif text(network, "type") and "name" not in network:
        yield (*path, "name"), f"is required for type {text(network, 'type')}"


def tolerations(content: Content) -> Problems:
    for index, toleration in enumerate(items(content, "spec", "tolerations")):
        path = ("spec", "tolerations", index)
        if not text(toleration, "key") and text(toleration, "operator") != "Exists":
            yield (*path, "operator"), "must be Exists where no key is given"
        limited = integer(toleration, "tolerationSeconds") is not None
        if limited and text(toleration, "effect") != "NoExecute":
            yield (*path, "effect"), "must be NoExecute where tolerationSeconds is given"


CHECKS: tuple[Check, ...] = (
    cores,
    memory,
    block_devices,
    legacy,
    user_data,
    cloud_config,
    usb_devices,
    networks,
    address,
    tolerations,
)
