"""One slip of the pen in a repository of several objects deletes none of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.core.acceptance import deletion_set, meant_in, prune
from agent.core.assembly import assemble
from agent.core.ledger import Record
from agent.core.manifests import FileResult, is_json, read_file
from agent.core.model import Desired, Key, Manifest, Object
from agent.core.schema import Catalogue
from agent.kinds.registry import CHECKS

CATALOGUE = Catalogue.load()

TWO = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata:
  name: web
  namespace: lab
  labels:
    app: web
spec:
  virtualMachineClassName: host
  cpu:
    cores: 2
  memory:
    size: 2Gi
  provisioning:
    type: UserData
    userData: |
      #cloud-config
      users:
        - name: user
  blockDeviceRefs:
    - kind: VirtualDisk
      name: web-root
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata:
  name: web-root
  namespace: lab
spec:
  persistentVolumeClaim:
    size: 1Gi
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata:
  namespace: lab
  name: db
spec:
  virtualMachineClassName: host
  cpu: {cores: 1}
  memory: {size: 1Gi}
  blockDeviceRefs: [{kind: VirtualDisk, name: db-root}]
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata:
  name: ci
spec:
  virtualMachineClassName: host
  cpu:
    cores: 1
  memory:
    size: 1Gi
  blockDeviceRefs:
    - kind: VirtualDisk
      name: ci-root
  provisioning:
    type: UserData
    userData: |
      #cloud-config
"""
LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualDisk
  metadata:
    name: db-root
    namespace: lab
  spec:
    persistentVolumeClaim:
      size: 1Gi
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: db-root
  data: {}
- apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualMachine
  metadata:
    name: listed
  spec:
    virtualMachineClassName: host
    cpu:
      cores: 1
    memory:
      size: 1Gi
    blockDeviceRefs:
    - kind: VirtualDisk
      name: db-root
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: init\nstringData:\n  userData: x\n"
CLASS = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachineClass
metadata:
  name: kept
spec:
  cpu:
    type: Host
"""
CONFIG = """\
apiVersion: deckhouse.io/v1alpha1
kind: ModuleConfig
metadata:
  name: virtualization
spec:
  version: 1
  enabled: true
  settings: {}
