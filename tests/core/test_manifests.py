from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assembly import assemble
from agent.core.manifests import FileResult, is_manifest_file, read_file
from agent.core.model import Desired, Key
from agent.core.schema import Catalogue
from agent.kinds.registry import CHECKS

CATALOGUE = Catalogue.load()

VM = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata:
  name: web
spec:
  virtualMachineClassName: host
  cpu:
    cores: 2
  memory:
    size: 2Gi
  blockDeviceRefs:
    - kind: VirtualDisk
      name: web-root
"""
DISK = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata:
  name: web-root
spec:
  persistentVolumeClaim:
    size: 1Gi
"""
WEB = Key("VirtualMachine", "default", "web")
ROOT = Key("VirtualDisk", "default", "web-root")


def read(text: str | bytes) -> FileResult:
    return read_file(CATALOGUE, CHECKS, text.encode() if isinstance(text, str) else text)


def desired(**files: str) -> Desired:
    return assemble("0" * 40, [(f"{name}.yaml", read(text)) for name, text in files.items()])


def spared(result: FileResult, key: Key = WEB) -> bool:
    """True if nothing would delete this object because of the file."""
    wanted = assemble("0" * 40, [("a.yaml", result)])
    return key in wanted.invalid or bool(wanted.broken) or bool(wanted.meant_in(key))


def told(result: FileResult) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.resource, problem.path) for problem in result.problems]


def test_a_manifest_has_its_key_its_line_and_all_defaults() -> None:
    (manifest,) = read("# a machine\n" + VM).manifests
    assert manifest.key == WEB
    assert manifest.line == 2
    assert manifest.spec["runPolicy"] == "AlwaysOnUnlessStoppedManually"
    assert manifest.spec["cpu"] == {"cores": 2}
    assert manifest.content.keys() == {"spec"}
    assert manifest.notes == ()


def test_what_kubectl_prints_is_accepted_and_what_the_server_wrote_is_left_out() -> None:
    text = VM.replace(
        "  name: web\n",
        """  name: web
  namespace: lab
  uid: 0d9f
  resourceVersion: "12"
  generation: 3
  creationTimestamp: 2025-01-31T10:00:00Z
  managedFields: [{manager: kubectl}]
  finalizers: [x]
  ownerReferences: []
  labels:
    app: web
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    note: kept
""",
    )
    (manifest,) = read(f"{text}status:\n  phase: Running\n").manifests
    assert manifest.key == Key("VirtualMachine", "lab", "web")
    assert manifest.labels == {"app": "web"}
    assert manifest.annotations == {"note": "kept"}
    assert manifest.content.keys() == {"spec"}


def test_a_secrets_fields_stand_beside_each_other() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: v}\n"
    (manifest,) = read(text).manifests
    assert manifest.content == {"type": "Opaque", "data": {"k": "dg=="}}
    assert manifest.spec == {}


def test_a_list_holds_manifests_each_at_its_own_line() -> None:
    def item(text: str) -> str:
        return "- " + text.replace("\n", "\n  ").rstrip() + "\n"

    text = f"apiVersion: v1\nkind: List\nitems:\n{item(VM)}{item(DISK)}"
    assert [(manifest.key, manifest.line) for manifest in read(text).manifests] == [
        (WEB, 4),
        (ROOT, 17),
    ]


def test_the_namespace_of_a_kind_without_is_ignored_with_a_note() -> None:
    text = "apiVersion: v1\nkind: Node\nmetadata: {name: a, namespace: lab}\n"
    (manifest,) = read(text).manifests
    assert manifest.key == Key("Node", "", "a")
    assert manifest.notes == ("metadata.namespace is ignored: a Node belongs to no namespace",)


