"""What cloud-init will not take as it is meant, of user data. It says little itself: what it does
not know it passes over. No sentence here holds a word of the data, which may be secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.parsing import parse
from agent.core.spelling import nearest

HEADER = "#cloud-config"
BOM = "\ufeff"
LONGEST = 64 * 1024
"""Characters that are looked at; what is longer is seldom written by hand."""
MOST_UNKNOWN = 50
"""Keys that are compared with the known ones."""

_NAMES = """
    allow_public_ssh_keys ansible apk_repos apt apt_mirror apt_pipelining apt_reboot_if_required
    apt_sources apt_update apt_upgrade authkey_hash autoinstall bootcmd byobu_by_default ca-certs
    ca_certs chef chpasswd cloud_config_modules cloud_final_modules cloud_init_modules
    create_hostname_file datasource datasource_list device_aliases disable_ec2_metadata disable_root
    disable_root_opts disk_setup drivers fan final_message fqdn fs_setup groups growpart grub-dpkg
    grub_dpkg hostname keyboard landscape launch-index locale locale_configfile lxd manage_etc_hosts
    manage_resolv_conf mcollective merge_how merge_type migrate mount_default_fields mounts network
    no_ssh_fingerprints ntp output package_reboot_if_required package_update package_upgrade
    packages password phone_home power_state prefer_fqdn_over_hostname preserve_hostname puppet
    random_seed reporting resize_rootfs resolv_conf rh_subscription rsyslog runcmd salt_minion snap
    spacewalk ssh ssh_authorized_keys ssh_deletekeys ssh_fp_console_blacklist ssh_genkeytypes
    ssh_import_id ssh_key_console_blacklist ssh_keys ssh_publish_hostkeys ssh_pwauth
    ssh_quiet_keygen swap system_info timezone ubuntu-advantage ubuntu_advantage ubuntu_pro updates
    user users vendor_data wireguard write_files yum_repo_dir yum_repos zypper
    """
KNOWN = frozenset(_NAMES.split())
"""Top-level keys of cloud-init 22.4 to 24.4."""
OTHERS = (
    *("#!", "#include", "#cloud-boothook", "#part-handler", "#upstart-job", "## template:"),
    *(f"{HEADER}-archive", f"{HEADER}-jsonp"),
)
"""What else user data may begin with."""


def notes(data: str) -> Iterator[str]:
    """Sentences about user data, to stand behind its place."""
    text = data.removeprefix(BOM).lstrip()
    first = text.split("\n", 1)[0].strip().lower()
    if first.startswith(OTHERS):
        return
    top = _top(data.removeprefix(BOM)) if len(text) <= LONGEST else _Top()
    if not first.startswith(HEADER):
        if KNOWN & top.lines.keys() or nearest(first.replace(" ", ""), (HEADER,)):
            yield f"does not begin with the line {HEADER}: cloud-init passes it over"
        return
    if data.startswith(BOM):
        yield f"begins with a byte order mark, so that cloud-init misses {HEADER}: take it out"
    elif data != text:
        yield f"has blanks before {HEADER}, which cloud-init's own check wants first: take them out"
    if top.wrong:
        yield f"{top.wrong}: cloud-init passes it over"
    unknown = [key for key in top.lines if key not in KNOWN][:MOST_UNKNOWN]
    for key in unknown:
        near, line = nearest(key, sorted(KNOWN - top.lines.keys())), top.lines[key]
        if near:
            yield (
                f"has a key in line {line} that cloud-init does not know and passes over: "
                f"did you mean {near}?"
            )


@dataclass(frozen=True)
class _Top:
    """The keys of the outermost mapping with their lines, or what is wrong with it."""

    lines: Mapping[str, int] = field(default_factory=dict)
    wrong: str = ""


def _top(text: str) -> _Top:
    parsed = parse(text.encode())
    for line, message in parsed.errors:
        # other errors are bounds of ours
        return _Top(wrong=f"is not valid YAML (line {line})" if "not valid YAML" in message else "")
    for document in parsed.documents:
        if isinstance(document.value, dict):
            return _Top({key: document.line_of((key,)) for key in document.value})
        return _Top(wrong="is no mapping of settings")
    return _Top()