"""
WHOLE = yaml.safe_load(LIST)
FILES = {
    "class.yaml": CLASS,
    "config.yaml": CONFIG,
    "disk.json": json.dumps(WHOLE["items"][0], indent=2).replace("db-root", "json"),
    "list.yaml": LIST,
    "secret.yaml": SECRET,
    "two.yaml": TWO,
}


def read(path: str, text: str) -> FileResult:
    data = text.encode(errors="surrogatepass")
    return read_file(CATALOGUE, CHECKS, data, json=is_json(path))


RESULTS = {path: read(path, text) for path, text in FILES.items()}
BEFORE = assemble("before", RESULTS.items())


def after(path: str, text: str) -> Desired:
    return assemble("after", ({**RESULTS, path: read(path, text)}).items())


def renamed(key: Key, new: Mapping[Key, object]) -> bool:
    """True for an object that has another name, or another namespace, now."""
    return any(
        each.kind == key.kind and (each.name == key.name or each.namespace == key.namespace)
        for each in new.keys() - BEFORE.manifests.keys()
    )


def lost(path: str, text: str) -> list[Key]:
    """Objects that this text would delete although nobody can have meant it."""
    wanted = after(path, text)
    return [
        key
        for key in BEFORE.manifests.keys() - wanted.manifests.keys() - wanted.invalid
        if not (
            wanted.broken
            or meant_in(wanted, key, BEFORE.manifests)
            or renamed(key, wanted.manifests)
        )
    ]


def test_the_repository_holds() -> None:
    assert BEFORE.problems == ()
    assert len(BEFORE.manifests) == 10
    assert not any(map(BEFORE.meant_in, BEFORE.manifests))


PATHS = st.sampled_from(sorted(FILES))
LETTERS = st.sampled_from("aZ09 \t\n#-:.,/'\"[]{}|>&*!%@`?~\\_=\x85\u2028é")


@given(PATHS, st.data(), st.sampled_from(("insert", "delete", "replace", "swap")), LETTERS)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_one_letter(path: str, data: st.DataObject, what: str, letter: str) -> None:
    text = FILES[path]
    at = data.draw(st.integers(0, len(text) - 2), "at")
    changed = {
        "insert": text[:at] + letter + text[at:],
        "delete": text[:at] + text[at + 1 :],
        "replace": text[:at] + letter + text[at + 1 :],
        "swap": text[:at] + text[at + 1] + text[at] + text[at + 2 :],
    }[what]
    assert lost(path, changed) == []


@given(PATHS, st.data(), st.sampled_from(("gone", "comment", "twice", "key", "upper", "value")))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_one_line(path: str, data: st.DataObject, what: str) -> None:
    lines = FILES[path].splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1), "at")
    line = lines[at]
    lines[at] = {
        "gone": "",
        "comment": f"#{line}",
        "twice": line * 2,
        "key": re.sub(r"[\w-]+(?=\"?:)", "other", line, count=1),
        "upper": re.sub(r"[\w-]+(?=\"?:)", lambda word: word[0].title(), line, count=1),
        "value": re.sub(r":.*", ":", line),
    }[what]
    assert lost(path, "".join(lines)) == []


@given(PATHS, st.data(), st.sampled_from((-4, -2, -1, 1, 2, 4, 6, 8)))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_one_block_at_another_depth(path: str, data: st.DataObject, by: int) -> None:
    """Any lines in a row, as an editor moves what is selected."""
    lines = FILES[path].splitlines(keepends=True)
    first = data.draw(st.integers(0, len(lines) - 1), "first")
    last = data.draw(st.integers(first, len(lines) - 1), "last")
    for at in range(first, last + 1):
        line = lines[at]
        cut = min(-by, len(line) - len(line.lstrip(" "))) if by < 0 else 0
        lines[at] = line[cut:] if by < 0 else " " * by + line
    assert lost(path, "".join(lines)) == []


@given(PATHS, st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_an_end_that_is_cut_off(path: str, data: st.DataObject) -> None:
    """Within a document: where one ends, nobody can tell that another came."""
    text = FILES[path]
    at = data.draw(st.integers(1, len(text) - 1), "at")
    assume("name" not in text[:at].splitlines()[-1])
    start = max(text.rfind("\n---\n", 0, at), text.rfind("\n- apiVersion", 0, at)) + 1
    assume(text[start:at].strip("- \n"))
    (name,) = re.findall(r"\n +\"?name\"?: ([\w\"-]+)", text[start:])[:1]
    assert [key for key in lost(path, text[:at]) if key.name == name.strip('"')] == []


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("config.yaml", "kind: ModuleConfig", "kind: !ModuleConfig"),
        ("config.yaml", "name: virtualization", "name: !virtualization"),
        ("secret.yaml", "kind: Secret", "kind: !Secret"),
        ("two.yaml", "web-root\n  namespace", "web-roo\nt  namespace"),
        ("two.yaml", "lab\n  name: db", "la\nb  name: db"),
    ],
)
def test_one_letter_that_was_hard_to_see(path: str, old: str, new: str) -> None:
    assert old in FILES[path]
    changed = FILES[path].replace(old, new, 1) if path != "two.yaml" else moved(old, new)
    assert lost(path, changed) == []


def moved(old: str, new: str) -> str:
    """The last place counts: names stand in references, too."""
    head, _, tail = TWO.rpartition(old)
    return f"{head}{new}{tail}"


# -- slips by name ----------------------------------------------------------------------------

OWN = "virtualization.deckhouse.io/v1alpha2"
WEB = Key("VirtualMachine", "lab", "web")
ONE = TWO[: TWO.index("---\n")]
EVERYTHING = (Key("VirtualMachine", "lab", "other"), Key("Secret", "default", "init"))


def seen(text: str, path: str = "a.yaml") -> Desired:
    return assemble("0" * 40, [(path, read(path, text)), ("b.yaml", read("b.yaml", CLASS))])


@pytest.mark.parametrize(
    ("old", "new", "at", "meant"),
    [
        (OWN, "virtualisation.deckhouse.io/v1alpha2", "apiVersion", OWN),
        (OWN, "virtualization.deckhouse.io", "apiVersion", OWN),
        (OWN, "v1", "apiVersion", OWN),
        (OWN, "virtualization.deckhouse.io /v1alpha2", "apiVersion", OWN),
        (OWN, "Virtualization.deckhouse.io/v1alpha2", "apiVersion", OWN),
        (OWN, ".virtualization.deckhouse.io/v1alpha2", "apiVersion", OWN),
        (OWN, "virtualization.deckhouse.io/v1alpha2/", "apiVersion", OWN),
        (OWN, "virtualization-deckhouse.io/v1alpha2", "apiVersion", OWN),
        (OWN, "deckhouse.io/v1alpha2", "apiVersion", OWN),
        (OWN, "virtualization/v1alpha2", "apiVersion", OWN),
        (OWN, "v1alpha2", "apiVersion", OWN),
        (OWN, "virtualization.deckhouse.io/v1beta9", "apiVersion", OWN),
        (OWN, "", "apiVersion", OWN),
        ("kind: VirtualMachine", "kind: VM", "kind", "did you mean VirtualMachine?"),
        ("kind: VirtualMachine", "kind: vm", "kind", "did you mean VirtualMachine?"),
        ("kind: VirtualMachine", "kind: virtualmachines", "kind", "did you mean VirtualMachine?"),
        ("kind: VirtualMachine", "kind: VirtualMachin", "kind", "did you mean VirtualMachine?"),
        ("kind: VirtualMachine", "kind: VirtualMachineIPAdress", "kind", "did you mean VirtualMachineIPAddress?"),
        ("kind: VirtualMachine", "kind: Spaceship", "kind", "known are ClusterVirtualImage"),
        ("kind: VirtualMachine", "kind: [VirtualMachine]", "kind", "must name a kind"),
        ("kind: VirtualMachine\n", "", "kind", "must name a kind"),
        ("kind: VirtualMachine", "kind: !VirtualMachine", "kind", "must not have a tag"),
        ("kind: VirtualMachine", "kind: VirtualDisk", "spec", "is no known field"),
        (f"apiVersion: {OWN}\nkind: VirtualMachine\n", "", "kind", "must name a kind"),
        ("metadata:", "metdata:", "metadata", "required"),
        ("  name: web\n", "  nam: web\n", "metadata.name", "required"),
        ("  name: web\n", "  name: Web\n", "metadata.name", "lower-case"),
        ("  namespace: lab\n", "  namspace: lab\n", "metadata.namspace", "did you mean namespace?"),
        ("  namespace: lab\n", "  name: lab\n", "metadata.name", "twice"),
        ("spec:\n", "", "metadata", "is no known field"),
    ],
)  # fmt: skip
def test_a_slip_in_the_head_is_a_problem_and_holds_the_object(
    old: str, new: str, at: str, meant: str
) -> None:
    wanted = seen(ONE.replace(old, new, 1))
    assert WEB not in wanted.manifests
    assert WEB in wanted.invalid or meant_in(wanted, WEB, {WEB})
    assert wanted.complete
    assert any(each.path.startswith(at) and meant in each.message for each in wanted.problems)
    assert not any(wanted.meant_in(key) for key in EVERYTHING if key.kind != WEB.kind)


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
        ("v1", "Namespace"),
        ("v1", "Pod"),
        ("v1", "PersistentVolumeClaim"),
        ("batch/v1", "CronJob"),
        ("policy/v1", "PodDisruptionBudget"),
        ("storage.k8s.io/v1", "CSINode"),
        ("node.k8s.io/v1", "RuntimeClass"),
        ("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass"),
        ("networking.k8s.io/v1", "Ingress"),
        ("deckhouse.io/v1", "NodeGroup"),
        ("deckhouse.io/v1alpha1", "ModuleSource"),
        ("network.deckhouse.io/v1alpha1", "ClusterNetwork"),
        ("sdn.deckhouse.io/v1alpha1", "ClusterNetwork"),
        ("internal.virtualization.deckhouse.io/v1", "InternalVirtualizationVirtualMachine"),
        ("kubevirt.io/v1", "VirtualMachineInstance"),
        ("cdi.kubevirt.io/v1beta1", "DataVolume"),
        ("external-secrets.io/v1", "ExternalSecret"),
        ("virtualization.kubesphere.io/v1alpha1", "DiskVolume"),
        (OWN, "VirtualMachineRestore"),
        (OWN, "VirtualMachinePool"),
    ],
)
def test_what_is_clearly_another_kind_is_a_note_and_holds_nothing(version: str, kind: str) -> None:
    wanted = seen(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web, namespace: lab}}\n")
    assert wanted.problems == ()
    assert len(wanted.ignored) == 1
    assert wanted.meant == {}
    assert wanted.complete


@pytest.mark.parametrize("version", ["kubevirt.io/v1", "vmoperator.vmware.com/v1alpha3"])
def test_another_apis_machine_is_a_note_and_holds_the_one_of_its_name(version: str) -> None:
    wanted = seen(ONE.replace(OWN, version))
    assert wanted.problems == ()
    assert "API group" in wanted.ignored[0].message
    assert wanted.meant_in(WEB) == "a.yaml:1"
    for other in (WEB._replace(name="db"), WEB._replace(kind="VirtualDisk")):
        assert wanted.meant_in(other) == ""


def test_an_encrypted_secret_holds_the_secret_of_its_name() -> None:
    text = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: init}\n"
    wanted = seen(text)
    assert wanted.problems == ()
    assert wanted.meant_in(Key("Secret", "default", "init"))
    assert not wanted.meant_in(Key("VirtualDisk", "default", "init"))


def test_two_documents_in_one_map_are_told_and_both_hold() -> None:
    wanted = seen(TWO.replace("---\n", "", 1))
    assert wanted.invalid == {WEB}
    assert "put back the line `---` before that" in wanted.problems[0].message
    joined = seen(TWO.replace("---\n", ""))
    for name, kind in (
        ("web", "VirtualMachine"),
        ("web-root", "VirtualDisk"),
        ("db", "VirtualMachine"),
    ):
        assert meant_in(joined, Key(kind, "lab", name), BEFORE.manifests)
    assert joined.meant_in(Key("VirtualMachine", "default", "ci"))


def test_a_document_that_another_kinds_one_has_swallowed_is_a_problem() -> None:
    """A Deployment alone is a note, whatever stands in it twice."""
    start = TWO.index("apiVersion: apps")
    wanted = seen(TWO[start:].replace("---\n", "", 1))
    assert "twice" in wanted.problems[0].message
    assert wanted.meant_in(Key("VirtualDisk", "lab", "web-root"))


@pytest.mark.parametrize(
    ("text", "at", "holds"),
    [
        (LIST.replace("items:", "item:"), "items", "listed"),
        (LIST.replace("kind: List", "kind: Lst"), "kind", "listed"),
        (LIST.replace("kind: List", "kind: list"), "kind", "listed"),
        ("apiVersion: v1\nkind: List\nitems:\n-\n", "", "listed"),
        ("apiVersion: v1\nkind: List\nitems:\n", "items", "listed"),
        ("apiVersion: v1\nkind: List\n", "items", "listed"),
        ("vm:\n  " + LIST.replace("\n", "\n  ").rstrip(" "), "vm", "listed"),
        ("machines:\n" + LIST[LIST.index("- api"):], "machines.2", "listed"),
        (LIST[LIST.index("- api"):], "2", "listed"),
    ],
)  # fmt: skip
def test_a_document_where_nothing_is_read_is_a_problem_and_holds(
    text: str, at: str, holds: str
) -> None:
    wanted = seen(text)
    assert any(each.path == at for each in wanted.problems)
    key = Key("VirtualMachine", "default", holds)
    assert wanted.broken or wanted.meant_in(key)


@pytest.mark.parametrize(
    "text",
    [
        "- hosts: all\n  tasks: []\n",
        "[]\n",
        "apiVersion: 1\nproviders: [{name: x}]\n",
        "kind: pipeline\nname: default\nsteps: []\n",
        "image: {name: web}\nrefs: [{kind: VirtualMachine, name: web}]\n",
        "{}\n",
    ],
)
def test_what_is_no_object_is_a_note(text: str) -> None:
    wanted = seen(text)
    assert wanted.problems == ()
    assert len(wanted.ignored) == 1
    assert wanted.meant == {}
    assert wanted.complete


def test_an_object_inside_of_another_apis_object_is_its_own_affair_and_holds() -> None:
    inner = ONE.replace("\n", "\n  ").rstrip(" ")
    text = f"apiVersion: helm.cattle.io/v1\nkind: Chart\nmetadata: {{name: x}}\nextra:\n  {inner}"
    wanted = seen(text)
    assert wanted.problems == ()
    assert wanted.meant_in(WEB)


def test_an_object_in_the_text_of_another_holds() -> None:
    start = TWO.index("apiVersion", TWO.rindex("---"))
    moved = "---\n" + ONE.replace("name: web\n", "name: db\n")
    wanted = seen(TWO[start:] + "      " + moved.replace("\n", "\n      ").rstrip(" "))
    assert wanted.problems == ()
    assert wanted.meant_in(WEB._replace(name="db"))
    assert not wanted.meant_in(WEB)


def test_a_refused_manifest_of_an_unknown_name_may_be_a_renamed_one() -> None:
    wanted = seen(ONE.replace("name: web\n", "name: wbe\n").replace("cores: 2", "cores: 0"))
    assert meant_in(wanted, WEB, {WEB}) == "a.yaml:11"
    assert not meant_in(wanted, WEB, {WEB, WEB._replace(name="wbe")})
    assert not meant_in(wanted, WEB._replace(kind="VirtualDisk"), {WEB})
    moved = seen(ONE.replace("namespace: lab\n", "namespace: la\nb"))
    assert moved.invalid == {WEB._replace(namespace="la")}
    assert meant_in(moved, WEB, {WEB})
    assert not meant_in(moved, WEB._replace(name="db"), {WEB})


def test_what_a_document_may_mean_is_deleted_once_that_is_confirmed() -> None:
    """Neither does the confirmation of another set let go of it, nor this one of what is too much."""
    keys = [WEB._replace(name=name) for name in ("web", *"abcd")]
    records = {
        key: Record(Object(Manifest(key, {}, {}, {}), key.name, 1, "", ""), {}) for key in keys
    }
    wanted = seen(ONE.replace(OWN, "kubevirt.io/v1"))
    code, rest = (deletion_set(records[key].obj for key in each) for each in ([WEB], keys[1:]))
    found = prune(CATALOGUE, wanted, wanted.manifests, records, "")
    assert found.delete == ()
    told = {problem.resource: problem.message for problem in found.held}
    assert "a.yaml:1 may be meant to be it" in told[str(WEB)]
    assert all(code in told[str(key)] if key == WEB else rest in told[str(key)] for key in keys)
    found = prune(CATALOGUE, wanted, wanted.manifests, records, code)
    assert found.delete == (WEB,)
    assert {problem.resource for problem in found.held} == {str(key) for key in keys[1:]}
    found = prune(CATALOGUE, wanted, wanted.manifests, records, rest)
    assert found.delete == tuple(keys[1:])
    assert [problem.resource for problem in found.held] == [str(WEB)]


def test_what_has_no_kind_may_be_of_a_kind_without_namespaces() -> None:
    wanted = seen("metadata: {name: sized, namespace: lab}\nspec: {}\n")
    for namespace in ("lab", ""):
        assert wanted.meant_in(Key("VirtualMachineClass", namespace, "sized"))
    assert not wanted.meant_in(Key("VirtualDisk", "prod", "sized"))


def test_what_ends_behind_its_kind_may_be_anything() -> None:
    """VirtualMachineClass is cut off to another kind."""
    assert seen(f"apiVersion: {OWN}\nkind: VirtualMachine").broken == ("a.yaml",)


def test_the_name_of_our_module_with_a_slip_is_a_problem() -> None:
    wanted = seen(CONFIG.replace("name: virtualization", "name: virtualisation"))
    assert "did you mean virtualization?" in wanted.problems[0].message
    assert wanted.meant_in(Key("ModuleConfig", "", "virtualization"))


# -- what is no slip --------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["", '""', "null"])
def test_an_empty_namespace_is_the_default_one_and_holds_the_name_elsewhere(namespace: str) -> None:
    wanted = seen(ONE.replace("namespace: lab", f"namespace: {namespace}"))
    assert wanted.problems == ()
    key = WEB._replace(namespace="default")
    assert "metadata.namespace is empty" in wanted.manifests[key].notes[0]
    assert wanted.meant_in(WEB)
    assert not wanted.meant_in(WEB._replace(name="db"))


def test_a_kind_without_namespaces_may_have_an_empty_one() -> None:
    wanted = seen(CONFIG.replace("  name:", '  namespace: ""\n  name:'))
    assert wanted.problems == ()
    assert wanted.manifests[Key("ModuleConfig", "", "virtualization")].notes == ()


def test_null_is_absent() -> None:
    nulls = (
        "metadata:\n  labels:\n  annotations: {note: ~}\nspec:\n  runPolicy:\n  tolerations: null\n"
    )
    text = ONE.replace("metadata:\n", nulls.partition("spec:")[0]).replace("    app: web\n", "")
    text = text.replace("  labels:\nspec:", "spec:").replace(
        "spec:\n", nulls.partition("spec:\n")[2].join(("spec:\n", ""))
    )
    wanted = seen(text)
    assert wanted.problems == ()
    manifest = wanted.manifests[WEB]
    assert manifest.spec["runPolicy"] == "AlwaysOnUnlessStoppedManually"
    assert "tolerations" not in manifest.spec
    assert manifest.annotations == {}


def test_a_field_that_is_needed_is_missing_when_null_and_told_at_its_line() -> None:
    wanted = seen(ONE.replace("    cores: 2", "    cores:"))
    (problem,) = wanted.problems
    assert (problem.line, problem.path, problem.message) == (11, "spec.cpu.cores", "is required")


def test_a_generated_name_of_an_operation_points_to_the_command() -> None:
    text = f"apiVersion: {OWN}\nkind: VirtualMachineOperation\nmetadata: {{generateName: r-}}\nspec: {{type: Restart, virtualMachineName: web}}\n"
    (problem,) = seen(text).problems
    assert "gitvirt restart" in problem.message


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (ONE.replace("userData: |\n      #cloud-config\n      users:\n        - name: user", "userData: (sensitive)"), "spec.provisioning.userData"),
        (SECRET.replace("userData: x", "userData: (sensitive)"), "stringData.userData"),
        (SECRET.replace("stringData:\n  userData: x", "data:\n  userData: (sensitive)"), "data.userData"),
    ],
)  # fmt: skip
def test_the_marker_of_a_secret_is_no_value(text: str, path: str) -> None:
    (problem,) = seen(text).problems
    assert problem.path == path
    assert "marker" in problem.message
    assert "sensitive" not in str(seen(text).manifests)


# -- JSON -------------------------------------------------------------------------------------


def test_json_is_read_as_json_by_its_name() -> None:
    disk = FILES["disk.json"]
    assert seen("// a comment\n" + disk, "a.json").broken == ("a.json",)
    two = seen(disk + disk.replace('"json"', '"two"'), "a.json")
    assert {key.name for key in two.manifests} == {"json", "two", "kept"}
    assert two.paths[Key("VirtualDisk", "lab", "two")] == "a.json"
    assert "not valid JSON" in seen(ONE, "a.json").problems[0].message
