"""What people push."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from tests.product.property.fields import Document
from tests.product.property.manifests import (
    BAD,
    CONTENTS,
    DISKS,
    FIELDS,
    POLICIES,
    SIZES,
    SLIPS,
    URLS,
    VMS,
    a_disk,
    image,
    labels,
    machines,
    names,
    notes,
    of,
    secret,
    vm_class,
    with_spec,
)
from tests.product.property.story import DAY, Story
from tests.rig import MAIN, OPERATIONS, STATUS, manifest, operation

MOST_ABSENT_DISKS = 2
"""More at once would have to be confirmed."""
COMMON = ("cpu", "memory", "blockDeviceRefs", "provisioning", "disruptions")


class GitRules(Story):
    @precondition(lambda self: self.vms)
    @rule(
        data=st.data(),
        what=st.sampled_from(
            ("field", "field", "field", "policy", "words", "take back", "spoil", "slip", "remove")
        ),
    )
    def change_a_machine(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.vms)))
        old = self.vms[name]
        match what:
            case "field":
                field = data.draw(st.sampled_from((*FIELDS, *COMMON)))
                self.change(name, **{field: data.draw(of(name, field))})
            case "policy":
                self.change(name, runPolicy=data.draw(st.sampled_from(POLICIES)))
            case "words":
                metadata = {"labels": data.draw(labels), "annotations": data.draw(notes)}
                self.declare_machine(name, {**old, "metadata": {"name": name, **metadata}})
            case "take back":
                self.take_the_last_change_back(name)
            case "spoil":
                self.spoil(name, data.draw(st.sampled_from(sorted(BAD))))
            case "slip":
                self.spoil(name, data.draw(st.sampled_from(sorted(SLIPS))))
            case "remove":
                self.remove(name)

    @rule(
        of=st.sampled_from((*VMS, *DISKS)),
        required=st.booleans(),
        remove=st.sampled_from((False, False, True)),
    )
    def keep_a_moment(self, of: str, required: bool, remove: bool) -> None:
        if remove or len(self.snapshots) >= MOST_ABSENT_DISKS:
            gone = next(iter(self.snapshots), "")
            self.snapshots.pop(gone, None)
            self.world.push({f"{gone}.yaml": None} if gone else {}, MAIN)
            return
        self.snapped += 1
        name = f"snap-{self.snapped}"
        kind, field = (
            ("VirtualMachineSnapshot", "virtualMachineName")
            if of in VMS
            else ("VirtualDiskSnapshot", "virtualDiskName")
        )
        self.snapshots[name] = f"{kind.lower()}s"
        spec = {field: of, "requiredConsistency": required}
        self.world.push({f"{name}.yaml": manifest(kind, name, spec)}, MAIN)

    def spoil(self, name: str, how: str) -> None:
        """A machine that nobody knows yet would hold the other one, which may be its former name."""
        if f"namespaces/default/virtualmachines/{name}.yaml" in self.rig.documents():
            self.bad[name] = how
            self.push({f"vm-{name}.yaml": {**BAD, **SLIPS}[how](self.vms[name])})

    def change(self, name: str, **fields: Any) -> None:
        old = self.vms[name]
        self.declare_machine(name, with_spec(old, {**old["spec"], **fields}))

    def take_the_last_change_back(self, name: str) -> None:
        earlier = [each for each in self.versions[name] if each is not None]
        if len(earlier) > 1:
            self.declare_machine(name, earlier[-2])

    def remove(self, name: str) -> None:
        if len(self.vms) < len(VMS):
            return
        del self.vms[name]
        self.bad.pop(name, None)
        self.push({f"vm-{name}.yaml": None})
        self.versions[name].append(None)

    @rule(data=st.data(), name=names)
    def declare(self, data: st.DataObject, name: str) -> None:
        self.declare_machine(name, data.draw(machines(name)))

    # -- what machines refer to -----------------------------------------------------------------

    @rule(
        data=st.data(),
        what=st.sampled_from(("image", "secret", "class", "immutable", "broken file")),
    )
    def change_what_is_referred_to(self, data: st.DataObject, what: str) -> None:
        match what:
            case "image":
                self.change_image(
                    data.draw(st.sampled_from(sorted(URLS))), data.draw(st.booleans())
                )
            case "secret":
                contents = (*CONTENTS, *CONTENTS, "wrong type", "wrong key", None)
                name = data.draw(st.sampled_from(("init", "answers")))
                self.change_secret(name, data.draw(st.sampled_from(contents)))
            case "class":
                self.change_class(data.draw(st.none() | st.sampled_from(SIZES)))
            case "immutable":
                self.spoil_class(data.draw(st.booleans()))
            case "broken file":  # nothing is deleted until `heal` mends it
                self.push({"broken.yaml": "a: [\n"})

    def change_image(self, name: str, there: bool) -> None:
        (self.images.add if there else self.images.discard)(name)
        self.push({f"image-{name}.yaml": image(name) if there else None})

    def change_secret(self, name: str, content: str | None) -> None:
        self.secrets.pop(name, None)
        if content is not None:
            self.secrets[name] = content
        self.push({f"secret-{name}.yaml": secret(name, content) if content else None})

    def change_class(self, policies: list[Document] | None) -> None:
        """Its sizes; without any the class itself is removed."""
        self.classes.pop("sized", None)
        if policies is not None:
            self.classes["sized"] = policies
        made = vm_class("sized", policies) if policies is not None else None
        self.push({"class-sized.yaml": made})

    def spoil_class(self, spoilt: bool) -> None:
        """A class's CPU cannot be changed, as long as a ledger knows the class."""
        cpu = {"type": "Model", "model": "Nehalem"} if spoilt and not self.ledger_fault else None
        self.push({"class-featured.yaml": vm_class("featured", [], cpu)})

    # -- disks ----------------------------------------------------------------------------------

    @rule(name=st.sampled_from(DISKS), size=st.sampled_from(("1Gi", "2Gi", "3Gi", None, None)))
    def change_a_disk(self, name: str, size: str | None) -> None:
        if size is None:
            self.remove_disk(name)
        else:
            self.declare_disk(name, size)

    def declare_disk(self, name: str, size: str) -> None:
        self.disks[name] = size
        self.push({f"disk-{name}.yaml": a_disk(name, size)})

    def remove_disk(self, name: str) -> None:
        if name not in self.disks or len(self.disks) <= len(DISKS) - MOST_ABSENT_DISKS:
            return
        del self.disks[name]
        mine = {each for each in self.declared if f"_default_{name}_" in each}
        if mine or name not in self.gone_at:  # else nobody may ever have seen it come back
            self.gone_at[name] = self.world.now
        self.declared -= mine
        self.push({f"disk-{name}.yaml": None})

    @rule(
        name=st.sampled_from(("spare", *DISKS)),
        days=st.sampled_from((0, 3, 6, 6.99, 7, 7, 8)),
        passes=st.integers(0, 8),
        back=st.booleans(),
    )
    def disk_in_the_trash(self, name: str, days: float, passes: int, back: bool) -> None:
        """It comes back before its time is over, just then, while it is being erased, or later."""
        self.remove_disk(name)
        self.everybody_works(6)
        self.world.pass_time(days * DAY)
        self.everybody_works(passes)
        if back:
            self.declare_disk(name, "1Gi")
            self.everybody_works(passes)

    def everybody_works(self, passes: int) -> None:
        for seat in self.world.seats:
            if seat.works:
                self.world.look(seat)
        for _ in range(passes):
            for seat in self.world.seats:
                self.world.work(seat)

    # -- operations -----------------------------------------------------------------------------

    @rule(
        name=names,
        kind=st.sampled_from(("Start", "Stop", "Restart", "Restart")),
        force=st.booleans(),
    )
    def ask(self, name: str, kind: str, force: bool) -> None:
        self.asked += 1
        more = {"force": True} if force and kind != "Start" else {}
        self.ask_for(operation(f"op-{self.asked}", name, kind, **more))

    @precondition(lambda self: self.operations)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        op = data.draw(st.sampled_from(sorted(self.operations)))
        name = self.operations.pop(op)["spec"]["virtualMachineName"]
        self.push({f"{op}.yaml": None}, OPERATIONS)
        self.note(name, "withdrawn")

    # -- the ledger -----------------------------------------------------------------------------

    @precondition(lambda self: self.tips and not self.forgetful)
    @rule(data=st.data(), lost=st.booleans())
    def ledger_is_lost_or_rolled_back(self, data: st.DataObject, lost: bool) -> None:
        self.spoil_class(False)
        self.ledger_fault = True
        for (
            op,
            document,
        ) in self.operations.items():  # one that failed is a new one to an old ledger
            if self.phase_of(op) != "Completed":
                self.note(document["spec"]["virtualMachineName"], document["spec"]["type"])
        if lost:
            self.repo.refs.pop(STATUS, None)
        else:
            self.repo.refs[STATUS] = data.draw(st.sampled_from(self.tips))

    def phase_of(self, op: str) -> str:
        path = f"namespaces/default/virtualmachineoperations/{op}.yaml"
        found = self.rig.documents()
        return str(self.rig.vmop(op).get("status", {}).get("phase", "")) if path in found else ""
