"""What must hold of machines whenever the agents have had time to work undisturbed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from agent.core.host import RawDomain
from agent.core.quantity import to_bytes
from agent.kinds.virtual_machine_class.sizing import violations
from agent.kinds.virtual_machine_class.spec import SizingPolicy
from tests.product.property.fields import Document, accepted, annotations_of, disks_of, same
from tests.product.property.host import POOL
from tests.product.property.manifests import CONTENTS, DEFAULT, DRIFT, RESTARTS, VMS
from tests.product.property.shapes import Shape, shape, shape_of
from tests.product.property.story import Story
from tests.rig import condition

NET = "NetworkReady"
GENERIC: list[Document] = [
    {"cores": {"min": 1, "max": 4}, "coreFractions": [5, 10, 20, 50, 100]},
    {"cores": {"min": 5, "max": 8}, "coreFractions": [20, 50, 100]},
    {"cores": {"min": 9, "max": 16}, "coreFractions": [50, 100]},
    {"cores": {"min": 17, "max": 1024}, "coreFractions": [100]},
]


class MachineChecks(Story):
    def machines_are_right(self) -> None:
        for name in VMS:
            self.last_good_version_is_in_force(name)
            if name not in self.vms:
                self.machine_is_gone(name)
                continue
            self.machine_is_right(name)

    def last_good_version_is_in_force(self, name: str) -> None:
        """Of a manifest that does not hold any more, nobody knows which version was seen last."""
        if name not in self.bad:
            return
        there = f"namespaces/default/virtualmachines/{name}.yaml" in self.rig.documents()
        problems = self.leader().summary.problems
        assert any(
            each.file == f"vm-{name}.yaml" or each.resource.endswith(f"/{name}")
            for each in problems
        ), self.bad[name]
        candidates = [each for each in self.versions[name] if (each is not None) == there]
        fitting = [each for each in candidates if each is None or self.is_in_force(name, each)]
        assert fitting, f"{name} ({self.bad[name]}) is in no version that was ever pushed"
        found = fitting[-1]
        if found is None:
            self.vms.pop(name, None)
        else:
            self.vms[name] = found

    def is_in_force(self, name: str, wanted: Document) -> bool:
        document = self.rig.vm(name)
        metadata = document["metadata"]
        return (
            accepted(document["spec"], wanted["spec"])
            and metadata.get("labels", {}) == wanted["metadata"].get("labels", {})
            and annotations_of(document) == wanted["metadata"].get("annotations", {})
        )

    def machine_is_gone(self, name: str) -> None:
        assert self.raw(name) is None
        assert f"namespaces/default/virtualmachines/{name}.yaml" not in self.rig.documents()
        seeds = [each for each in self.host.pools[POOL] if "_seed_" in each]
        assert len(seeds) <= 2 * len(self.vms)

    def machine_is_right(self, name: str) -> None:
        document = self.rig.vm(name)
        assert self.is_in_force(name, self.vms[name]), (document["spec"], self.vms[name])
        ready = self.ready_is_right(name, document)
        self.power_is_right(name, document, ready=ready)
        raw = self.raw(name)
        if raw is None:
            return
        if ready:
            self.definition_is_right(name, document, raw)
        if raw.active:
            self.instance_is_right(name, document, raw, ready=ready)

    # -- what it needs --------------------------------------------------------------------------

    def ready_is_right(self, name: str, document: Document) -> bool:
        ready = self.is_ready(name)
        missing = list(self.missing(document["spec"]))
        if missing:
            assert not ready, missing
        elif not ready:
            assert self.shared(name, document["spec"]), document["status"]["conditions"]
        return ready

    def is_ready(self, name: str) -> bool:
        needed = ("VirtualMachineClass", "BlockDevices", "Provisioning", "SizingPolicyMatched", NET)
        found = self.rig.vm(name)["status"]["conditions"]
        return all(each["status"] == "True" for each in found if each["type"].startswith(needed))

    def missing(self, spec: Document) -> Iterator[str]:
        """What a machine needs and is not there."""
        name = spec["virtualMachineClassName"]
        if name == "nowhere" or (name == "sized" and name not in self.classes):
            yield f"class {name}"
        policies = GENERIC if name == "generic" else self.classes.get(name, [])
        cpu = spec["cpu"]
        if name != "nowhere" and violations(
            cast("list[SizingPolicy]", policies),
            cpu["cores"],
            cpu["coreFraction"],
            to_bytes(spec["memory"]["size"]),
        ):
            yield "a size that the class allows"
        for ref in spec["blockDeviceRefs"]:
            if ref["kind"] == "VirtualDisk":
                if ref["name"] not in self.disks:
                    yield f"disk {ref['name']}"
                elif self.disk_volume(ref["name"]) not in self.host.pools[POOL]:
                    assert ref["name"] == "three"
                    assert "base" not in self.images
                    yield f"the image of disk {ref['name']}"
            elif ref["name"] not in self.images:
                yield f"image {ref['name']}"
            elif ref["name"] != "cd" and not spec["enableParavirtualization"]:
                yield "a way to attach an image that is no CD-ROM"
        if any(
            each.get("name") == "nowhere" or "virtualMachineMACAddressName" in each
            for each in spec.get("networks", ())
        ):  # nobody has declared such an address
            yield "network nowhere"
        for source, secret in (("userDataRef", "init"), ("sysprepRef", "answers")):
            if source in spec.get("provisioning", {}) and self.secrets.get(secret) not in CONTENTS:
                yield f"Secret {secret}"

    def shared(self, name: str, spec: Document) -> bool:
        """True if another machine has a disk open, or is about to."""
        (other,) = set(VMS) - {name}
        if other not in self.vms:
            return False
        raw = self.raw(other)
        wanted = self.rig.vm(other)["spec"]
        mine = {self.volume_of(ref) for ref in disks_of(spec) if ref["name"] in self.disks}
        theirs = {self.volume_of(ref) for ref in disks_of(wanted) if ref["name"] in self.disks}
        saved = self.host.saved.get(self.uuid(other), "")
        for xml in (saved, raw.active_xml, raw.inactive_xml) if raw is not None else ():
            theirs |= {volume for volume, *_ in shape(xml).devices} if xml else set()
        phase = self.rig.vm(other)["status"]["phase"]
        return bool(mine & theirs) and (saved != "" or phase in ("Running", "Pause", "Starting"))

    # -- power ----------------------------------------------------------------------------------

    def power_is_right(self, name: str, document: Document, *, ready: bool) -> None:
        status, policy = document["status"], document["spec"]["runPolicy"]
        raw, on, was = self.raw(name), self.on(name), bool(self.before[name])
        events = self.events[name].keys()
        if raw is not None and raw.active:
            assert status["phase"] == ("Pause" if raw.state == "paused" else "Running")
            assert status["nodeName"] == self.host_of(name).name
        else:
            assert status["phase"] in ("Stopped", "Pending")
        if raw is not None and raw.managed_save:
            assert not ready or condition(document, "DriftDetected") != {}
        elif policy == "AlwaysOff":
            assert not on
        elif policy == "AlwaysOn":
            assert on or not ready
        elif not self.policies(name) - {policy} and not self.ledger_fault:
            ups = {"Start", "Restart", "virsh-start", "forgotten"}
            downs = {"Stop", "poweroff", "forgotten", "saved"}
            if policy != DEFAULT:
                downs |= {"crash", "signal", "destroy", "lost"}
            if was and ready and not downs & events:
                assert on
            if not was and not ups & events and status["phase"] == "Stopped":
                assert not on

    def policies(self, name: str) -> set[str]:
        """All that were in force in the window; `none` while there was no machine."""
        return {
            each["spec"].get("runPolicy", DEFAULT) if each else "none"
            for each in self.versions[name]
        }

    # -- what it is made of ---------------------------------------------------------------------

    def definition_is_right(self, name: str, document: Document, raw: RawDomain) -> None:
        spec = document["spec"]
        found = shape(raw.inactive_xml)
        wanted = shape_of(spec, self.volume_of, found.medium)
        if found != wanted:
            report_only = annotations_of(document).get(DRIFT) == "report"
            assert report_only, (found, wanted)
            assert name in self.edited
            assert condition(document, "DriftDetected")["status"] == "True"
            return
        self.edited.discard(name)
        self.medium_is_right(spec, found)
        memory = self.rig.memory(name)
        assert dict(memory.labels) == document["metadata"].get("labels", {})
        assert dict(memory.annotations) == annotations_of(document)
        assert memory.uid == document["metadata"]["uid"]
        assert memory.generation == document["metadata"]["generation"]

    def medium_is_right(self, spec: Document, found: Shape) -> None:
        provisioning = spec.get("provisioning")
        assert bool(found.medium) == bool(provisioning)
        if not provisioning:
            return
        content = self.host.pools[POOL][found.medium].content
        match provisioning["type"]:
            case "UserData":
                assert b"#cloud-config\n# own" in content
            case "UserDataRef":
                assert f"init {self.secrets['init']}".encode() in content
            case "SysprepRef":
                assert f"answers {self.secrets['answers']}".encode() in content

    def instance_is_right(
        self, name: str, document: Document, raw: RawDomain, *, ready: bool
    ) -> None:
        status, spec = document["status"], document["spec"]
        live = self.rig.memory(name, active=True)
        run = self.run(name)
        if run not in self.known and (self.events[name]["edited"] or name in self.edited):
            self.tainted.add(run)
        assert dict(live.labels) == document["metadata"].get("labels", {})
        assert dict(live.annotations) == annotations_of(document)
        told = {each["path"].partition(".")[0] for each in status.get("restartAwaitingChanges", ())}
        runs: Document = dict(live.spec)
        differing = {
            field
            for field in runs.keys() | spec.keys()
            if not same(runs.get(field), spec.get(field))
        }
        if "network nowhere" in self.missing(spec):
            differing.discard("networks")  # what cannot be had changes nothing
            told.discard("networks")
        if ready and "provisioning" in runs and "provisioning" in spec:  # sealed on both sides
            wanted = self.rig.memory(name).spec.get("provisioning")
            differing |= {"provisioning"} if runs["provisioning"] != wanted else set()
        assert told - {"provisioning"} == differing - {"provisioning"}, (told, differing)
        if ready:
            assert told == differing
        assert told <= RESTARTS
        assert bool(told) is bool(condition(document, "AwaitingRestartToApplyConfiguration"))
        assert status["resources"]["cpu"]["cores"] == runs["cpu"]["cores"] or run in self.tainted
        if run not in self.tainted and runs["virtualMachineClassName"] != "nowhere":
            self.instance_is_as_started(document, runs, shape(raw.active_xml))

    def instance_is_as_started(self, document: Document, runs: Document, found: Shape) -> None:
        """What runs is what the running side remembers to have been started with."""
        there = {
            f"{ref['kind']}/{ref['name']}": ref
            for ref in runs["blockDeviceRefs"]
            if ref["kind"] != "VirtualDisk" or ref["name"] in self.disks
        }
        if len(there) < len(runs["blockDeviceRefs"]):
            return  # volumes of disks that are gone have no name any more
        wanted = shape_of(runs, self.volume_of, found.medium)
        volumes = {volume for volume, *_ in found.devices}
        if volumes == {volume for volume, *_ in wanted.devices}:
            assert found == wanted, (found, wanted)
        attached = {
            each["name"]
            for each in document["status"].get("blockDeviceRefs", ())
            if each["attached"]
        }
        assert attached <= {ref["name"] for ref in runs["blockDeviceRefs"]}

    # -- what happened --------------------------------------------------------------------------

    def turns_were_asked_for(self, name: str) -> None:
        """No instance ends, and none is started, that nobody gave a reason for."""
        host, uuid = self.host_of(name), self.uuid(name)
        turns = [turn for turn in host.turns[self.turned[host.name] :] if turn.uuid == uuid]
        events, versions = self.events[name], self.versions[name]
        specs = [each["spec"] if each else None for each in versions]
        never = [spec is None or spec.get("runPolicy") == "AlwaysOff" for spec in specs]
        ends = events["Stop"] + events["Restart"] + events["reboot"] + sum(never)
        ends += sum(
            bool(spec)
            and (spec or {}).get("disruptions", {}).get("restartApprovalMode") == "Automatic"
            for spec in specs
        )
        ends += events["virsh-start"] * any(never)
        ended = [turn.instance for turn in turns if not turn.on]
        assert len(ended) <= ends, f"{name}: {ended} ended for {ends} reasons"
        downs = ("poweroff", "crash", "signal", "destroy", "lost", "forgotten")
        starts = len(ended) + events["Start"] + events["Restart"] + len(specs) - 1
        starts += sum(events[each] for each in downs)
        starts += name in self.due or self.ledger_fault or not self.there
        started = [turn.instance for turn in turns if turn.on]
        assert len(started) <= starts, f"{name}: {started} started for {starts} reasons"
        # an instance that ended before anybody had seen it leaves its name to the next one
        unseen = sum(events[each] for each in downs)
        for what in (started, ended):
            assert len(what) - len(set(what)) <= unseen, f"{name}: twice: {what}"

    def leader(self) -> Any:
        (only,) = self.world.leaders()
        return only
