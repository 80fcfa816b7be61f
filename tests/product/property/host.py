"""A host that breaks the test at once when the agent does what no agent may ever do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lxml import etree

from agent.core.host import RawDomain, RawVolume
from tests.memory_host import MemoryHost
from tests.product.faults import WatchedHost

POOL = "gitvirt"
POOL_PATH = f"/var/lib/libvirt/{POOL}"


@dataclass
class GuardedHost(WatchedHost):
    may_delete: Callable[[str], str] = lambda _name: ""
    """Why a volume must not be deleted; empty if it may."""
    others: tuple[GuardedHost, ...] = ()
    """The other nodes of the fleet."""
    runs: Counter[str] = field(default_factory=Counter)
    """How often each domain went on or off, by UUID: tells its instances apart also where their metadata does not."""

    def _put(self, domain: RawDomain) -> None:
        before = self._domains.get(domain.uuid)
        if (before is not None and before.active) != domain.active:
            self.runs[domain.uuid] += 1
        if not domain.active:
            self.mute.discard(domain.uuid)  # no QEMU process is left that might not answer
        super()._put(domain)

    def lose_host(self) -> None:
        self.runs.update(self._domains.keys())
        super().lose_host()

    saved: dict[str, str] = field(default_factory=dict)
    """The definition in each saved state, by UUID: a start goes on with it."""

    def _spawn(self, domain: RawDomain) -> None:
        saved = self.saved.get(domain.uuid, "")
        if any(each in saved and self.open_in(each) for each in self.pools[POOL]):
            saved = ""  # QEMU would not start it, and somebody would drop the state
        super()._spawn(domain)
        if saved:
            began = self._domains[domain.uuid]
            self._domains[domain.uuid] = replace(began, active_xml=saved)
        shared = self.opened_twice()
        assert not shared, f"two running domains have the same disk open: {shared}"
        below = self.written_below(domain.uuid)
        assert not below, f"a guest writes to a file below {below}"

    def _tell(self, uuid: str, what: str, network: str = "") -> None:
        if self.reachable or what == "disconnected":
            super()._tell(uuid, what, network)

    def define(self, xml: str) -> None:
        uuid = etree.fromstring(xml).findtext("uuid", "")
        elsewhere = [each.name for each in self.others if uuid in each._domains]
        assert not elsewhere, f"{uuid} is defined on {self.name}, and is on {elsewhere}"
        raw = self._domains.get(uuid)
        tops = (path for path in self.layers_of(raw) if path not in self.layers.values())
        lost = [path for path in tops if f"'{path}'" not in xml.replace('"', "'")]
        assert not lost, f"a definition forgets {lost}"
        super().define(xml)

    def comes_up(self, uuid: str) -> None:
        self.saved.pop(uuid, None)
        self._domains[uuid] = replace(self._domains[uuid], managed_save=False)
        super().comes_up(uuid)

    def undefine(self, uuid: str) -> None:
        lost = self.layers_of(self._domains.get(uuid))
        assert not lost, f"{lost} would be forgotten"
        super().undefine(uuid)
        self.saved.pop(uuid, None)

    def delete_volume(self, pool: str, name: str) -> None:
        users = self.referring(name)
        users += [top for top, base in self.layers.items() if base == f"{POOL_PATH}/{name}"]
        assert not users, f"{name} is deleted while {users} refers to it"
        problem = self.may_delete(name)
        assert not problem, f"{name} is deleted: {problem}"
        super().delete_volume(pool, name)

    def create_volume(self, pool: str, xml: str) -> RawVolume:
        name = etree.fromstring(xml).findtext("name", "")
        begins = name.rpartition("_")[0]
        elsewhere = [
            (each.name, other)
            for each in self.others
            for other in each.pools.get(POOL, {})
            if "_disk_" in name and other.rpartition("_")[0] == begins
        ]
        assert not elsewhere, f"{name} is made on {self.name}, and there is {elsewhere}"
        return super().create_volume(pool, xml)

    def resize_volume(self, pool: str, name: str, capacity: int) -> RawVolume:
        assert not self.open_in(name), f"{name} is resized while it is open"
        return super().resize_volume(pool, name, capacity)

    def grow_disk(self, uuid: str, pool: str, name: str, capacity: int) -> RawVolume:
        raw = self._domains[uuid]
        assert self.open_in(name) == [raw.name], f"{name} grows in {raw.name}, which has it not"
        before = self.pools[pool][name].capacity
        assert capacity > before, f"{name} of {before} bytes is resized to {capacity}"
        return super().grow_disk(uuid, pool, name, capacity)

    def referring(self, name: str) -> list[str]:
        """Whatever has a volume of that name in its definition, or lies on it."""
        path = f"{POOL_PATH}/{name}"
        found = [
            raw.name
            for raw in self._domains.values()
            if f'"{path}"' in raw.inactive_xml + raw.active_xml
            or f"'{path}'" in raw.inactive_xml + raw.active_xml
        ]
        found += [uuid for uuid, xml in self.saved.items() if f'"{path}"' in xml]
        return found + [at for at, each in self.pools[POOL].items() if each.backing_path == path]

    def open_in(self, name: str) -> list[str]:
        """Running domains with that volume."""
        path = f'"{POOL_PATH}/{name}"'
        return [raw.name for raw in self._domains.values() if path in raw.active_xml]

    def opened_twice(self) -> list[str]:
        return [
            name for name in self.pools[POOL] if "_disk_" in name and len(self.open_in(name)) > 1
        ]

    # -- what people do by hand: none of it counts as the agent's ------------------------------

    def destroyed_by_hand(self, uuid: str) -> None:
        MemoryHost.destroy(self, uuid)

    def started_by_hand(self, uuid: str) -> bool:
        """False where QEMU would refuse, since somebody else has a disk open."""
        raw, turns = self._domains[uuid], len(self.turns)
        definition = self.saved.get(uuid, raw.inactive_xml)
        if any(each in definition and self.open_in(each) for each in self.pools[POOL]):
            return False
        if self.written_below(uuid):
            return False  # the person would damage it
        self.start(uuid)
        del self.turns[turns:]
        return True

    def layers_of(self, raw: RawDomain | None) -> list[str]:
        """Files made by hand that only this domain knows."""
        xml = f"{raw.inactive_xml} {raw.active_xml}" if raw is not None else ""
        return [path for path in self.layers if f"file='{path}'" in xml.replace('"', "'")]

    def written_below(self, uuid: str) -> list[str]:
        """Files made by hand, of other domains, that would be damaged if this definition ran."""
        tops = {path for path in self.layers if path not in self.layers.values()}
        tops -= set(self.layers_of(self._domains[uuid]))
        owned = {path for each in self._domains.values() for path in self.layers_of(each)}
        xml = self._domains[uuid].inactive_xml
        return [path for path in tops & owned if self.layers[path] in xml]

    def saved_by_hand(self, uuid: str) -> None:
        raw = self._domains[uuid]
        self.saved[uuid] = raw.active_xml
        off = replace(raw, state="shutoff", reason="saved", active_xml="", managed_save=True)
        self._put(replace(off, rebooted=0.0))
        self._tell(uuid, "lifecycle")

    def renamed_by_hand(self, uuid: str, name: str) -> None:
        raw = self._domains[uuid]
        old, new = f"<name>{raw.name}</name>", f"<name>{name}</name>"
        self._put(replace(raw, name=name, inactive_xml=raw.inactive_xml.replace(old, new)))
        self._tell(uuid, "lifecycle")
