from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from agent.core.fields import Ref
from agent.core.model import Key
from agent.core.schema import LAST, Catalogue, Kind
from agent.core.sentences import KEYWORDS

SCHEMAS = Path(__file__).parents[2] / "schemas"
CATALOGUE = Catalogue.load()
KINDS = sorted(CATALOGUE.kinds.values(), key=lambda kind: kind.name)
V2 = "virtualization.deckhouse.io/v1alpha2"
V3 = "virtualization.deckhouse.io/v1alpha3"

VM = yaml.safe_load("""
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata: {name: web}
spec:
  virtualMachineClassName: host
  cpu: {cores: 2, coreFraction: 20%}
  memory: {size: 2Gi}
  blockDeviceRefs: [{kind: VirtualDisk, name: web-root}]
""")
CLASS = yaml.safe_load("""
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachineClass
metadata: {name: office}
spec:
  cpu: {type: Host}
  sizingPolicies: [{cores: {min: 1, max: 4}, coreFractions: [10, 100], defaultCoreFraction: 10}]
""")
DISK = yaml.safe_load("""
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata: {name: data}
spec: {persistentVolumeClaim: {size: 1Gi}}
""")
CLUSTER_IMAGE = yaml.safe_load("""
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: ClusterVirtualImage
metadata: {name: cd}
spec: {dataSource: {type: HTTP, http: {url: "https://example.com/cd.iso"}}}
""")
OPERATION = yaml.safe_load("""
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachineOperation
metadata: {name: again}
spec: {type: Restart, virtualMachineName: web}
""")
CONFIG = yaml.safe_load("""
apiVersion: deckhouse.io/v1alpha1
kind: ModuleConfig
metadata: {name: virtualization}
spec: {enabled: true, version: 1}
""")
SECRET = yaml.safe_load("""
apiVersion: v1
kind: Secret
metadata: {name: key}
data: {userData: c2VjcmV0}
""")


def kind(name: str) -> Kind:
    return CATALOGUE.kinds[name]


