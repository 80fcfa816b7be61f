"""Facts about a host, from its own capabilities: they hold for a remote host as well."""

from __future__ import annotations

import contextlib
from copy import deepcopy
from dataclasses import replace

import libvirt
from lxml import etree

from agent.core.host import RawNode
from agent.core.model import Json
from agent.hypervisor.errors import unsupported
from agent.hypervisor.xml import parse, text_at

_VIRTUALIZATION = frozenset({"vmx", "svm"})
_X86 = frozenset({"x86_64", "i686"})


class NodeReader:
    """Reads a host's facts once a connection; networks, `bridges`, filters and CPU tuning again at
    each read.
    """

    def __init__(self, name: str | None, bridges: frozenset[str] = frozenset()) -> None:
        self._name, self._bridges = name, bridges
        self._fixed: tuple[libvirt.virConnect, RawNode] | None = None

    def read(self, connection: libvirt.virConnect, active: libvirt.virDomain | None) -> RawNode:
        """`active` is any running domain, or None. The same instance while nothing changes. May
        raise libvirtError.
        """
        known = self._fixed[1] if self._fixed and self._fixed[0] is connection else None
        node = known or _read(connection, self._name)
        networks = frozenset(
            net.name()
            for net in connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
        )
        node = replace(
            node,
            networks=networks,
            bridges=_bridges(connection, self._bridges),
            filters=_filters(connection),
            cpu_tuning=node.cpu_tuning and (active is None or _tunable(active)),
        )
        if self._fixed and self._fixed[1] == node:
            node = self._fixed[1]
        self._fixed = (connection, node)
        return node


def _read(connection: libvirt.virConnect, name: str | None) -> RawNode:
    capabilities = parse(connection.getCapabilities())
    architecture = text_at(capabilities, "host/cpu/arch")
    # The test driver has none of the domain capabilities and no security drivers.
    emulated = _domain_capabilities(connection, architecture, "qemu")
    accelerated = _domain_capabilities(connection, architecture, "kvm")
    virt_type = (
        "kvm" if accelerated is not None and _accelerates(connection, capabilities) else "qemu"
    )
    chosen = accelerated if virt_type == "kvm" else emulated
    uri = connection.getURI()
    session = connection.getType() == "QEMU" and not _privileged(capabilities)
    info: Json = connection.getInfo()
    return RawNode(
        name=name or connection.getHostname(),
        uri=uri,
        session=session,
        virt_type=virt_type,
        machine="q35" if chosen is None else text_at(chosen, "machine"),
        cpu_modes=_supported_modes(chosen),
        cpu_models=_usable_models(chosen),
        emulator="" if chosen is None else text_at(chosen, "path"),
        memory=info[1] << 20,
        cpus=info[2],
        libvirt_version=_version(connection.getLibVersion()),
        qemu_version=_version(connection.getVersion()),
        cpu_tuning=not session,
        legacy_machine=_legacy_machine(capabilities, architecture),
        cpu_features=_features(connection, architecture, virt_type, chosen),
        host=text_at(capabilities, "host/uuid"),
    )


