#!/bin/sh
# Proves the quickstart on a fresh machine: makes a minimal Debian with systemd and sudo, and runs
# it there as a user with sudo. As root, on Debian or Ubuntu; installs mmdebstrap where it is missing.
#
#   sh tests/fresh.sh [SUITE]     bookworm (the default), trixie, …
#
# Everything happens in mount, process, IPC and UTS namespaces, which end with this script. How
# packages are reached is taken over from this machine: apt's mirror and settings, pip's index and
# certificate, proxies, certificates of its own. Packages are kept for the next time in
# /var/cache/gitvirt/debian.
set -eu

suite=${1:-bookworm}
tree=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=tests/debian.sh
. "$tree/tests/debian.sh"
cache=$debian_cache/$suite
root=$cache/root
user=founder

fail() { echo "fresh.sh: $*" >&2; exit 1; }
say() { echo "# $*" >&2; }

make_user() {
    hostname fresh
    echo "127.0.0.1 localhost fresh" >"$root/etc/hosts"
    chroot "$root" useradd --create-home --shell /bin/sh "$user"
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
    for folder in packages:.cache/gitvirt/packages pip:.cache/pip; do
        mkdir -p "$cache/${folder%%:*}" "$root/home/$user/${folder#*:}"
        mount --bind "$cache/${folder%%:*}" "$root/home/$user/${folder#*:}"
    done
    mkdir "$root/home/$user/gitvirt"
    tar -C "$tree" --exclude=./.git --exclude='./.venv*' --exclude=__pycache__ \
        --exclude='.*_cache' -cf - . | tar -C "$root/home/$user/gitvirt" -xf - --no-same-owner
    chroot "$root" chown -R "$user:" "/home/$user"
}

# With all that could lead it to another libvirt than its own: this one is not there.
quickstart() {
    elsewhere=qemu:///system
    mkdir -p "$root/etc/gitvirt" "$root/home/$user/.config/libvirt"
    echo "connect: $elsewhere" >"$root/etc/gitvirt/config.yaml"
    echo "uri_default = \"$elsewhere\"" >"$root/home/$user/.config/libvirt/libvirt.conf"
    debian_run "$root" "$user" \
        LIBVIRT_DEFAULT_URI="$elsewhere" VIRSH_DEFAULT_CONNECT_URI="$elsewhere" \
        GITVIRT_CONNECT="$elsewhere" GITVIRT_FLEET=somebodys \
        sh "/home/$user/gitvirt/examples/quickstart.sh"
}

# As README.md has it, of what is not there already.
install_for_real() {
    debian_run "$root" root python3 -m venv --system-site-packages /opt/gitvirt \
        && debian_run "$root" root /opt/gitvirt/bin/pip -q install "/home/$user/gitvirt" \
        && verify_unit --system \
        && verify_unit --user --user
}

verify_unit() {  # MODE [OPTION]
    unit=/tmp/unit$1/gitvirt.service
    mkdir "$root/tmp/unit$1"
    debian_run "$root" root \
        /opt/gitvirt/bin/gitvirt systemd-unit --repo "/srv/some vms.git" ${2:+"$2"} \
        >"$root$unit" \
        && debian_run "$root" root XDG_RUNTIME_DIR=/tmp systemd-analyze "$1" verify "$unit"
}

look_afterwards() {
    ! grep -lE '^(libvirtd|virt[a-z]+d|qemu-system.*|tini)$' /proc/[0-9]*/comm \
        || fail "the quickstart has left processes"
    ! find "$root/etc/systemd/system" -name '*virt*' | grep . \
        || fail "the quickstart has left units of libvirt's switched on"
    ! chroot "$root" sh -c 'command -v gcc' || fail "the quickstart has installed a compiler"
    [ ! -e "$root/home/$user/gitvirt/.venv/bin/pytest" ] \
        || fail "the quickstart has installed tools for development"
    ! find "$root/tmp" -name 'gv.*' | grep . || fail "the quickstart has left its folder"
}

inside() {
    mount -t proc proc /proc
    say "making a fresh $suite"
    debian_make "$suite" "$root" systemd,sudo
    debian_mount "$root"
    make_user
    debian_take_settings_over "$root"
    started=$(date +%s)
    quickstart || fail "the quickstart ended with exit code $?"
    look_afterwards
    install_for_real || fail "the installation of README.md does not work"
    chroot "$root" apt-get -q autoclean >/dev/null
    say "the quickstart works on a fresh $suite ($(($(date +%s) - started)) s)"
}

case ${2:-} in
    inside) inside ;;
    *)
        debian_require_root mmdebstrap
        debian_in_namespaces "$root" "$tree/tests/fresh.sh" "$suite" inside
        ;;
esac
