"""Manifests to push: machines with every field, what they refer to, and manifests that do not hold."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import hypothesis.strategies as st

from tests.product.test_fields import CASES, CLOUD_INIT, SYSPREP, UNSUPPORTED
from tests.rig import disk, encoded, manifest

VMS = ("a", "b")
DISKS = ("one", "two", "three", "spare")
"""The last one is attached to nothing most of the time."""
DEFAULT = "AlwaysOnUnlessStoppedManually"
POLICIES = (DEFAULT, DEFAULT, "AlwaysOn", "Manual", "AlwaysOff")
DRIFT = "gitvirt.io/drift"

Spec = dict[str, Any]


def ref(name: str, kind: str = "VirtualDisk", **more: int) -> dict[str, Any]:
    return {"kind": kind, "name": name, **more}


CD = ref("cd", "VirtualImage")
SHARED = ref("shared", "ClusterVirtualImage")
REFS: dict[str, tuple[list[dict[str, Any]], ...]] = {
    "a": (
        [ref("one")],
        [ref("one")],
        [ref("one"), ref("three")],
        [ref("three"), ref("one")],
        [ref("one", bootOrder=2), ref("three", bootOrder=1)],
        [ref("one"), CD],
        [CD, ref("one")],
        [ref("one"), ref("cd", "VirtualImage", bootOrder=1)],
        [ref("one"), SHARED],
        [ref("one"), ref("two")],
        [ref("one"), ref("spare")],
        [ref("two")],
    ),
    "b": (
        [ref("two")],
        [ref("two")],
        [ref("two"), CD],
        [ref("two", bootOrder=1), SHARED],
        [ref("three")],
        [ref("three"), ref("two")],
        [ref("one"), ref("two")],
    ),
}
"""Which devices a machine has: mostly its own."""

ABSENT = st.none()
USER_DATA = [{"type": "UserData", "userData": f"#cloud-config\n# own {n}\n"} for n in (1, 2)]
PROVISIONING = (*USER_DATA, CASES["provisioning.userDataRef"].after["provisioning"],
                CASES["provisioning.sysprepRef"].before["provisioning"])  # fmt: skip

MAIN = {"type": "Main"}
LAN, OFFICE = ({"type": "Network", "name": name} for name in ("lan", "office"))
CONNECTED = (
    *([MAIN], [MAIN, LAN], [MAIN, LAN], [MAIN, OFFICE, LAN], [MAIN, {**LAN, "id": 9}], [LAN]),
    *([{**MAIN, "virtualMachineMACAddressName": "mine"}], [MAIN, {**LAN, "name": "nowhere"}]),
)

_OS = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
WISHES: dict[str, Any] = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [_OS]}]
            }
        }
    },
    "tolerations": [{"key": "other", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"tier": "x"}},
        }
    ],
    "priorityClassName": "production-high",
}
"""What every node fulfils."""

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "virtualMachineClassName": st.sampled_from(
        ("host", "host", "host", "kept", "generic", "sized", "featured", "nowhere")
    ),
    "runPolicy": st.sampled_from((*POLICIES, None)),
    "cpu": st.builds(
        lambda cores, fraction: {
            "cores": cores,
            **({"coreFraction": fraction} if fraction else {}),
        },
        st.sampled_from((1, 2, 3, 5, 18)),
        st.sampled_from((None, None, "20%", "50%", "100%", "Auto")),
    ),
    "memory": st.builds(
        lambda size: {"size": size}, st.sampled_from(("256Mi", "512Mi", "1Gi", "1024Mi", "1000M"))
    ),
    "blockDeviceRefs": ABSENT,  # depends on the machine
    "provisioning": ABSENT | ABSENT | st.sampled_from(PROVISIONING),
    "disruptions": st.sampled_from(
        (None, {}, {"restartApprovalMode": "Manual"}, {"restartApprovalMode": "Automatic"})
    ),
    "terminationGracePeriodSeconds": st.sampled_from((None, 0, 10, 60)),
    "liveMigrationPolicy": st.sampled_from((None, "AlwaysSafe", "PreferForced")),
    "bootloader": st.sampled_from((None, None, "BIOS", "EFI", "EFIWithSecureBoot")),
    "osType": st.sampled_from((None, None, "Generic", "Windows", "Legacy")),
    "enableParavirtualization": st.sampled_from((None, None, True, False)),
    **{name: ABSENT | ABSENT | st.just(CASES[name].after[name]) for name in UNSUPPORTED},
    **{name: ABSENT | st.just(wish) for name, wish in WISHES.items()},
    "virtualMachineIPAddressName": ABSENT,
    "networks": ABSENT | ABSENT | st.sampled_from(CONNECTED),
}
"""Every field of a machine's spec; None leaves it out."""