def _bridges(connection: libvirt.virConnect, names: frozenset[str]) -> dict[str, bool] | None:
    there = {}
    for name in names:
        try:
            xml = parse(connection.interfaceLookupByName(name).XMLDesc(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_INTERFACE:
                return None  # this driver has a daemon of its own, which need not be there
        else:
            there[name] = xml.get("type") == "bridge"
    return there


def _filters(connection: libvirt.virConnect) -> frozenset[str] | None:
    try:
        return frozenset(each.name() for each in connection.listAllNWFilters())
    except libvirt.libvirtError as error:
        return frozenset() if unsupported(error) else None


def _legacy_machine(capabilities: etree._Element, architecture: str) -> str:
    """What the name pc stands for."""
    machines = capabilities.iterfind(f"guest/arch[@name='{architecture}']/machine")
    names = (machine.get("canonical") for machine in machines if machine.text == "pc")
    return next(names, None) or "pc"


def _features(
    connection: libvirt.virConnect,
    architecture: str,
    virt_type: str,
    chosen: etree._Element | None,
) -> frozenset[str]:
    """What mode host-model gives, with the features that its model stands for."""
    model = "cpu/mode[@name='host-model'][@supported='yes']"
    mode = None if chosen is None else chosen.find(model)
    if chosen is None or mode is None:
        return frozenset()
    cpu = deepcopy(mode)
    cpu.tag = "cpu"
    cpu.attrib.clear()
    text = etree.tostring(cpu, encoding="unicode", with_tail=False)
    flags = (
        libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        | libvirt.VIR_CONNECT_BASELINE_CPU_MIGRATABLE
    )
    emulator, machine = text_at(chosen, "path"), text_at(chosen, "machine")
    try:
        text = connection.baselineHypervisorCPU(
            emulator, architecture, machine, virt_type, [text], flags
        )
    except libvirt.libvirtError:
        return frozenset()  # a host that does not know this serves everything but discovery
    features = parse(text).iterfind("feature")
    return frozenset(
        feature.get("name", "") for feature in features if feature.get("policy") == "require"
    )


def _domain_capabilities(
    connection: libvirt.virConnect, architecture: str, virt_type: str
) -> etree._Element | None:
    machine = "q35" if architecture in _X86 else None
    try:
        return parse(connection.getDomainCapabilities(None, architecture, machine, virt_type))
    except libvirt.libvirtError as error:
        refused = (
            libvirt.VIR_ERR_INVALID_ARG,
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
            libvirt.VIR_ERR_NO_SUPPORT,
        )
        if error.get_error_code() not in refused:
            raise
        return None


def _accelerates(connection: libvirt.virConnect, capabilities: etree._Element) -> bool:
    """False where the CPU lacks the extension: libvirt offers kvm wherever /dev/kvm opens, and
    guests then hang.
    """
    cpu = capabilities.find("host/cpu")
    if cpu is None or text_at(cpu, "arch") not in _X86:
        return True
    text = etree.tostring(cpu, encoding="unicode", with_tail=False)
    with contextlib.suppress(
        libvirt.libvirtError
    ):  # a model such as EPYC contains the feature without naming it
        text = connection.baselineCPU([text], libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)
    return has_virtualization(text)


def has_virtualization(cpu_xml: str) -> bool:
    """True if a `<cpu>` lists vmx or svm among the features that it has."""
    features = parse(cpu_xml).iterfind("feature")
    return any(
        feature.get("name") in _VIRTUALIZATION and feature.get("policy") != "disable"
        for feature in features
    )


def _privileged(capabilities: etree._Element) -> bool:
    """Only a daemon of root's changes file owners. The URI does not tell: as root, qemu:///session
    is the system's daemon.
    """
    return any(model.text == "dac" for model in capabilities.iterfind("host/secmodel/model"))


def _supported_modes(chosen: etree._Element | None) -> frozenset[str]:
    if chosen is None:
        return frozenset()
    return frozenset(
        mode.get("name", "")
        for mode in chosen.iterfind("cpu/mode")
        if mode.get("supported") == "yes"
    )


def _usable_models(chosen: etree._Element | None) -> frozenset[str]:
    if chosen is None:
        return frozenset()
    models = chosen.iterfind("cpu/mode[@name='custom']/model")
    return frozenset(model.text for model in models if model.text and model.get("usable") == "yes")


def _tunable(active: libvirt.virDomain) -> bool:
    """False if the host has no CPU controller for this running domain. Asks cgroups, not QEMU."""
    try:
        active.schedulerType()
    except libvirt.libvirtError as error:
        gone = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_SUPPORT)
        if unsupported(error) or error.get_error_code() in gone:
            return True
        return "controller" not in str(error)
    return True


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
