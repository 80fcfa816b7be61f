#!/bin/sh
# Looks whether our definitions are as good for a newer libvirt and QEMU as for this machine's:
# makes a minimal Debian of another release, and runs there the tests in which libvirt has a say
# about a definition. As root, on Debian or Ubuntu; installs mmdebstrap where it is missing.
#
#   sh tests/newer.sh [SUITE [ARGUMENT OF PYTEST…]]     trixie is the default
#
# Everything happens in namespaces that end with this script, as in tests/fresh.sh; packages are
# kept for the next time in /var/cache/gitvirt/debian.
set -eu

suite=${1:-trixie}
[ $# -eq 0 ] || shift
tree=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=tests/debian.sh
. "$tree/tests/debian.sh"
cache=$debian_cache/$suite
root=$cache/newer
user=nobody  # whom tests/run.sh becomes

keep_downloads() {
    mkdir -p "$cache/packages" "$cache/pip" "$root/var/cache/gitvirt/$user/packages" \
        "$root/root/.cache/pip"
    chown -R root: "$cache/pip"  # pip uses no one else's
    mount --bind "$cache/packages" "$root/var/cache/gitvirt/$user/packages"
    mount --bind "$cache/pip" "$root/root/.cache/pip"
}

copy_the_project() {
    mkdir "$root/srv/gitvirt"
    tar -C "$tree" --exclude=./.git --exclude='./.venv*' --exclude=__pycache__ \
        --exclude='.*_cache' -cf - . | tar -C "$root/srv/gitvirt" -xf - --no-same-owner
}

inside() {
    mount -t proc proc /proc
    echo "# making a $suite" >&2
    debian_make "$suite" "$root" ca-certificates
    hostname newer
    echo "127.0.0.1 localhost newer" >"$root/etc/hosts"
    debian_mount "$root"
    keep_downloads
    copy_the_project
    debian_take_settings_over "$root"
    status=0
    debian_run "$root" root sh /srv/gitvirt/tests/run.sh "$@" || status=$?
    chroot "$root" sh -c 'libvirtd --version; qemu-system-x86_64 --version | head -n 1' >&2
    chroot "$root" apt-get -q autoclean >/dev/null
    exit "$status"
}

if [ "${1:-}" = inside ]; then
    shift
    inside "$@"
fi
[ $# -gt 0 ] || set -- tests/golden tests/hypervisor tests/e2e/test_by_hand.py
debian_require_root mmdebstrap
debian_in_namespaces "$root" "$tree/tests/newer.sh" "$suite" inside "$@"
