"""One domain as a person visits it, by a connection of the person's own: console, screen, and the
ways to its ports. It changes nothing that lasts.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

import libvirt
import libvirt_qemu
from lxml import etree

from agent.core.host import HostError
from agent.core.model import Json
from agent.hypervisor.connection import open_connection
from agent.hypervisor.errors import translate
from agent.hypervisor.guest import text
from agent.hypervisor.xml import parse

IN_USE = "ConsoleInUse"
"""Reason for which a console is not opened: somebody has it."""
LARGEST_PICTURE = 256 << 20
_VISITOR = "https://gitvirt.io/console"
"""The namespace of the metadata that tells who uses the console; of the running instance alone."""
_CONSOLE_IN_USE = "Active console session"
_RULE_EXISTS = "could not set up host forwarding rule"


@dataclass(frozen=True)
class Networking:
    """How a running domain is on the network, as its host knows it."""

    netdev: str
    """QEMU's name for its user-mode network; empty if it has none."""
    leases: tuple[str, ...]
    """Addresses that the host's own DHCP gave it on its first interface, which is Main where it has
    that.
    """
    others: tuple[str, ...] = ()
    """Those on its further ones."""


class Visit:
    """A domain, by its UUID, on the host of a URI; None for the one that virsh chooses. Everything
    may raise HostError. Not for several threads, but for streams, which have their own.
    """

    def __init__(self, uri: str | None, uuid: str) -> None:
        self._connection = open_connection(uri)
        self._uuid = uuid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            self._connection.close()

    @property
    def uri(self) -> str:
        return str(self._connection.getURI())

    @property
    def host(self) -> str:
        with _told("ask the host's name"):
            return str(self._connection.getHostname())

    def runs(self) -> bool:
        """False also while there is no such domain there."""
        with _told("look for the machine"):
            try:
                return bool(self._domain().isActive())
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return False
                raise

    def paused(self) -> bool:
        """True if nothing in the guest moves, though it runs."""
        with _told("look for the machine"):
            state: Json = self._domain().state()
            return bool(state[0] == libvirt.VIR_DOMAIN_PAUSED)

    def console(self, *, force: bool) -> Console:
        """HostError ConsoleInUse if somebody has it, unless by `force` it is taken over."""
        flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else libvirt.VIR_DOMAIN_CONSOLE_SAFE
        with _told("open the console"):
            stream = self._connection.newStream(0)
            try:
                self._domain().openConsole(None, stream, flags)  # type: ignore[arg-type]  # the first
            except libvirt.libvirtError as error:
                if _CONSOLE_IN_USE in str(error.get_error_message()):
                    message = "somebody else uses the console"
                    raise HostError(IN_USE, message, retry=False) from error
                raise
        return Console(self._connection, stream)

    def visitor(self) -> str:
        """Who said last that they use the console, in words of theirs; empty if nobody did."""
        try:
            told = self._domain().metadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT, _VISITOR, libvirt.VIR_DOMAIN_AFFECT_LIVE
            )
            return text(parse(told).text)
        except (libvirt.libvirtError, HostError, etree.XMLSyntaxError):
            return ""

    def tell_visitor(self, who: str) -> None:
        """Say who uses the console, for whoever comes second. Done without where it cannot be."""
        element = etree.Element("console")
        element.text = who
        with contextlib.suppress(libvirt.libvirtError):
            self._domain().setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                etree.tostring(element, encoding="unicode") if who else None,  # type: ignore[arg-type]
                "console",
                _VISITOR,
                libvirt.VIR_DOMAIN_AFFECT_LIVE,
            )

    def log(self, since: int, longest: int) -> tuple[bytes, int]:
        """The console's log from a byte on, at most the last `longest` of it, and its length; empty
        where it cannot be read. One that is shorter by now has been begun anew.
        """
        try:
            root = parse(self._domain().XMLDesc(0))
            place = root.find("devices/serial/log")
            path = "" if place is None else place.get("file", "")
            return self._read_file(path, since, longest) if path else (b"", 0)
        except libvirt.libvirtError:
            return b"", 0

    def picture(self) -> bytes:
        """What the screen shows, as PNG."""
        with _told("take a picture of the screen"):
            stream = self._connection.newStream(0)
            kind = self._domain().screenshot(stream, 0, 0)
            data = bytearray()
            while chunk := stream.recv(1 << 18):
                data += chunk
                if len(data) > LARGEST_PICTURE:
                    stream.abort()
                    raise HostError("TooLarge", "the picture is larger than 256 MiB", retry=False)
            stream.finish()
        if kind != "image/png":
            message = f"this host's QEMU gives {text(kind)} and no PNG: it is older than 7.1"
            raise HostError("Unsupported", message, retry=False)
        return bytes(data)

    def screen(self) -> socket.socket:
        """A client's end of the VNC server, of a domain on this machine: others lose the
        connection by it.
        """
        with _told("open the screen"):
            return socket.socket(fileno=self._domain().openGraphicsFD(0, 0))

    def screen_path(self) -> str:
        """Where the VNC server listens on its host; empty if it is on no socket there."""
        with _told("look for the screen"):
            root = parse(self._domain().XMLDesc(0))
        found = root.find("devices/graphics[@type='vnc']/listen[@type='socket']")
        return "" if found is None else str(found.get("socket") or "")

    def networking(self) -> Networking:
        with _told("look for the machine's network"):
            domain = self._domain()
            root = parse(domain.XMLDesc(0))
            alias = root.find("devices/interface[@type='user']/alias")
            netdev = f"host{alias.get('name', '')}" if alias is not None else ""
            first = root.find("devices/interface/mac")
            main = first.get("address", "") if first is not None else ""
            leases = [] if netdev else list(_leases(domain))
        return Networking(
            netdev,
            tuple(address for mac, address in leases if mac == main),
            tuple(address for mac, address in leases if mac != main),
        )

    def open_port(self, netdev: str, protocol: str, outside: int, address: str, port: int) -> bool:
        """Let 127.0.0.1:`outside` of the host lead to a port of the guest, until the instance ends;
        an empty address means the one that QEMU's own DHCP gives. False if `outside` is taken.
        """
        rule = f"hostfwd_add {netdev} {protocol}:127.0.0.1:{outside}-{address}:{port}"
        answer = self._monitor(rule)
        if not answer:
            return True
        if _RULE_EXISTS in answer.lower():
            return False
        message = f"QEMU does not forward {protocol} port {port}: {answer}"
        raise HostError("HypervisorError", message, retry=False)

    def close_port(self, netdev: str, protocol: str, outside: int) -> None:
        """Undo `open_port`; what is connected stays so. Fine if it is undone."""
        with contextlib.suppress(HostError):
            self._monitor(f"hostfwd_remove {netdev} {protocol}:127.0.0.1:{outside}")

    def _monitor(self, command: str) -> str:
        with _told("forward a port"):
            answer = libvirt_qemu.qemuMonitorCommand(
                self._domain(), command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
            )
        return text(str(answer or ""))

    def _domain(self) -> libvirt.virDomain:
        return self._connection.lookupByUUIDString(self._uuid)

    def _read_file(self, path: str, since: int, longest: int) -> tuple[bytes, int]:
        """A file in a storage pool of the host: only libvirt may read those of the system."""
        try:
            volume = self._connection.storageVolLookupByPath(path)
        except libvirt.libvirtError:  # libvirt does not know yet what is new in a folder
            self._connection.storagePoolLookupByTargetPath(os.path.dirname(path)).refresh(0)  # noqa: PTH120
            volume = self._connection.storageVolLookupByPath(path)
        size = int(volume.info()[1])
        start = since if since <= size else 0
        start = max(start, size - longest)
        if start == size:
            return b"", size
        stream = self._connection.newStream(0)
        volume.download(stream, start, size - start, 0)
        data = bytearray()
        while chunk := stream.recv(1 << 16):
            data += chunk
        stream.finish()
        return bytes(data), start + len(data)


