"""Hosts between which machines travel: each keeps watch that none runs twice and that nobody's newest data goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from agent.core.domain_xml import parse
from agent.core.host import HostError, RawDomain, Reading
from agent.core.identity import finished
from tests.memory_host import MemoryHost, Volume


@dataclass
class Data:
    """What guests have written, by the path of each disk. A guest that goes on writes more."""

    newest: dict[str, int] = field(default_factory=dict)

    def write(self, path: str) -> bytes:
        self.newest[path] = self.newest.get(path, 0) + 1
        return self.of(path)

    def of(self, path: str) -> bytes:
        return f"{path} {self.newest[path]}".encode()


@dataclass
class TravelHost(MemoryHost):
    """One of several. Silent: whatever is asked of it fails after its time."""

    silent: bool = False
    others: list[TravelHost] = field(default_factory=list)
    data: Data = field(default_factory=Data)
    boots: Counter[str] = field(default_factory=Counter)
    """How often each machine has been started, by UUID."""

    def read(self, pools: frozenset[str]) -> Reading:
        self._hear()
        return super().read(pools)

    def read_domain(self, uuid: str) -> RawDomain | None:
        self._hear()
        return super().read_domain(uuid)

    def _hear(self) -> None:
        if self.silent:
            raise HostError("Timeout", "no answer within 60 seconds")

    def _tell(self, uuid: str, what: str, network: str = "") -> None:
        if self.reachable or what == "disconnected":
            super()._tell(uuid, what, network)

    # -- what must hold at each instruction --------------------------------------------------------

    def _put(self, domain: RawDomain) -> None:
        super()._put(domain)
        if domain.state == "running":
            self.runs_alone(domain)
            self.writes(domain)

    def runs_alone(self, domain: RawDomain) -> None:
        elsewhere = [
            each.name
            for each in self.others
            if (there := each._domains.get(domain.uuid)) is not None and there.state == "running"
        ]
        assert not elsewhere, f"{domain.name} runs on {self.name} and on {elsewhere}"

    def writes(self, domain: RawDomain) -> None:
        """Its guest goes on from the newest data, and writes more."""
        for path in self.written_by(domain):
            volume = self.at(path)
            assert volume is not None, f"{path} is not on {self.name}"
            if path in self.data.newest:
                assert volume.content == self.data.of(path), f"{path} on {self.name} is outdated"
            volume.content = self.data.write(path)

    def written_by(self, domain: RawDomain) -> list[str]:
        root = parse(domain.active_xml)
        sources = (each.find("source") for each in root.iterfind("devices/disk"))
        paths = [each.get("file", "") for each in sources if each is not None]
        return [path for path in paths if "_disk_" in path]

    def at(self, path: str) -> Volume | None:
        every = (volume for pool in self.pools.values() for volume in pool.values())
        return next((volume for volume in every if volume.path == path), None)

    def comes_up(self, uuid: str) -> None:
        self.boots[uuid] += 1
        super().comes_up(uuid)

    def delete_volume(self, pool: str, name: str) -> None:
        volume = self.pools.get(pool, {}).get(name)
        if volume is not None and "_disk_" in name and not finished(name):
            self.may_go(volume)
        super().delete_volume(pool, name)

    def may_go(self, volume: Volume) -> None:
        path = volume.path
        for each in (self, *self.others):
            if each.pools is self.pools:
                users = [raw.name for raw in each._domains.values() if path in raw.active_xml]
                assert not users, f"{path} is deleted on {self.name}, and open on {each.name}"
        if path in self.data.newest and volume.content == self.data.of(path):
            found = (each.at(path) for each in self.others if each.pools is not self.pools)
            kept = [each for each in found if each and each.content == volume.content]
            assert kept, f"the newest data of {path} is deleted on {self.name}"

    # -- what happens -------------------------------------------------------------------------------

    def power_fails(self) -> None:
        """Everything on it is off, whether anybody can see it or not; what was on its way comes to what it has come to."""
        for uuid, going in list(self.going.items()):
            del self.going[uuid]
            there = going.target._domains.get(uuid)
            if there is not None and not there.inactive_xml:
                going.target._drop(uuid)
                going.target._tell(uuid, "lifecycle")
        self.leave_the_others()
        reachable = self.reachable
        self.disconnect()
        with self._lock:
            for domain in list(self._domains.values()):
                self._forget(domain)
        self.failures.clear()
        if reachable:
            self.reconnect()

    def leave_the_others(self) -> None:
        """Nothing comes here any more: what has not arrived goes on where it was."""
        for other in self.others:
            for uuid in [uuid for uuid, going in other.going.items() if going.target is self]:
                other.migration_breaks(uuid)

    def _stop(self, uuid: str, reason: str, by: str) -> bool:
        """A guest that ends, or is ended, goes nowhere any more."""
        going = self.going.pop(uuid, None)
        if going is not None:
            self.failures[uuid] = f"cannot migrate domain {uuid}: it has ended"
            there = going.target._domains.get(uuid)
            if there is not None and not there.inactive_xml:
                going.target._drop(uuid)
                going.target._tell(uuid, "lifecycle")
        for other in self.others:
            if uuid in other.going and other.going[uuid].target is self:
                other.migration_breaks(uuid)
        return super()._stop(uuid, reason, by)

    def come_to_an_end(self, well: bool) -> None:
        """libvirt goes on with what somebody has begun."""
        for uuid, going in list(self.going.items()):
            landed = self._domains[uuid].reason == "migration"
            if well and going.target.reachable:
                if not landed:
                    self.migration_lands(uuid)
                self.migration_ends(uuid)
            else:
                self.migration_breaks(uuid)

    def sent_by_hand(self, uuid: str, target: TravelHost, keeps: bool) -> None:
        """`virsh migrate --live --persistent`, with `--undefinesource` unless it is to be kept there."""
        domain = self._domains[uuid]
        with target._lock:
            off = replace(domain, state="shutoff", reason="migrated", active_xml="", rebooted=0.0)
            if keeps:
                self._put(off)
            else:
                self._drop(uuid)
            target._put(domain)
        for host in (self, target):
            host._tell(uuid, "lifecycle")