def test_fields_without_effect_are_noted() -> None:
    text = VM.replace("    cores: 2", "    cores: 2\n    coreFraction: Auto")
    (manifest,) = read(text).manifests
    assert manifest.notes == (
        (
            'spec.cpu.coreFraction "Auto" automatic shares are not supported yet: '
            "the machine gets 100%"
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "path"),
    [
        ("    cores: 2", "    cores: 17", 8, "spec.cpu.cores"),
        ("    cores: 2", "    cores: 2.0", 8, "spec.cpu.cores"),
        ("    cores: 2", "    cores: 2\n    cores: 4", 8, "spec.cpu.cores"),
        ("    cores: 2", "    cores: 99999999999999999999", 8, "spec.cpu.cores"),
        ("    cores: 2", "    cores: 1e400", 8, "spec.cpu.cores"),
        ("    cores: 2", "    cores: 2024-01-31", 8, "spec.cpu.cores"),
        ("    cores: 2", "    Cores: 2", 8, "spec.cpu.Cores"),
        ("size: 2Gi", "size: 2 gigs", 10, "spec.memory.size"),
        ("size: 2Gi", "size: 0", 10, "spec.memory.size"),
        ("name: web-root", 'name: "web\\nroot"', 13, "spec.blockDeviceRefs.0.name"),
        ("name: web-root", 'name: "web\\x1broot"', 13, "spec.blockDeviceRefs.0.name"),
        ("name: web-root", "name: <source file='/etc/shadow'/>", 13, "spec.blockDeviceRefs.0.name"),
        ("name: web-root", "name: ../../etc/shadow", 13, "spec.blockDeviceRefs.0.name"),
        ("name: web-root", "name: $(reboot)", 13, "spec.blockDeviceRefs.0.name"),
        ("name: web-root", "name: 2024-01-31T10:00:00Z", 13, "spec.blockDeviceRefs.0.name"),
        ("ClassName: host", "ClassName: [host]", 6, "spec.virtualMachineClassName"),
        (
            "ClassName: host",
            "ClassName: !!python/name:os.system host",
            6,
            "spec.virtualMachineClassName",
        ),
        ("  name: web\n", "  name: web\n  labels: {a: on}\n", 5, "metadata.labels.a"),
        ("  name: web\n", "  name: web\n  labels: []\n", 5, "metadata.labels"),
    ],
)
def test_a_bad_field_is_told_with_line_resource_and_path_and_keeps_the_key(
    old: str, new: str, line: int, path: str
) -> None:
    result = read(f"{VM.replace(old, new, 1)}---\n{DISK}")
    assert (line, str(WEB), path) in told(result)
    assert {problem.resource for problem in result.problems} == {str(WEB)}
    assert result.refused == ((WEB, 1),)
    assert [manifest.key for manifest in result.manifests] == [ROOT]
    assert not result.broken
    assert all(problem.message for problem in result.problems)


def test_the_problems_of_one_document_are_bounded() -> None:
    result = read(VM + "    - {kind: VirtualDisk, name: web-root}\n" * 5_000)
    assert 1 < len(result.problems) <= 100
    assert result.refused == ((WEB, 1),)


def test_a_spec_that_is_null_or_text_is_told() -> None:
    head = VM[: VM.index("spec:")]
    for spec in ("spec:\n", "spec: x\n", "spec: [a]\n"):
        result = read(head + spec)
        assert told(result) == [(5, str(WEB), "spec")]
        assert result.refused == ((WEB, 1),)
    assert told(read(head)) == [(1, str(WEB), "spec")]


@pytest.mark.parametrize(
    "name",
    [
        '"web\\n"',
        '"we\\0b"',
        "Web",
        "-web",
        "web-",
        "we_b",
        "we/b",
        "../web",
        "<web>",
        "'we;b'",
        "$(web)",
        "1",
        "x" * 64,
        "''",
        "{a: b}",
        "[web]",
        "~",
    ],
)
def test_a_bad_name_is_a_problem_and_holds_all_of_its_kind(name: str) -> None:
    result = read(VM.replace("name: web\n", f"name: {name}\n", 1))
    assert (4, "metadata.name") in {(problem.line, problem.path) for problem in result.problems}
    assert result.manifests == ()
    assert spared(result)
    assert not spared(result, ROOT)


@pytest.mark.parametrize("namespace", ["Lab", "a.b", "'a b'", "5", "[a]"])
def test_a_bad_namespace_holds_the_name_in_all_of_them(namespace: str) -> None:
    result = read(VM.replace("  name: web\n", f"  name: web\n  namespace: {namespace}\n", 1))
    assert [(problem.line, problem.path) for problem in result.problems] == [
        (5, "metadata.namespace")
    ]
    assert spared(result, Key("VirtualMachine", "lab", "web"))
    assert not spared(result, Key("VirtualMachine", "lab", "db"))