def edited(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one field set (`...` removes it)."""
    result: dict[str, Any] = copy.deepcopy(dict(document))
    *around, last = path.split(".")
    inner: Any = result
    for step in around:
        inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return result


def problems(document: Mapping[str, Any]) -> dict[str, str]:
    found = CATALOGUE.problems(kind(document["kind"]), document)
    return {".".join(map(str, path)): message for path, message in found}


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all in it that are schemas themselves."""
    if not isinstance(schema, dict):
        return
    yield schema
    for name, part in schema.items():
        if name in ("properties", "$defs"):
            for below in part.values():
                yield from subschemas(below)
        elif name in (
            "items",
            "additionalProperties",
            "propertyNames",
            "not",
            "if",
            "then",
            "else",
        ):
            yield from subschemas(part)
        elif name == "allOf":
            for below in part:
                yield from subschemas(below)


def properties(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that a schema describes."""
    for name, part in schema.get("properties", {}).items():
        yield f"{path}{name}", part
        yield from properties(part, f"{path}{name}.")
    for inner in ("items", "additionalProperties"):
        part = schema.get(inner)
        if isinstance(part, dict):
            yield f"{path}[]", part
            yield from properties(part, f"{path}[].")


ANNOTATIONS = {
    *(
        "$schema",
        "$ref",
        "$defs",
        "title",
        "description",
        "default",
        "then",
        "else",
        "x-kind",
        "x-columns",
    ),
    *(
        "x-apply",
        "x-apply-because",
        "x-list-key",
        "x-atomic",
        "x-ref",
        "x-immutable",
        "x-union",
        "x-unsupported",
        "x-blank",
        "x-base64-into",
    ),
    *("x-message", "x-secret"),
}

every_kind = pytest.mark.parametrize("each", KINDS, ids=lambda each: each.name)


def test_reports_tell_kinds_apart_and_have_an_order() -> None:
    assert len({each.word for each in KINDS}) == len(KINDS)
    orders = [each.order for each in KINDS if each.order != LAST]
    assert sorted(orders) == list(range(1, len(orders) + 1))
    assert [each.name for each in CATALOGUE.in_order[:2]] == ["VirtualMachine", "VirtualDisk"]


def test_one_kind_is_the_machines_and_one_object_has_the_settings() -> None:
    assert CATALOGUE.machine is kind("VirtualMachine")
    assert CATALOGUE.settings == Key("ModuleConfig", "", "virtualization")


def test_a_kind_that_is_served_is_not_left_to_later(tmp_path: Path) -> None:
    shutil.copytree(SCHEMAS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "later.txt").write_text("VirtualDisk\nVirtualMachinePool\n")
    (tmp_path / "former.txt").write_text("VirtualMachineRestore: ask: for another one\n")
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.later == {"VirtualMachinePool"}
    assert catalogue.former == {"VirtualMachineRestore": "ask: for another one"}


def test_what_is_said_of_a_kind_and_unknown_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SCHEMAS, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "virtualdisk.json"
    file.write_text(file.read_text().replace('"keepsData"', '"keepData"'))
    with pytest.raises(TypeError, match="keep_data"):
        Catalogue.load(tmp_path)


@every_kind
def test_each_file_is_a_schema_of_the_draft_with_known_keywords_only(each: Kind) -> None:
    raw = json.loads((SCHEMAS / f"{each.singular}.json").read_text())
    Draft202012Validator.check_schema(raw)
    used = {name for schema in subschemas(raw) for name in schema}
    assert used <= KEYWORDS.keys() | ANNOTATIONS


@every_kind
def test_each_field_is_described(each: Kind) -> None:
    assert [path for path, part in properties(each.schema) if not part.get("description")] == []


@every_kind
def test_each_pattern_compiles_and_says_in_words_what_is_allowed(each: Kind) -> None:
    for schema in subschemas(each.schema):
        if "pattern" in schema:
            re.compile(schema["pattern"])
            assert (
                "x-message" in schema
                or schema.get("x-quantity")
                or schema["pattern"].startswith("virtualization")
            )


@every_kind
def test_each_enum_default_and_column_is_well_formed(each: Kind) -> None:
    for schema in subschemas(each.schema):
        if "enum" in schema and "default" in schema:
            assert schema["default"] in schema["enum"]
    assert [column.name for column in each.columns].count("AGE") == 1
    assert all(column.type in ("string", "integer", "date") for column in each.columns)
    assert all(column.path.startswith(".") for column in each.columns)


@every_kind
def test_metadata_is_ruled_alike(each: Kind) -> None:
    fields = each.schema["properties"]["metadata"]["properties"]
    assert (
        fields.keys()
        == CATALOGUE.kinds["Node"].schema["properties"]["metadata"]["properties"].keys()
    )


def test_each_field_of_a_vm_says_how_a_change_applies() -> None:
    immediate = {
        *("runPolicy", "liveMigrationPolicy", "disruptions", "terminationGracePeriodSeconds"),
        *("priorityClassName", "affinity", "nodeSelector", "tolerations", "networks"),
    }
    without_effect = {"usbDevices", "gpus", "topologySpreadConstraints"}
    rules = dict(kind("VirtualMachine").fields())
    spec = {path: rule for path, rule in rules.items() if path[0] == "spec"}
    for path, rule in spec.items():
        name = path[1] if len(path) > 1 else ""
        wanted = (
            "immediate" if name in immediate else "none" if name in without_effect else "restart"
        )
        assert rule.apply == wanted, path
        assert rule.because or not (name and wanted == "restart"), path
    assert {path[1] for path in spec if len(path) > 1} >= immediate | without_effect


def test_what_is_known_of_a_field() -> None:
    vm = kind("VirtualMachine")
    assert vm.rule(("spec", "blockDeviceRefs")).list_key == ("kind", "name")
    assert vm.rule(("spec", "blockDeviceRefs", 3)).ref == Ref(uses=True)
    assert vm.rule(("spec", "blockDeviceRefs", 3, "name")) == vm.rule(
        ("spec", "blockDeviceRefs", "name")
    )
    assert vm.rule(("spec", "memory", "size")).quantity
    assert vm.rule(("spec", "provisioning", "userData")).secret
    assert vm.rule(("spec", "cpu")).structured
    assert not vm.rule(("spec", "affinity")).structured
    assert vm.rule(("spec", "nodeSelector", "disktype")).apply == "immediate"
    assert vm.rule(("spec", "unheard", "of")).apply == "restart"
    assert kind("Secret").rule(("data", "password")).secret
    assert kind("VirtualMachineClass").rule(("spec", "cpu", "model")).immutable == "always"
    assert kind("VirtualDisk").rule(("spec", "dataSource", "http", "url")).immutable == "ready"
    assert kind("VirtualDisk").rule(("spec", "persistentVolumeClaim", "size")).immutable == ""


@pytest.mark.parametrize(
    ("name", "plain", "wide"),
    [
        (
            "VirtualMachine",
            "PHASE NODE IPADDRESS AGE",
            "PHASE CORES COREFRACTION MEMORY NEED RESTART AGENT MIGRATABLE NODE IPADDRESS AGE",
        ),
        ("VirtualMachineClass", "PHASE AGE", "PHASE AGE"),
        (
            "VirtualMachineOperation",
            "PHASE TYPE VIRTUALMACHINE AGE",
            "PHASE TYPE VIRTUALMACHINE AGE",
        ),
        (
            "VirtualDisk",
            "PHASE CAPACITY AGE",
            "PHASE CAPACITY INUSE PROGRESS STORAGECLASS TARGETPVC AGE",
        ),
    ],
)
def test_columns(name: str, plain: str, wide: str) -> None:
    columns = kind(name).columns
    assert " ".join(column.name for column in columns if not column.wide) == plain
    assert " ".join(column.name for column in columns) == wide


def test_need_restart_says_false_where_nothing_waits() -> None:
    (column,) = (
        column for column in kind("VirtualMachine").columns if column.name == "NEED RESTART"
    )
    assert column.missing == "False"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vm", "VirtualMachine"),
        ("vms", "VirtualMachine"),
        ("VirtualMachine", "VirtualMachine"),
        ("virtualmachines", "VirtualMachine"),
        ("virtualmachines.virtualization.deckhouse.io", "VirtualMachine"),
        ("VDS", "VirtualDisk"),
        ("vi", "VirtualImage"),
        ("cvi", "ClusterVirtualImage"),
        ("vmclass", "VirtualMachineClass"),
        ("vmop", "VirtualMachineOperation"),
        ("secrets", "Secret"),
        ("node", "Node"),
        ("sc", "StorageClass"),
    ],
)
def test_a_kind_is_found_by_any_of_its_names(text: str, name: str) -> None:
    assert CATALOGUE.find(text).name == name


def test_no_name_means_two_kinds() -> None:
    for each in KINDS:
        for name in (each.singular, each.plural, each.name, *each.short_names):
            assert CATALOGUE.find(name) is each


def test_an_unknown_kind_is_answered_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="did you mean virtualmachine"):
        CATALOGUE.find("virtualmachin")
    with pytest.raises(ValueError, match="known are clustervirtualimages, moduleconfigs"):
        CATALOGUE.find("pod")


def test_a_name_that_could_mean_two_kinds_is_refused() -> None:
    one, other = kind("VirtualDisk"), kind("VirtualImage")
    twins = Catalogue({"A": one, "B": replace(other, short_names=("vd",))})
    with pytest.raises(ValueError, match="could mean virtualdisks, virtualimages"):
        twins.find("vd")


def test_a_kind_is_served_in_its_versions_only() -> None:
    assert CATALOGUE.kind(V3, "VirtualMachineClass") is kind("VirtualMachineClass")
    assert CATALOGUE.kind(V3, "VirtualMachine") is None
    assert CATALOGUE.kind("v1", "Pod") is None


@pytest.mark.parametrize(
    "document", [VM, CLASS, DISK, CLUSTER_IMAGE, OPERATION, SECRET], ids=lambda each: each["kind"]
)
def test_the_plain_documents_are_valid(document: dict[str, Any]) -> None:
    assert problems(document) == {}


CASES = [
    (VM, "spec.cpu.cores", 2.0, "must be a whole number from 1 to 248, not 2.0"),
    (VM, "spec.cpu.cores", True, "must be a whole number from 1 to 248, not true"),
    (VM, "spec.cpu.cores", "2", 'must be a whole number from 1 to 248, not "2"'),
    (VM, "spec.cpu.cores", 0, "must be a whole number from 1 to 248, not 0"),
    (VM, "spec.cpu.cores", 249, "must be a whole number from 1 to 248, not 249"),
    (VM, "spec.cpu.cores", ..., "is required"),
    (VM, "spec.cpu.coreFraction", "0%", 'must be a percentage from 1% to 100%, or Auto, not "0%"'),
    (VM, "spec.cpu.coreFraction", "10%\n", 'must be a percentage from 1% to 100%, or Auto, not "10%\\n"'),
    (VM, "spec.cpu.coreFraction", 10, "must be text: put it in quotes"),
    (VM, "spec.cpu.coreFrction", "5%", "is no known field: known are coreFraction, cores"),
    (VM, "spec.run_policy", "AlwaysOn", "is no known field: did you mean runPolicy?"),
    (VM, "spec.runPolicy", "alwaysOn", "(did you mean AlwaysOn?)"),
    (VM, "spec.runPolicy", True, "must be text: put it in quotes; yes, no, on and off are true and false in YAML"),
    (VM, "spec.runPolicy", None, "must be text, but is empty: give a value or leave the field out"),
    (VM, "spec.memory.size", "2 Gi", 'must be a quantity such as 512Mi, 10Gi or 1.5, not "2 Gi"'),
    (VM, "spec.memory.size", 1024, "must be text: put it in quotes"),
    (VM, "spec.memory.size", "9E", None),
    (VM, "spec.memory.size", "99E", "must be a quantity of at most"),
    (VM, "spec.memory", "2Gi", 'must be a mapping, not "2Gi"'),
    (VM, "spec", None, "must be a mapping, but is empty"),
    (VM, "spec", [], "must be a mapping, not a list"),
    (VM, "spec", ..., "is required"),
    (VM, "specs", {}, "is no known field: known are"),
    (VM, "spec.blockDeviceRefs", [], "must have at least 1 entry"),
    (VM, "spec.blockDeviceRefs", [{"kind": "VirtualDisk", "name": f"d{n}"} for n in range(17)], "must have at most 16 entries, not 17"),
    (VM, "spec.blockDeviceRefs.0.kind", "Disk", "must be one of ClusterVirtualImage, VirtualImage, VirtualDisk"),
    (VM, "spec.blockDeviceRefs.0.name", "../../etc/passwd", "must be a name made of"),
    (VM, "spec.blockDeviceRefs.0.name", "a;reboot", "must be a name made of"),
    (VM, "spec.blockDeviceRefs.0.name", "<disk/>", "must be a name made of"),
    (VM, "spec.blockDeviceRefs.0.bootOrder", 0, "must be at least 1, not 0"),
    (VM, "spec.virtualMachineClassName", ..., None),
    (VM, "spec.virtualMachineClassName", "", None),
    (VM, "spec.memory.size", "512m", '(did you mean 512Mi?), not "512m"'),
    (VM, "spec.memory.size", "2048", '(did you mean 2048Mi?), not "2048"'),
    (VM, "spec.memory.size", 4, "put it in quotes (did you mean 4Gi?)"),
    (VM, "spec.memory.size", 10**30, "must be text: put it in quotes"),
    (VM, "spec.memory.size", "1073741824", None),
    (VM, "spec.nodeSelector", {"a b": "c"}, {"spec.nodeSelector.a b": "must be a label key"}),
    (VM, "spec.nodeSelector", {"a": "b c"}, {"spec.nodeSelector.a": "must be a label's value"}),
    (VM, "spec.affinity", {"virtualMachineAndPodAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "labelSelector": {"matchLabels": {"a": "b c"}}}]}}, {"spec.affinity.virtualMachineAndPodAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.labelSelector.matchLabels.a": "must be a label's value"}),
    (VM, "spec.terminationGracePeriodSeconds", -1, "must be at least 0, not -1"),
    (VM, "spec.terminationGracePeriodSeconds", 10**30, "must be at most"),
    (VM, "spec.enableParavirtualization", "yes", 'must be true or false, not "yes"'),
    (VM, "spec.networks", [{"id": 16384, "type": "Main"}], {"spec.networks.0.id": "must be a whole number from 1 to 16383, not 16384"}),
    (VM, "spec.provisioning", {"type": "UserData"}, {"spec.provisioning.userData": "is required"}),
    (VM, "spec.provisioning", {"type": "UserDataRef", "userData": "x"}, {"spec.provisioning.userDataRef": "is required", "spec.provisioning.userData": "does not go with type UserDataRef: only userDataRef does"}),
    (VM, "spec.provisioning", {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "s"}}, None),
    (VM, "spec.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}], {"spec.tolerations.0.value": 'must be absent with the operator Exists, not "b"'}),
    (VM, "spec.tolerations", [{"key": "a", "operator": "", "effect": "", "value": "b"}], None),
    (VM, "spec.tolerations", [{"key": "a", "operator": "Is"}], {"spec.tolerations.0.operator": "must be one of Exists, Equal"}),
    (VM, "spec.topologySpreadConstraints", [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}], {"spec.topologySpreadConstraints.0.maxSkew": "must be at least 1, not 0"}),
    (VM, "spec.gpus", [{"gpuClassName": "A_B"}], {"spec.gpus.0.gpuClassName": "must be a name made of"}),
    (VM, "spec.usbDevices", [{"name": f"u{n}"} for n in range(9)], "must have at most 8 entries, not 9"),
    (VM, "metadata.name", "x" * 64, "at most 63 characters"),
    (VM, "metadata.name", "web\n", "must be made of lower-case letters"),
    (VM, "metadata.name", "Web", "must be made of lower-case letters"),
    (VM, "metadata.name", 7, "must be text: put it in quotes"),
    (VM, "metadata.name", ..., "is required"),
    (VM, "metadata.namespace", "a.b", "must be a name made of lower-case letters, digits and '-'"),
    (VM, "metadata.lables", {}, "is no known field: did you mean labels?"),
    (VM, "metadata.labels", {"a b": "c"}, {"metadata.labels.a b": "must be a key such as"}),
    (VM, "metadata.labels", {"a": "-"}, {"metadata.labels.a": "must have at most 63 letters"}),
    (VM, "metadata.labels", {"a": 5}, {"metadata.labels.a": "must be text: put it in quotes"}),
    (VM, "metadata.labels", {"x.virtualization.deckhouse.io/a": "b"}, {"metadata.labels.x.virtualization.deckhouse.io/a": "that group's labels are reserved"}),
    (VM, "metadata.annotations", {"virtualization.deckhouse.io/a": "b"}, {"metadata.annotations.virtualization.deckhouse.io/a": "that group's annotations are reserved"}),
    (VM, "metadata.annotations", None, None),
    (VM, "status", {"anything": ["goes"]}, None),
    (DISK, "metadata.name", "a.b", "no dots"),
    (DISK, "spec.persistentVolumeClaim.size", 1073741824, None),
    (DISK, "spec.persistentVolumeClaim.size", 10, "must be a size (did you mean 10Gi?), not 10"),
    (DISK, "spec.persistentVolumeClaim.size", "20480", 'did you mean 20480Mi?'),
    (DISK, "spec.persistentVolumeClaim.size", "500m", 'did you mean 500Mi?'),
    (DISK, "spec.persistentVolumeClaim.storageClassName", "", None),
    (DISK, "spec.persistentVolumeClaim.storageClassName", "A", "must be a name made of"),
    (DISK, "spec.dataSource", {"type": "HTTP"}, {"spec.dataSource.http": "is required"}),
    (DISK, "spec.dataSource", {"http": {"url": "http://a/b"}}, {"spec.dataSource.type": "is required"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "file:///etc/passwd"}}, {"spec.dataSource.http.url": "must be an http:// or https:// address"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b c"}}, {"spec.dataSource.http.url": "such as %20 for a space"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/~b"}}, {"spec.dataSource.http.url": "%7E for ~"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://[fd00::1]:80/a_(b)!*'$%20?x=1&y=@;,+"}}, None),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "caBundle": "YWFh\nYQ==\n"}}, None),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "caBundle": "YWFh YQ=="}}, {"spec.dataSource.http.caBundle": "must be base64"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "caBundle": "YWFhYQ="}}, {"spec.dataSource.http.caBundle": "must be base64"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "checksum": {"md5": "xy"}}}, {"spec.dataSource.http.checksum.md5": "must be 32 hexadecimal digits"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "checksum": {}}}, {"spec.dataSource.http.checksum": "must have at least 1 of md5, sha1"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "caBundle": "no!"}}, {"spec.dataSource.http.caBundle": "must be base64"}),
    (DISK, "spec.dataSource", {"type": "HTTP", "http": {"url": "http://a/b", "checksum": {"sha256": "aB" * 32, "streebog512": "0" * 128}}}, None),
    (DISK, "spec.dataSource", {"type": "ContainerImage", "containerImage": {"image": "registry.example.com:5000/a/b:1@sha256:" + "0" * 64}}, None),
    (DISK, "spec.dataSource", {"type": "ContainerImage", "containerImage": {"image": "Up/Case"}}, {"spec.dataSource.containerImage.image": "must be a container image reference"}),
    (DISK, "spec.dataSource", {"type": "ContainerImage", "containerImage": {"image": "a b"}}, {"spec.dataSource.containerImage.image": "must be a container image reference"}),
    (DISK, "spec.dataSource", {"type": "ObjectRef", "objectRef": {"kind": "VirtualDisk", "name": "a"}}, {"spec.dataSource.objectRef.kind": "must be one of ClusterVirtualImage, VirtualImage, VirtualDiskSnapshot"}),
    (DISK, "spec.dataSource", {"type": "Upload", "http": {"url": "http://a/b"}}, {"spec.dataSource.http": "does not go with type Upload"}),
    (CLUSTER_IMAGE, "spec.dataSource", {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "a"}}, {"spec.dataSource.objectRef.namespace": "is required: an object of this kind lives in a namespace"}),
    (CLUSTER_IMAGE, "spec.dataSource", {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "a", "namespace": "b"}}, None),
    (CLUSTER_IMAGE, "spec.dataSource", {"type": "ObjectRef", "objectRef": {"kind": "ClusterVirtualImage", "name": "a"}}, None),
    (CLUSTER_IMAGE, "spec.storage", "ContainerRegistry", "is no known field"),
    (CLASS, "apiVersion", V3, {"spec.sizingPolicies.0.coreFractions.0": "must be text: put it in quotes", "spec.sizingPolicies.0.coreFractions.1": "must be text", "spec.sizingPolicies.0.defaultCoreFraction": "must be text"}),
    (CLASS, "spec.sizingPolicies.0.coreFractions", ["10%"], {"spec.sizingPolicies.0.coreFractions.0": "must be a whole number from 1 to 100, without a percent sign"}),
    (CLASS, "spec.sizingPolicies.0.coreFractions", [0], {"spec.sizingPolicies.0.coreFractions.0": "must be a whole number from 1 to 100"}),
    (CLASS, "spec.sizingPolicies.0.defaultCoreFraction", "Auto", None),
    (CLASS, "spec.sizingPolicies.0.defaultCoreFraction", "50%", "or Auto"),
    (CLASS, "spec.sizingPolicies.0.cores.max", 1025, "must be at most 1024, not 1025"),
    (CLASS, "spec.sizingPolicies.0.cores", ..., "is required"),
    (CLASS, "spec.sizingPolicies.0.memory", {"min": "512m", "perCore": {"max": 2}}, {"spec.sizingPolicies.0.memory.min": "did you mean 512Mi?", "spec.sizingPolicies.0.memory.perCore.max": "did you mean 2Gi?"}),
    (CLASS, "spec.cpu", {"type": "Host", "model": "x"}, {"spec.cpu.model": "does not go with type Host"}),
    (CLASS, "spec.cpu", {"type": "Model"}, {"spec.cpu.model": "is required"}),
    (CLASS, "spec.cpu", {"type": "Model", "model": "a'/><b"}, {"spec.cpu.model": "must be a processor model"}),
    (CLASS, "spec.cpu", {"type": "Features", "features": []}, {"spec.cpu.features": "must have at least 1 entry"}),
    (CLASS, "spec.cpu", {"type": "Features"}, {"spec.cpu.features": "is required"}),
    (CLASS, "spec.cpu", {"type": "Discovery", "discovery": {"nodeSelector": {"matchLabels": {"a": "b"}}}}, None),
    (CLASS, "spec.cpu", {"type": "Discovery", "features": ["vmx"]}, {"spec.cpu.features": "does not go with type Discovery"}),
    (CLASS, "spec.nodeSelector", {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["x"]}]}, {"spec.nodeSelector.matchExpressions.0.values.0": "must be a whole number in quotes"}),
    (CLASS, "spec.nodeSelector", {"matchExpressions": [{"key": "a", "operator": "In"}]}, {"spec.nodeSelector.matchExpressions.0.values": "is required"}),
    (OPERATION, "spec", {"type": "Start", "virtualMachineName": "a", "force": True}, {"spec.force": "must not be true for Start"}),
    (OPERATION, "spec", {"type": "Start", "virtualMachineName": "a", "force": False}, None),
    (OPERATION, "spec.type", "Restore", {"spec.restore": "is required"}),
    (OPERATION, "spec.type", "Clone", {"spec.clone": "is required"}),
    (OPERATION, "spec.migrate", {"nodeSelector": {"a": "b"}}, "goes with type Migrate only"),
    (OPERATION, "spec", {"type": "Migrate", "virtualMachineName": "a", "migrate": {"nodeSelector": {"a": "b c"}}}, {"spec.migrate.nodeSelector.a": "must be a label's value"}),
    (CONFIG, "spec.settings", {"virtualMachineCIDR": ["10.0.0.0/24"]}, {"spec.settings.virtualMachineCIDR": "is no known field: did you mean virtualMachineCIDRs?"}),
    (CONFIG, "spec.settings", {"dvcr": {"storage": {"persistentVolumeClaim": {"Size": "1Gi"}}}}, {"spec.settings.dvcr.storage.persistentVolumeClaim.Size": "did you mean size?"}),
    (CONFIG, "spec.settings", {"somethingNew": {"a": 1}, "dvcr": {"unheardOf": True}}, None),
    (CONFIG, "spec.settings", {"featureGates": ["HotplugCpuWithLiveMigration"]}, {"spec.settings.featureGates.0": "is not known: did you mean HotplugCPUWithLiveMigration?"}),
    (CONFIG, "spec.settings", {"featureGates": ["SDN", "SomethingNew"]}, None),
    (CONFIG, "spec.settings", {"virtualMachineCIDRs": []}, {"spec.settings.virtualMachineCIDRs": "must have 1 to 256 ranges"}),
    (OPERATION, "spec.clone", {"mode": "Strict", "nameReplacement": [{"from": {"name": "a"}, "to": "b" * 60}]}, {"spec.clone.nameReplacement.0.to": "must be a name of 1 to 59"}),
    (SECRET, "data", {"a/b": "YQ=="}, {"data.a/b": "must be a key of at most 253"}),
    (SECRET, "data", {"a": 5}, {"data.a": "must be text: put it in quotes"}),
    (SECRET, "spec", {}, "is no known field"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "value", "expected"), CASES)
def test_a_field_that_does_not_hold_is_told_alone_and_in_words(
    document: dict[str, Any], path: str, value: Any, expected: str | dict[str, str] | None
) -> None:
    found = problems(edited(document, path, value))
    wanted = {path: expected} if isinstance(expected, str) else expected or {}
    assert found.keys() == wanted.keys()
    for at, words in wanted.items():
        assert words in found[at]


def test_all_problems_are_told_at_once() -> None:
    document = edited(VM, "spec.cpu.cores", 0)
    document = edited(document, "spec.memory.size", "much")
    document = edited(document, "spec.runPolicy", "Never")
    assert problems(document).keys() == {"spec.cpu.cores", "spec.memory.size", "spec.runPolicy"}


def test_the_number_of_problems_is_bounded() -> None:
    document = edited(VM, "spec", {f"field{n}": n for n in range(10_000)})
    assert 1 < len(problems(document)) <= 50


def test_no_message_holds_a_secret() -> None:
    for path, value in (
        ("data", {"a": 12345}),
        ("data", 12345),
        ("stringData", {"b": 12345}),
        ("data", "s12345"),
    ):
        assert "12345" not in json.dumps(problems(edited(SECRET, path, value)))
    secret = {"type": "UserData", "userData": "hunter2" * 1000}
    (message,) = problems(edited(VM, "spec.provisioning", secret)).values()
    assert "hunter2" not in message
    for wrong in (12345678, ["12345678"], {"a": "12345678"}):
        found = problems(edited(VM, "spec.provisioning", {"type": "UserData", "userData": wrong}))
        assert "12345678" not in json.dumps(found)


def test_a_long_value_is_cut_in_messages() -> None:
    (message,) = problems(edited(VM, "spec.runPolicy", "x" * 10_000)).values()
    assert len(message) < 300


def test_defaults_are_filled_in_and_the_argument_stays_as_it_is() -> None:
    content = {"spec": VM["spec"]}
    before = copy.deepcopy(content)
    filled = CATALOGUE.defaulted(kind("VirtualMachine"), content)
    assert content == before
    added = {name: value for name, value in filled["spec"].items() if name not in before["spec"]}
    assert added == {
        "runPolicy": "AlwaysOnUnlessStoppedManually",
        "disruptions": {"restartApprovalMode": "Manual"},
        "terminationGracePeriodSeconds": 60,
        "liveMigrationPolicy": "PreferSafe",
        "bootloader": "BIOS",
        "osType": "Generic",
        "enableParavirtualization": True,
    }
    filled["spec"]["disruptions"]["restartApprovalMode"] = "Automatic"
    again = CATALOGUE.defaulted(kind("VirtualMachine"), content)
    assert again["spec"]["disruptions"] == {"restartApprovalMode": "Manual"}


def test_defaults_do_not_replace_what_is_there_and_make_no_objects() -> None:
    spec = {
        "disruptions": {},
        "osType": "Windows",
        "provisioning": {"type": "UserDataRef", "userDataRef": {"name": "s"}},
    }
    filled = CATALOGUE.defaulted(kind("VirtualMachine"), {"spec": spec})["spec"]
    assert filled["disruptions"] == {"restartApprovalMode": "Manual"}
    assert filled["osType"] == "Windows"
    assert filled["provisioning"]["userDataRef"] == {"name": "s", "kind": "Secret"}
    assert "cpu" not in filled


def test_an_empty_text_is_as_if_the_field_were_absent_where_the_api_has_it_so() -> None:
    vm = edited(VM, "spec.virtualMachineClassName", "")
    vm["spec"]["tolerations"] = [{"key": "a", "operator": "", "effect": "", "value": ""}]
    content = CATALOGUE.defaulted(kind("VirtualMachine"), {"spec": vm["spec"]})
    assert "virtualMachineClassName" not in content["spec"]
    assert content["spec"]["tolerations"] == [{"key": "a", "value": ""}]


def test_defaults_outside_of_a_spec() -> None:
    assert CATALOGUE.defaulted(kind("Node"), {}) == {"spec": {"unschedulable": False}}
    assert CATALOGUE.defaulted(kind("StorageClass"), {"provisioner": "x"}) == {
        "provisioner": "x",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


@pytest.mark.parametrize("each", KINDS, ids=lambda each: each.name)
def test_defaulting_twice_changes_nothing(each: Kind) -> None:
    once = CATALOGUE.defaulted(each, {"spec": {}})
    assert CATALOGUE.defaulted(each, once) == once


def test_plain_secret_text_is_encoded_and_wins() -> None:
    content = {"data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"b": "new ü"}}
    assert CATALOGUE.defaulted(kind("Secret"), content) == {
        "type": "Opaque",
        "data": {"a": "YQ==", "b": "bmV3IMO8"},
    }


def test_fields_without_effect_are_named() -> None:
    vm = kind("VirtualMachine")
    assert CATALOGUE.notes(vm, {"spec": VM["spec"]}) == []
    spec = {
        **VM["spec"],
        "bootloader": "EFI",
        "cpu": {"cores": 1, "coreFraction": "Auto"},
        "gpus": [],
        "networks": [{"type": "Main"}, {"type": "Network", "name": "n", "ipAddressName": "n"}],
    }
    notes = CATALOGUE.notes(vm, {"spec": spec})
    assert [note.split()[0] for note in notes] == [
        *(
            "spec.cpu.coreFraction",
            "spec.gpus",
            "spec.networks.1.ipAddressName",
        ),
    ]
    assert 'spec.cpu.coreFraction "Auto" automatic shares are not supported yet' in notes[0]
    assert "given out by whoever runs that network" in notes[2]


@pytest.mark.parametrize(
    ("name", "spec", "path"),
    [
        ("VirtualMachine", {"usbDevices": []}, "spec.usbDevices"),
        ("VirtualMachine", {"gpus": []}, "spec.gpus"),
        ("ModuleConfig", {"settings": {"logLevel": "debug"}}, "spec.settings.logLevel"),
    ],
)  # fmt: skip
def test_each_field_that_is_left_to_later_is_named(
    name: str, spec: dict[str, Any], path: str
) -> None:
    (note,) = CATALOGUE.notes(kind(name), {"spec": spec})
    assert note.startswith(f"{path} ")


def test_schemas_beside_the_package_are_those_of_the_project() -> None:
    assert Catalogue.load(SCHEMAS).kinds.keys() == CATALOGUE.kinds.keys()