RESTARTS = frozenset(
    ("networks", *(name.partition(".")[0] for name, case in CASES.items() if case.changes))
)
"""Fields of which a change may wait for a restart."""

names = st.sampled_from(VMS)
labels = st.dictionaries(st.sampled_from(("tier", "team")), st.sampled_from(("x", "y")))
notes = st.builds(
    lambda words, report: words | ({DRIFT: "report"} if report else {}),
    labels,
    st.sampled_from((False, False, False, False, True)),
)


def of(name: str, field: str) -> st.SearchStrategy[Any]:
    """Values of one field of one machine."""
    return st.sampled_from(REFS[name]) if field == "blockDeviceRefs" else FIELDS[field]


@st.composite
def machines(draw: st.DrawFn, name: str) -> dict[str, Any]:
    spec = {field: draw(of(name, field)) for field in FIELDS}
    metadata = {"labels": draw(labels), "annotations": draw(notes)}
    return with_spec(manifest("VirtualMachine", name, {}, **metadata), spec)


def with_spec(document: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with these fields, made to hold: Legacy goes with little."""
    spec = {name: value for name, value in spec.items() if value is not None}
    if spec.get("osType") == "Legacy":
        spec = {name: spec[name] for name in spec if name not in ("bootloader", "provisioning")}
    return {**document, "spec": spec}


# -- what machines refer to -------------------------------------------------------------------

KEPT = manifest("VirtualMachineClass", "kept", {"cpu": {"type": "Host"}})
"""Stays for ever, so that the repository never looks emptied by accident."""
SIZES: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"cores": {"min": 1, "max": 2}}, {"cores": {"min": 3, "max": 8}}],
    [{"cores": {"min": 1, "max": 3}, "coreFractions": [20, 50], "defaultCoreFraction": 50}],
    [{"cores": {"min": 1, "max": 32}, "memory": {"min": "500Mi", "max": "2Gi"}}],
    [{"cores": {"min": 1, "max": 32, "step": 1}, "memory": {"step": "256Mi", "min": "256Mi", "max": "1Gi"}}],
    [{"cores": {"min": 1, "max": 4}, "memory": {"perCore": {"min": "128Mi", "max": "512Mi"}}}],
)  # fmt: skip
CPUS = {
    "sized": {"type": "Model", "model": "Westmere"},
    "featured": {"type": "Features", "features": ["vmx", "aes"]},
    "nowhere": {"type": "Model", "model": "EPYC-of-tomorrow"},
}
"""The last one is a CPU that the host does not have."""


def vm_class(name: str, policies: list[dict[str, Any]], cpu: Any = None) -> dict[str, Any]:
    spec = {"cpu": cpu or CPUS[name], **({"sizingPolicies": policies} if policies else {})}
    return manifest("VirtualMachineClass", name, spec)


SECRET_TYPES = {"init": CLOUD_INIT, "answers": SYSPREP}
SECRET_KEYS = {"init": "userData", "answers": "unattend.xml"}
CONTENTS = ("first text", "second text", "third text")


def secret(name: str, content: str) -> dict[str, Any]:
    """Content `wrong type` and `wrong key` make one that no machine can use."""
    key = "other" if content == "wrong key" else SECRET_KEYS[name]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque" if content == "wrong type" else SECRET_TYPES[name],
        "data": {key: base64.b64encode(f"{name} {content}".encode()).decode()},
    }


URLS = {
    "base": "http://images.test/base.qcow2",
    "shared": "http://images.test/other.qcow2",
    "cd": "http://images.test/cd.iso",
    "again": "http://images.test/base.qcow2",
}
"""Where each image's data comes from in the end: `again` is made from `base`, and shares its data."""


def image(name: str) -> dict[str, Any]:
    if name == "again":
        base = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "base"}}
        return manifest("VirtualImage", name, {"dataSource": base})
    source = {"dataSource": {"type": "HTTP", "http": {"url": URLS[name]}}}
    if name == "shared":
        return manifest("ClusterVirtualImage", name, source)
    return manifest("VirtualImage", name, {**source, "storage": "ContainerRegistry"})