def test_a_generated_name_is_refused() -> None:
    result = read(VM.replace("name: web\n", "generateName: web-\n", 1))
    assert [(problem.path, problem.message) for problem in result.problems] == [
        ("metadata.name", "is required: a generated name would mean another object at each reading")
    ]
    assert spared(result)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gitvirt.io/reconcil", "gitvirt.io/reconcile"),
        ("gitvirt.io/Prune", "gitvirt.io/prune"),
        ("gitvirt.io/something-else", ""),
    ],
)
def test_an_unknown_annotation_of_ours_is_a_problem(name: str, meant: str) -> None:
    text = VM.replace("  name: web\n", f"  name: web\n  annotations:\n    {name}: disabled\n", 1)
    (problem,) = read(text).problems
    assert problem.path == f"metadata.annotations.{name}"
    assert problem.message.endswith(f"did you mean {meant}?" if meant else "gitvirt's")


@pytest.mark.parametrize(
    ("annotation", "allowed"),
    [
        ("gitvirt.io/prune: disable", "disabled or enabled"),
        ("gitvirt.io/reconcile: Disabled", "disabled or enabled"),
        ("gitvirt.io/drift: reported", "report"),
        ("gitvirt.io/not-after: tomorrow", "a time with its zone"),
        ("gitvirt.io/not-after: '2030-01-31T12:00:00'", "a time with its zone"),
    ],
)
def test_a_guard_with_a_slip_of_the_pen_is_a_problem(annotation: str, allowed: str) -> None:
    name, value = annotation.replace("'", "").split(": ")
    text = VM.replace("  name: web\n", f"  name: web\n  annotations:\n    {annotation}\n", 1)
    (problem,) = read(text).problems
    assert problem.path == f"metadata.annotations.{name}"
    assert problem.message.startswith(f"must be {allowed}")
    assert problem.message.endswith(f'not "{value}"')


@pytest.mark.parametrize(
    "annotation",
    [
        "gitvirt.io/prune: enabled",
        "gitvirt.io/drift: report",
        "gitvirt.io/not-after: '2030-01-31T12:00:00+02:00'",
        "gitvirt.io/source: abc:vm.yaml",
        "fluxcd.io/prune: whatever",
    ],
)
def test_annotations_that_say_what_they_may(annotation: str) -> None:
    text = VM.replace("  name: web\n", f"  name: web\n  annotations:\n    {annotation}\n", 1)
    assert read(text).problems == ()


def test_annotations_are_bounded_without_what_kubectl_keeps_there() -> None:
    def annotated(key: str) -> FileResult:
        return read(
            VM.replace(
                "  name: web\n", f"  name: web\n  annotations:\n    {key}: {'x' * 300_000}\n", 1
            )
        )

    assert "at most 256 KiB" in annotated("note").problems[0].message
    assert annotated("kubectl.kubernetes.io/last-applied-configuration").problems == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", "API group apps"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "v1 ConfigMap"),
        ("apiVersion: deckhouse.io/v1\nkind: NodeGroup\nmetadata: {name: a}\n", "NodeGroup"),
        ("apiVersion: deckhouse.io/v1alpha1\nkind: ModuleConfig\nmetadata: {name: global}\n", "another module"),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n", "kustomization"),
        ("resources:\n- a.yaml\n", "kustomization"),
        ("apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a}\n", "encrypted"),
        ("data: ENC[x]\nsops: {mac: x}\n", "SOPS"),
        ("apiVersion: v2\nname: chart\nversion: 1.0.0\n", "Helm chart"),
        ("services:\n  web: {image: nginx}\n", "no Kubernetes object"),
        ("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}\n", "template"),
        ("{{- if .Values.on }}\napiVersion: v1\nkind: Secret\n{{- end }}\n", "template"),
        ("apiVersion: apps/v1\nkind: Deployment\nspec: {a: 1, a: 2}\n", "API group apps"),
    ],
)  # fmt: skip
def test_what_is_not_applied_is_recognised_and_named(text: str, words: str) -> None:
    result = read(text)
    assert result.problems == ()
    assert result.manifests == ()
    # a template may hide a manifest that was there before: nothing is pruned beside it
    assert result.broken == (words == "template")
    (note,) = result.ignored
    assert words in note.message
    assert note.line >= 1


