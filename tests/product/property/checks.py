"""What must hold of everything else whenever the agents have had time to work undisturbed."""

from __future__ import annotations

from agent.core.model import Key
from tests.plans import planned
from tests.product.property.check_machines import MachineChecks
from tests.product.property.fields import disks_of
from tests.product.property.host import POOL
from tests.product.property.manifests import URLS
from tests.product.property.story import STRANGE_VOLUMES
from tests.product.property.surroundings import digest
from tests.rig import condition


class Checks(MachineChecks):
    # -- operations -----------------------------------------------------------------------------

    def operations_have_one_target(self) -> None:
        for uid, targets in self.host.targets.items():
            assert len(targets) == 1, (uid, targets)

    def operations_have_ended(self) -> None:
        for op in self.operations:
            status = self.rig.vmop(op)["status"]
            name = self.operations[op]["spec"]["virtualMachineName"]
            if status["phase"] in ("Pending", "InProgress"):  # what it needs is not there
                assert self.rig.vm(name)["status"]["phase"] != "Stopped"
                assert not self.is_ready(name)
            else:
                assert status["phase"] in ("Completed", "Failed", "Superseded"), (op, status)

    def images_share_their_data(self) -> None:
        """An image of an image that was ready stays so, whatever becomes of that one."""
        documents = self.rig.documents()
        if (path := "namespaces/default/virtualimages/again.yaml") in documents:
            status = self.rig.document(path)["status"]
            made = status.get("digest", "") == digest(URLS["again"])
            assert (status["phase"] == "Ready") is made, status
            assert made or "base" not in self.images, status

    # -- disks ----------------------------------------------------------------------------------

    def data_is_kept(self) -> None:
        """Every volume that was ever made is there with its data, unless it was erased in time."""
        pool = self.host.pools[POOL]
        for name, content in self.volumes.items():
            assert name in pool, f"{name} is lost"
            assert pool[name].content == content
        for name, volume in pool.items():
            if "_disk_" in name and name not in STRANGE_VOLUMES and name not in self.volumes:
                volume.content = self.volumes[name] = f"data on {name}".encode()
        self.declared = set()
        for name in self.disks:
            document = self.rig.document(f"namespaces/default/virtualdisks/{name}.yaml")
            volume_name = self.disk_volume(name)
            there = volume_name in pool
            assert (document["status"]["phase"] == "Ready") is there, document["status"]
            assert there or name == "three", document["status"]
            if there:
                self.declared.add(volume_name)
            users = document["status"].get("attachedToVirtualMachines", [])
            mounted = {each["name"] for each in users if each["mounted"]}
            for vm in self.vms:
                raw = self.raw(vm)
                if raw is not None and raw.active and volume_name in raw.active_xml:
                    uses = {ref["name"] for ref in disks_of(self.rig.vm(vm)["spec"])}
                    assert vm in mounted or name not in uses

    def moments_are_kept(self) -> None:
        """A snapshot is whole or not there; a whole one is never made anew."""
        pool = self.host.pools[POOL]
        assert not [name for name in pool if name.endswith(".unfinished")]
        for name, plural in self.snapshots.items():
            document = self.rig.document(f"namespaces/default/{plural}/{name}.yaml")
            status = document["status"]
            assert status["phase"] in ("Ready", "Failed", "Pending"), status
            parts = status.get("virtualDiskSnapshotNames", [name])
            for part in parts if status["phase"] == "Ready" else ():
                path = f"namespaces/default/virtualdisksnapshots/{part}.yaml"
                volume = self.rig.document(path)["status"]["volumeSnapshotName"]
                if volume not in self.moments:
                    self.moments[volume] = pool[volume].content = f"moment of {volume}".encode()
                assert pool[volume].content == self.moments[volume], volume

    def trash_is_right(self) -> None:
        """What is not declared is kept by a machine, or in the trash with its uid."""
        if self.ledger_fault:
            self.untracked |= self.volumes.keys() - self.declared
        self.untracked -= self.declared
        entries = [path for path in self.rig.documents() if path.startswith("trash/")]
        held = {
            item.key.name
            for item in planned(self.rig).report.items
            if (item.key.kind, item.operation) == ("VirtualDisk", "held")
        }
        for name in self.volumes:
            if name in self.declared or name in self.untracked:
                continue
            disk, uid = name.removesuffix(".qcow2").split("_")[3:]
            entry = f"trash/namespaces/default/virtualdisks/{disk}.{uid}.yaml"
            terminating = f"namespaces/default/virtualdisks/{disk}.yaml"
            if entry in entries:
                continue
            assert terminating in self.rig.documents(), f"{name} is in no ledger"
            document = self.rig.document(terminating)
            if document["metadata"]["uid"] == uid and disk in held:
                continue
            assert (document["metadata"]["uid"], document["status"]["phase"]) == (
                uid,
                "Terminating",
            )
            users = [
                vm
                for vm in self.vms
                for ref in disks_of(self.rig.vm(vm)["spec"])
                if ref["name"] == disk
            ]
            users += self.host.referring(name)
            assert users, f"{name} is kept, and nobody refers to it"

    def identities_are_kept(self) -> None:
        found = {("vm", name): self.rig.vm(name)["metadata"]["uid"] for name in self.vms}
        for name in self.disks:
            path = f"namespaces/default/virtualdisks/{name}.yaml"
            found["disk", name] = self.rig.document(path)["metadata"]["uid"]
        for (kind, name), uid in found.items():
            old = self.uids.get((kind, name), uid)
            if kind == "disk":
                volume = f"default_disk_default_{name}_{old}.qcow2"
                known = volume in self.volumes and volume not in self.untracked
                known = known and not self.being_erased(name, old)
            else:
                known = name in self.there and None not in self.versions[name]
            assert old == uid or not known, (kind, name)
        self.uids |= found

    def being_erased(self, name: str, uid: str) -> bool:
        path = f"trash/namespaces/default/virtualdisks/{name}.{uid}.yaml"
        return path in self.rig.documents() and (
            self.rig.document(path)["status"]["phase"] == "Erasing"
        )

    # -- the rest -------------------------------------------------------------------------------

    def strangers_are_untouched(self) -> None:
        for uuid, raw in self.strange.items():
            assert self.host.read_domain(uuid) == raw
        for name, volume in STRANGE_VOLUMES.items():
            assert self.host.pools[POOL].get(name) is volume

    def plan_is_empty(self) -> None:
        """Neither the ledger nor the host shows anything to do, but for what waits."""
        for live in (False, True):
            items = planned(self.rig, live=live).report.items
            left = [
                (item.key, item.operation, item.actions, item.reason)
                for item in items
                if item.operation not in ("blocked", "held", "drift")
                and not self.goes_already(item.key)
            ]
            assert not left, (live, left)
            told = {item.key for item in items if item.drift}
            assert told == (self.drifting() if live else set())

    def drifting(self) -> set[Key]:
        """Machines whose status says that somebody changed them by hand."""
        return {
            Key("VirtualMachine", "default", name)
            for name in self.vms
            if condition(self.rig.vm(name), "DriftDetected")
        }

    def goes_already(self, key: Key) -> bool:
        """True for a disk that is deleted once nothing uses it."""
        path = f"namespaces/default/virtualdisks/{key.name}.yaml"
        return key.kind == "VirtualDisk" and (
            path in self.rig.documents()
            and self.rig.document(path)["status"]["phase"] == "Terminating"
        )
