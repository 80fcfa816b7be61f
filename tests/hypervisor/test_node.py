"""Hardware virtualization is what the CPU has, not what the kernel offers."""

from __future__ import annotations

import pytest

from agent.hypervisor.node import has_virtualization


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("<feature name='vmx'/><feature name='avx'/>", True),
        ("<feature policy='require' name='svm'/>", True),
        ("<feature policy='disable' name='svm'/>", False),
        ("<feature name='svme-addr-chk'/><feature name='hypervisor'/>", False),
        ("", False),
    ],
)
def test_virtualization_is_a_feature_of_the_cpu(features: str, expected: bool) -> None:
    assert (
        has_virtualization(f"<cpu><arch>x86_64</arch><model>kvm64</model>{features}</cpu>")
        is expected
    )