def test_an_encrypted_object_of_ours_stays_as_it_is() -> None:
    result = read(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: 'ENC[x]'}\nsops: {mac: x}\n"
    )
    assert result.refused == ((Key("Secret", "default", "a"), 1),)
    assert "SOPS" in result.ignored[0].message
    assert result.problems == ()


def test_a_placeholder_in_a_script_is_no_template() -> None:
    script = "  provisioning:\n    type: UserData\n    userData: |\n      ## template: jinja\n      a: {{ ds.meta_data }}\n"
    assert len(read(VM + script).manifests) == 1
    broken = read(VM + script + "  cpu: [\n")
    assert broken.broken
    assert broken.ignored == ()


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("kind: VirtualMachine", "kind: VirtualMachin", "kind", "did you mean VirtualMachine?"),
        ("/v1alpha2", "/v1beta9", "apiVersion", "must be virtualization.deckhouse.io/v1alpha2"),
        (
            "apiVersion: virtualization.deckhouse.io/v1alpha2\n",
            "",
            "apiVersion",
            "must be virtualization.deckhouse.io/v1alpha2",
        ),
    ],
)
def test_a_misspelt_kind_or_version_keeps_the_object_that_is_meant(
    old: str, new: str, path: str, words: str
) -> None:
    result = read(VM.replace(old, new, 1))
    (problem,) = result.problems
    assert problem.path == path
    assert words in problem.message
    assert result.refused == ((WEB, 1),)
    assert not result.broken


@pytest.mark.parametrize("name", ["VirtualMachinePool", "NodeUSBDevice", "USBDevice"])
def test_a_kind_that_is_left_to_later_is_a_note_that_holds_nothing_up(name: str) -> None:
    head = "apiVersion: virtualization.deckhouse.io/v1alpha2\n"
    result = read(f"{head}kind: {name}\nmetadata: {{name: web}}\nspec: {{}}\n")
    (note,) = result.ignored
    assert note.message == f"is a {name}: this kind is not supported yet, and not applied"
    assert result.problems == ()
    assert not spared(result)


def test_a_kind_that_nobody_knows_is_told_with_those_that_are_known() -> None:
    result = read(
        "apiVersion: virtualization.deckhouse.io/v1alpha2\nkind: Spaceship\nmetadata: {name: a}\n"
    )
    assert "known are ClusterVirtualImage, ModuleConfig" in result.problems[0].message
    assert not result.broken


def test_a_document_without_a_kind_holds_all_of_its_name() -> None:
    result = read("apiVersion: virtualization.deckhouse.io/v1alpha2\nmetadata: {name: a}\n")
    assert [problem.path for problem in result.problems] == ["kind"]
    assert spared(result, Key("VirtualDisk", "lab", "a"))
    assert not spared(result, Key("VirtualDisk", "lab", "b"))


@pytest.mark.parametrize("text", ["just text\n", "12\n"])
def test_a_document_that_is_no_mapping_is_a_problem(text: str) -> None:
    result = read(text)
    assert [(problem.line, problem.path) for problem in result.problems] == [(1, "")]
    assert result.broken


@pytest.mark.parametrize(
    "data",
    [b"a: [\n", b"[" * 50_000, b"x" * (10 * 2**20), b"a: &a [*a]", b"\xff", b"a:\n\t- b"],
    ids=["syntax", "brackets", "size", "alias", "encoding", "tab"],
)
def test_a_file_that_cannot_be_read_is_broken_and_says_why(data: bytes) -> None:
    result = read(data)
    assert result.broken
    (problem,) = result.problems
    assert problem.message
    assert (problem.resource, problem.path) == ("", "")


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert read("\n".join(lines)).broken


def test_documents_before_an_error_count() -> None:
    result = read(f"{VM}---\n{DISK}---\nkind: [\n")
    assert [manifest.key for manifest in result.manifests] == [WEB, ROOT]
    assert result.broken