def a_disk(name: str, size: str) -> dict[str, Any]:
    """`three` is made from an image."""
    found = disk(name, size)
    if name == "three":
        source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "base"}}
        found["spec"]["dataSource"] = source
    return found


# -- manifests that do not hold ---------------------------------------------------------------


def _changed(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    def change(good: dict[str, Any]) -> Any:
        return {**good, "spec": {**good["spec"], **fields}}

    return change


def _without(field: str) -> Callable[[dict[str, Any]], Any]:
    def change(good: dict[str, Any]) -> Any:
        spec = {name: value for name, value in good["spec"].items() if name != field}
        return {**good, "spec": spec}

    return change


BAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "odd cores": _changed(cpu={"cores": 19}),
    "cores in words": _changed(cpu={"cores": "two"}),
    "no memory": _without("memory"),
    "no processor": _without("cpu"),
    "less than no memory": _changed(memory={"size": "-1Gi"}),
    "unknown field": _changed(color="red"),
    "unknown policy": _changed(runPolicy="Sometimes"),
    "no device": _changed(blockDeviceRefs=[]),
    "a device twice": _changed(blockDeviceRefs=[ref("one"), ref("one")]),
    "a place twice": _changed(blockDeviceRefs=[ref("one", bootOrder=1), ref("two", bootOrder=1)]),
    "two sources": _changed(provisioning={**USER_DATA[0], "sysprepRef": {"name": "answers"}}),
    "long user data": _changed(provisioning={"type": "UserData", "userData": "x" * 2049}),
    "legacy with EFI": _changed(osType="Legacy", bootloader="EFI"),
    "a bad label": lambda good: {**good, "metadata": {**good["metadata"], "labels": {"a": "b c"}}},
    "twice": lambda good: [good, {**good, "spec": {**good["spec"], "runPolicy": "AlwaysOff"}}],
}
"""From a manifest that holds to one that does not."""


def _text(good: dict[str, Any]) -> str:
    return (encoded(good) or b"").decode()


STRANGER = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {}}
SLIPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a letter in the group": lambda good: _text(good).replace("virtualiz", "virtualis", 1),
    "no version": lambda good: _text(good).replace("/v1alpha2", "", 1),
    "no group": lambda good: {**good, "apiVersion": "v1"},
    "a space": lambda good: _text(good).replace("/v1alpha2", " /v1alpha2", 1),
    "another API": lambda good: {**good, "apiVersion": "kubevirt.io/v1"},
    "no API": lambda good: {name: good[name] for name in good if name != "apiVersion"},
    "a short kind": lambda good: {**good, "kind": "VM"},
    "another kind": lambda good: {**good, "kind": "VirtualDisk"},
    "no kind": lambda good: {name: good[name] for name in good if name != "kind"},
    "an item": lambda good: {"apiVersion": "v1", "kind": "List", "item": [good]},
    "no list": lambda good: {"apiVersion": "v1", "kind": "Lst", "items": [good]},
    "below a key": lambda good: {"machine": good},
    "in a list": lambda good: encoded([[good]]),
    "no line between": lambda good: _text(good) + _text(STRANGER),
    "swallowed": lambda good: _text(STRANGER) + _text(good),
    "a marker": _changed(provisioning={"type": "UserData", "userData": "(sensitive)"}),
}
"""From a manifest that holds to what a slip of the pen makes of it."""
