from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from agent.core.schema import Catalogue
from agent.kinds.registry import CHECKS


def problems(kind: str, content: str | dict[str, Any]) -> dict[str, str]:
    read = yaml.safe_load(content) if isinstance(content, str) else content
    found = (problem for check in CHECKS[kind] for problem in check(read))
    return {".".join(map(str, path)): message for path, message in found}


def test_checks_are_for_kinds_that_there_are() -> None:
    assert CHECKS.keys() <= Catalogue.load().kinds.keys()


CASES = [
    ("VirtualMachine", "spec: {cpu: {cores: 18}}", {}),
    ("VirtualMachine", "spec: {cpu: {cores: 19}}", {"spec.cpu.cores": "multiple of 2"}),
    ("VirtualMachine", "spec: {memory: {size: '0'}}", {"spec.memory.size": "more than 0"}),
    ("VirtualMachine", "spec: {memory: {size: -1Gi}}", {"spec.memory.size": "more than 0"}),
    (
        "VirtualMachine",
        "spec: {blockDeviceRefs: [{kind: VirtualDisk, name: a}, {kind: VirtualImage, name: a}]}",
        {},
    ),
    (
        "VirtualMachine",
        "spec: {blockDeviceRefs: [{kind: VirtualDisk, name: a}, {kind: VirtualDisk, name: b}, {kind: VirtualDisk, name: a}]}",
        {"spec.blockDeviceRefs.2": "names the VirtualDisk a a second time"},
    ),
    (
        "VirtualMachine",
        "spec: {blockDeviceRefs: [{kind: VirtualDisk, name: a, bootOrder: 1}, {kind: VirtualDisk, name: b, bootOrder: 1}]}",
        {"spec.blockDeviceRefs.1.bootOrder": "1 is taken"},
    ),
    ("VirtualMachine", "spec: {osType: Legacy, bootloader: BIOS}", {}),
    (
        "VirtualMachine",
        "spec: {osType: Legacy, bootloader: EFI}",
        {"spec.bootloader": "must be BIOS"},
    ),
    (
        "VirtualMachine",
        "spec: {osType: Legacy, provisioning: {}}",
        {"spec.provisioning": "must be absent"},
    ),
    (
        "VirtualMachine",
        "spec: {osType: Legacy, enableParavirtualization: false, blockDeviceRefs: [{}, {}, {}, {}, {}]}",
        {"spec.blockDeviceRefs": "at most 4"},
    ),
    ("VirtualMachine", "spec: {osType: Legacy, blockDeviceRefs: [{}, {}, {}, {}, {}]}", {}),
    (
        "VirtualMachine",
        "spec: {networks: [{type: Main, id: 1}, {type: Network, name: a, id: 2}]}",
        {},
    ),
    (
        "VirtualMachine",
        "spec: {networks: [{type: Network, name: a}, {type: Main}]}",
        {"spec.networks.1.type": "must stand first"},
    ),
    (
        "VirtualMachine",
        "spec: {networks: [{type: Main, name: a}]}",
        {"spec.networks.0.name": "must be absent"},
    ),
    (
        "VirtualMachine",
        "spec: {networks: [{type: Main, id: 2}]}",
        {"spec.networks.0.id": "must be 1 for Main"},
    ),
    (
        "VirtualMachine",
        "spec: {networks: [{type: ClusterNetwork}]}",
        {"spec.networks.0.name": "is required"},
    ),
    (
        "VirtualMachine",
        "spec: {osType: Legacy, networks: ["
        + ", ".join(f"{{type: Network, name: n{n}}}" for n in range(10))
        + "]}",
        {"spec.networks": "must have at most 9 entries for osType Legacy"},
    ),
    ("VirtualMachine", "spec: {networks: [{type: Network, name: a, id: 1}]}", {}),
    (
        "VirtualMachine",
        "spec: {networks: [{type: Main}, {type: Network, name: a, id: 1}]}",
        {"spec.networks.1.id": "1 is taken"},
    ),
    (
        "VirtualMachine",
        "spec: {usbDevices: [{name: a}, {name: b}, {name: a}]}",
        {"spec.usbDevices.2": "names the USBDevice a a second time"},
    ),
    (
        "VirtualMachine",
        "spec: {virtualMachineIPAddressName: a, networks: [{type: Network, name: b}]}",
        {"spec.virtualMachineIPAddressName": "needs the network Main"},
    ),
    ("VirtualMachine", "spec: {virtualMachineIPAddressName: a, networks: []}", {}),
    (
        "VirtualMachine",
        "spec: {virtualMachineIPAddressName: a, networks: [{type: Main}, {type: Network, name: b}]}",
        {},
    ),
    (
        "VirtualMachine",
        "spec: {networks: [{type: Network, name: a, id: 5}, {type: Network, name: a, id: 5}]}",
        {"spec.networks.1": "a second time", "spec.networks.1.id": "5 is taken"},
    ),
    (
        "VirtualMachine",
        "spec: {tolerations: [{value: a}]}",
        {"spec.tolerations.0.operator": "must be Exists"},
    ),
    ("VirtualMachine", "spec: {tolerations: [{key: a, operator: '', effect: ''}]}", {}),
    (
        "VirtualMachine",
        "spec: {tolerations: [{key: a, tolerationSeconds: 5, effect: NoSchedule}]}",
        {"spec.tolerations.0.effect": "must be NoExecute"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{cores: {min: 1, max: 4}}, {cores: {min: 5, max: 8}}]}",
        {},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{cores: {min: 1, max: 4}}, {cores: {min: 4, max: 8}}]}",
        {
            "spec.sizingPolicies.1.cores": "must not overlap: 4-8 shares cores with 1-4 of sizingPolicies.0"
        },
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{cores: {min: 4, max: 4}}]}",
        {"spec.sizingPolicies.0.cores.max": "must be more than min"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{cores: {min: 1, max: 4, step: 4}}]}",
        {"spec.sizingPolicies.0.cores.step": "must be less than max"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{coreFractions: [5, 10], defaultCoreFraction: 20}]}",
        {"spec.sizingPolicies.0.defaultCoreFraction": "must be one of coreFractions: 5%, 10%"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{cores: {min: 1, max: 4, step: 3}}, {cores: {max: 2}}, {cores: {min: 3, step: 9}}]}",
        {},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{cores: {min: 5, max: 8}}, {cores: {min: 9, max: 12}}, {cores: {min: 1, max: 5}}]}",
        {"spec.sizingPolicies.2.cores": "1-5 shares cores with 5-8 of sizingPolicies.0"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{coreFractions: [5]}, {defaultCoreFraction: 20}, {coreFractions: [7, 9], defaultCoreFraction: 20}]}",
        {"spec.sizingPolicies.2.defaultCoreFraction": "must be one of coreFractions: 7%, 9%"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{memory: {min: 1Gi, max: 1Gi, step: 1}}, {memory: {min: 1Gi}}, {memory: {max: 1Gi, step: -1}}]}",
        {"spec.sizingPolicies.2.memory.step": "more than 0"},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{memory: {min: true, max: [1], step: much}}]}",
        {},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{coreFractions: [5%], defaultCoreFraction: 5%}]}",
        {},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{coreFractions: [5], defaultCoreFraction: Auto}]}",
        {},
    ),
    (
        "VirtualMachineClass",
        "spec: {sizingPolicies: [{memory: {min: 2Gi, max: 1Gi, step: '0', perCore: {min: 2Gi, max: 1Gi}}}]}",
        {
            "spec.sizingPolicies.0.memory.max": "less than min",
            "spec.sizingPolicies.0.memory.perCore.max": "less than min",
            "spec.sizingPolicies.0.memory.step": "more than 0",
        },
    ),
    (
        "VirtualDisk",
        "spec: {}",
        {"spec.persistentVolumeClaim.size": "is required for a disk without dataSource"},
    ),
    ("VirtualDisk", "spec: {dataSource: {}}", {}),
    (
        "VirtualDisk",
        "spec: {persistentVolumeClaim: {size: 0}}",
        {"spec.persistentVolumeClaim.size": "more than 0"},
    ),
    ("VirtualDisk", "spec: {persistentVolumeClaim: {size: 1Gi}}", {}),
    ("VirtualDisk", "spec: {persistentVolumeClaim: {size: 1}}", {}),
    ("VirtualDisk", "spec: {persistentVolumeClaim: {size: true}}", {}),
    ("VirtualDisk", "spec: {persistentVolumeClaim: {size: [1]}}", {}),
    ("VirtualDisk", "spec: {persistentVolumeClaim: {size: large}}", {}),
    ("VirtualImage", "spec: {dataSource: {http: {url: 'https://host/image'}}}", {}),
    ("VirtualImage", "spec: {dataSource: {http: {url: 'ftp:///image'}}}", {}),
    (
        "VirtualImage",
        "spec: {dataSource: {http: {url: 'http:///image'}}}",
        {"spec.dataSource.http.url": "must name a host"},
    ),
    (
        "VirtualDisk",
        "spec: {dataSource: {http: {url: 'https://user:a/b@host/image'}}}",
        {"spec.dataSource.http.url": "must name a host"},
    ),
    (
        "VirtualMachineOperation",
        "spec: {clone: {mode: Strict}}",
        {"spec.clone": "must say how copies are named"},
    ),
    (
        "VirtualMachineOperation",
        "spec: {clone: {mode: Strict, customization: {nameSuffix: -b}}}",
        {},
    ),
    ("VirtualMachineOperation", "spec: {clone: {mode: Strict, nameReplacement: [{}]}}", {}),
    ("Secret", "data: {a: c2VjcmV0, b: null}", {}),
    ("Secret", 'data: {a: "c2Vj\\r\\ncmV0\\n"}', {}),
    ("Secret", "data: {a: 's3cret!'}", {"data.a": "must be base64"}),
    ("Secret", "data: {a: c2Vj cmV0}", {"data.a": "must be base64"}),
    ("Secret", "data: {a: abc}", {"data.a": "must be base64"}),
    ("Node", "spec: {taints: [{key: a, effect: NoExecute}, {key: a, effect: NoSchedule}]}", {}),
    (
        "Node",
        "spec: {taints: [{key: a, effect: NoExecute}, {key: a, effect: NoExecute}]}",
        {"spec.taints.1": "of another taint"},
    ),
    ("ModuleConfig", "spec: {settings: {virtualMachineCIDRs: [10.0.0.0/24, 10.0.1.0/24]}}", {}),
    (
        "ModuleConfig",
        "spec: {settings: {virtualMachineCIDRs: [10.0.0.0/16, 10.0.1.0/24, 10.1.0.1/24, fd00::/64]}}",
        {
            "spec.settings.virtualMachineCIDRs.1": "must not overlap",
            "spec.settings.virtualMachineCIDRs.2": "without host bits",
            "spec.settings.virtualMachineCIDRs.3": "IPv4",
        },
    ),
    (
        "ModuleConfig",
        "spec: {settings: {virtualMachineCIDRs: [127.0.1.0/24, 0.0.0.0/1, 223.0.0.0/8, 224.0.1.0/24]}}",
        {
            "spec.settings.virtualMachineCIDRs.0": "must not overlap 127.0.0.0/8, whose addresses",
            "spec.settings.virtualMachineCIDRs.1": "must not overlap 0.0.0.0/8, whose addresses",
            "spec.settings.virtualMachineCIDRs.3": "must not overlap 224.0.0.0/3, whose addresses",
        },
    ),
]


@pytest.mark.parametrize(("kind", "content", "expected"), CASES)
def test_rules(kind: str, content: str, expected: dict[str, str]) -> None:
    found = problems(kind, content)
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert words in found[path]


@pytest.mark.promise("S162")
def test_user_data_is_bounded_in_bytes() -> None:
    def told(text: str) -> dict[str, str]:
        return problems("VirtualMachine", {"spec": {"provisioning": {"userData": text}}})

    assert told("x" * 2048) == {}
    assert "at most 2048 bytes, not 2049" in told("x" * 2049)["spec.provisioning.userData"]
    assert "not 2050" in told("ü" * 1025)["spec.provisioning.userData"]


def test_a_secret_is_bounded_and_its_messages_hold_no_value() -> None:
    large = base64.b64encode(b"x" * 1_100_000).decode()
    assert "at most 1024 KiB" in problems("Secret", {"data": {"a": large}})["data"]
    assert "hunter2!" not in str(problems("Secret", {"data": {"a": "hunter2!"}}))