def test_one_bad_file_stops_only_itself() -> None:
    wanted = desired(good=VM, bad="a: [", disk=DISK)
    assert wanted.manifests.keys() == {WEB, ROOT}
    assert wanted.paths == {WEB: "good.yaml", ROOT: "disk.yaml"}
    assert wanted.broken == ("bad.yaml",)
    assert not wanted.complete
    assert [problem.file for problem in wanted.problems] == ["bad.yaml"]
    assert desired(good=VM, disk=DISK).complete


def test_of_two_manifests_for_one_name_neither_counts() -> None:
    wanted = desired(a=VM, b="# second\n" + VM, disk=DISK)
    assert wanted.manifests.keys() == {ROOT}
    assert wanted.paths.keys() == {ROOT}
    assert wanted.invalid == {WEB}
    assert [(problem.file, problem.line, problem.resource) for problem in wanted.problems] == [
        ("a.yaml", 1, str(WEB)),
        ("b.yaml", 2, str(WEB)),
    ]
    assert "b.yaml:2" in wanted.problems[0].message
    assert "a.yaml:1" in wanted.problems[1].message
    assert wanted.complete


def test_two_manifests_for_one_name_in_one_file_or_one_of_them_invalid() -> None:
    assert desired(a=f"{VM}---\n{VM}").manifests == {}
    wanted = desired(a=VM, b=VM.replace("cores: 2", "cores: 17"))
    assert wanted.manifests == {}
    assert wanted.invalid == {WEB}
    assert {problem.path for problem in wanted.problems} == {"metadata.name", "spec.cpu.cores"}


def test_one_name_in_two_namespaces_or_kinds_is_no_duplicate() -> None:
    other = VM.replace("  name: web\n", "  name: web\n  namespace: lab\n", 1)
    assert len(desired(a=VM, b=other, c=DISK.replace("web-root", "web")).manifests) == 3


def test_an_invalid_manifest_is_named_so_that_its_last_good_version_stays() -> None:
    wanted = desired(a=VM.replace("cores: 2", "cores: 17"))
    assert wanted.invalid == {WEB}
    assert wanted.complete


def test_ignored_documents_are_told_with_their_file() -> None:
    (note,) = desired(a="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n").ignored
    assert note.file == "a.yaml"
    assert note.resource == "Deployment a"


@pytest.mark.parametrize(
    ("path", "read_it"),
    [
        ("a.yaml", True),
        ("b/c.yml", True),
        ("d.JSON", True),
        ("e.txt", False),
        ("README.md", False),
        ("yaml", False),
    ],
)
def test_which_files_are_read(path: str, read_it: bool) -> None:
    assert is_manifest_file(path) is read_it


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "Main", "Legacy", "1Gi", "10%", "Auto", "10.0.0.0/8"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "cpu",
                    "cores",
                    "memory",
                    "size",
                    "blockDeviceRefs",
                    "kind",
                    "name",
                    "bootOrder",
                    "osType",
                    "networks",
                    "id",
                    "type",
                    "provisioning",
                    "userData",
                    "sizingPolicies",
                    "min",
                    "max",
                    "step",
                    "coreFractions",
                    "defaultCoreFraction",
                    "perCore",
                    "persistentVolumeClaim",
                    "dataSource",
                    "taints",
                    "settings",
                    "virtualMachineCIDRs",
                    "clone",
                    "tolerations",
                    "disruptions",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CATALOGUE.kinds)), ANY, ANY, ANY)
def test_no_content_raises_and_each_document_has_one_fate(
    kind: str, spec: Any, data: Any, name: Any
) -> None:
    document = {
        "apiVersion": CATALOGUE.kinds[kind].api_versions[0],
        "kind": kind,
        "metadata": {"name": name if isinstance(name, dict | list) else "virtualization"},
        "spec": spec,
        "data": data,
        "stringData": data,
    }
    result = read(json.dumps(document))
    assert bool(result.manifests) != bool(result.problems)
    assert bool(result.problems) == bool(result.refused or result.meant or result.broken)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_no_bytes_raise(data: bytes) -> None:
    assert assemble("0" * 40, [("a.yaml", read(data))]).manifests == {}