class Console:
    """An open console: one thread may read it while another one writes."""

    def __init__(self, connection: libvirt.virConnect, stream: libvirt.virStream) -> None:
        self._connection, self._stream = connection, stream

    def recv(self) -> bytes:
        """What the guest says next, however long that takes; empty once the instance has ended.
        HostError ConsoleTaken if somebody took it over.
        """
        try:
            data: bytes | int = self._stream.recv(1 << 16)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_RPC and self._connection.isAlive():
                raise HostError(
                    "ConsoleTaken", "the console was taken over", retry=False
                ) from error
            raise translate(error, "read the console") from error
        return data if isinstance(data, bytes) else b""

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[max(0, self._stream.send(bytes(view))) :]
        except libvirt.libvirtError as error:
            raise translate(error, "write to the console") from error

    def close(self) -> None:
        """Also wakes whoever reads it."""
        with contextlib.suppress(libvirt.libvirtError):
            self._stream.abort()


def _leases(domain: libvirt.virDomain) -> Iterator[tuple[str, str]]:
    """MAC address and address."""
    try:
        found: Json = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, 0)
    except libvirt.libvirtError:  # none of libvirt's networks, or none with DHCP
        return
    for interface in dict(found).values():
        for address in interface.get("addrs") or ():
            with contextlib.suppress(ValueError):
                yield str(interface.get("hwaddr")), str(ip_address(str(address.get("addr"))))


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, doing) from error
