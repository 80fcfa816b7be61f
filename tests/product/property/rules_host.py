"""What happens on the host, and what people do there by hand."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis.stateful import rule

from tests.product.property.hands import FORGETTING, HARDWARE, WORDS, merged, writable_disk
from tests.product.property.host import POOL, POOL_PATH
from tests.product.property.manifests import VMS, names
from tests.product.property.story import DB, FOREIGN, STRANGERS, Story


class HostRules(Story):
    @rule(
        name=names,
        how=st.sampled_from(("poweroff", "reboot", "reboot", "crash", "signal", "destroy", "lost")),
    )
    def happens(self, name: str, how: str) -> None:
        if how == "lost":
            self.host_is_lost()
        elif self.up(name):
            self.ends(name, how)

    def ends(self, name: str, how: str) -> None:
        host, uuid = self.host_of(name), self.uuid(name)
        with self.by_hand():
            match how:
                case "poweroff":
                    host.guest_poweroff(uuid)
                case "reboot":
                    host.guest_reboot(uuid)
                case "crash":
                    host.crash(uuid)
                case "signal":
                    host.host_signal(uuid)
                case "destroy":
                    host.destroyed_by_hand(uuid)
        self.note(name, how)

    @rule(
        data=st.data(),
        name=names,
        what=st.sampled_from(
            (
                *("start", "edit", "edit", "edit live", "metadata", "undefine", "pause", "save"),
                *("snapshot", "snapshot"),
            )
        ),
    )
    def by_somebodys_hand(self, data: st.DataObject, name: str, what: str) -> None:
        match what:
            case "start":
                self.started_by_hand(name)
            case "edit":
                self.definition_edited(name, data.draw(st.sampled_from((*HARDWARE, *WORDS))))
            case "edit live":
                self.instance_edited(name, data.draw(st.sampled_from((*HARDWARE, *WORDS))))
            case "metadata":
                how = data.draw(st.sampled_from(sorted(FORGETTING)))
                self.metadata_removed(name, how, live=data.draw(st.booleans()))
            case "undefine":
                self.undefined(name)
            case "pause":
                self.paused_by_hand(name, goes_on=data.draw(st.booleans()))
            case "save":
                self.saved_by_hand(name)
            case "snapshot":
                self.snapshot_by_hand(name, inside=data.draw(st.booleans()))

    @rule(name=st.sampled_from(("one", "two", "three", "spare", "")), obeys=st.booleans())
    def others_do_something(self, name: str, obeys: bool) -> None:
        self.host.guest_obeys = obeys
        self.stranger_opens_a_disk(name)

    def started_by_hand(self, name: str) -> None:
        if not self.defined(name) or self.on(name):
            return  # what is undefined and off is not there
        with self.by_hand():
            started = self.host.started_by_hand(self.uuid(name))
        if started:
            self.note(name, "virsh-start")

    def paused_by_hand(self, name: str, goes_on: bool) -> None:
        if self.up(name):
            with self.by_hand():
                (self.host.resume if goes_on else self.host.pause)(self.uuid(name))

    def saved_by_hand(self, name: str) -> None:
        """As libvirt-guests does when the host goes down; a start goes on where it was."""
        raw = self.raw(name)
        if raw is None or self.host.layers_of(raw):
            return
        if self.up(name) and raw.inactive_xml:
            self.host.saved_by_hand(raw.uuid)
            self.note(name, "saved")

    def snapshot_by_hand(self, name: str, inside: bool) -> None:
        """A disk goes on in another file, and no event tells of it. `heal` merges it again."""
        raw = self.raw(name)
        if raw is None or not raw.inactive_xml or raw.managed_save:
            return
        xml = raw.active_xml or raw.inactive_xml
        if writable_disk(xml) and writable_disk(raw.inactive_xml) == writable_disk(xml):
            path = f"{POOL_PATH if inside else '/srv'}/layer-{len(self.host.layers)}"
            self.host.snapshot(raw.uuid, path, writable_disk(xml))

    def layers_merged(self) -> None:
        """Everybody has merged what he had put aside, or given it up with the domain."""
        for path, base in reversed(self.host.layers.copy().items()):
            for raw in list(self.host._domains.values()):
                self.host._put(
                    replace(
                        raw,
                        inactive_xml=merged(raw.inactive_xml, path, base),
                        active_xml=merged(raw.active_xml, path, base),
                    )
                )
                self.host._tell(raw.uuid, "block-job")
            self.host.pools[POOL].pop(path.rpartition("/")[2], None)
            del self.host.layers[path]
        self.host._tell("", "connected")  # the files are seen to be gone

    def host_is_lost(self) -> None:
        for name in VMS:
            if self.on(name):
                self.note(name, "lost")
        strangers = {uuid: self.host._domains[uuid] for uuid in STRANGERS}
        self.host.lose_host()
        self.host._domains.update(strangers)

    def definition_edited(self, name: str, how: str) -> None:
        raw = self.raw(name)
        if raw is not None and raw.inactive_xml:
            self.host.edit(self.uuid(name), {**HARDWARE, **WORDS}[how])
            self.edited.add(name)
            self.note(name, "edited")

    def instance_edited(self, name: str, how: str) -> None:
        if self.on(name):
            self.host.edit(self.uuid(name), {**HARDWARE, **WORDS}[how], live=True)
            self.tainted.add(self.run(name))

    def metadata_removed(self, name: str, how: str, live: bool) -> None:
        raw = self.raw(name)
        there = raw is not None and (raw.active_xml if live else raw.inactive_xml)
        if not there or self.ledger_fault:
            return  # a domain that neither it nor the ledger knows is nobody's
        self.host.edit(self.uuid(name), FORGETTING[how], live=live)
        if live:
            self.tainted.add(self.run(name))
        self.forget(name)

    def undefined(self, name: str) -> None:
        raw = self.raw(name)
        if raw is None or self.ledger_fault or raw.managed_save:
            return
        if raw.active:
            self.host._put(replace(raw, inactive_xml=""))
        else:
            del self.host._domains[raw.uuid]
        self.host._tell(raw.uuid, "lifecycle")
        self.forget(name)

    def forget(self, name: str) -> None:
        self.forgetful = True
        self.edited.add(name)
        self.note(name, "edited")
        self.note(name, "forgotten")

    def stranger_opens_a_disk(self, name: str) -> None:
        """A domain of somebody else refers to a disk, or does not any more."""
        found = (
            [each for each in sorted(self.volumes) if f"_default_{name}_" in each] if name else []
        )
        path = f"{POOL_PATH}/{found[0]}" if found else "/elsewhere"
        self.host._domains[DB] = replace(
            self.host._domains[DB], inactive_xml=FOREIGN.format("db", DB, "", path)
        )
        self.host._tell(DB, "lifecycle")
        self.strange[DB] = self.host._domains[DB]
