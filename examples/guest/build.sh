#!/bin/sh
# Builds the small guest: a disk image that boots in seconds and answers to cloud-init data, ACPI,
# the QEMU guest agent and ssh.
#
#   build.sh OUTPUT.qcow2
#
# Everything in it comes from the distribution's own packages, fetched by `apt-get download` and
# unpacked, not installed. No root, no mounts. Needs the packages mtools, syslinux, qemu-utils,
# cpio, zstd, xz-utils and kmod. A second call with unchanged inputs only copies the finished image
# from the cache.
#
#   GITVIRT_CACHE         where packages and finished images are kept (default ~/.cache/gitvirt)
#   GITVIRT_GUEST_KERNEL  another kernel package, for example linux-image-amd64 (bigger, with SATA)
set -eu
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1700000000 PATH="$PATH:/usr/sbin:/sbin"
umask 022

fail() { echo "build.sh: $*" >&2; exit 1; }

[ $# -eq 1 ] || fail "usage: build.sh OUTPUT.qcow2"
output=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${GITVIRT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gitvirt}
[ "$(uname -m)" = x86_64 ] || fail "the guest is built on x86_64 only"

# Drivers in the order in which the guest loads them. Those a kernel does not have are left out.
# pvpanic first, so that no later crash is missed; disks behind their controllers, so that all
# are there when the last one is loaded.
modules="pvpanic pvpanic-mmio pvpanic-pci virtio_pci virtio_console virtio_scsi virtio_blk ahci
ata_piix sd_mod sr_mod ext4 nls_cp437 nls_ascii nls_iso8859-1 nls_utf8 vfat isofs button evdev
virtio_net e1000 e1000e virtio_balloon virtio_mem virtio-rng"

# shellcheck disable=SC1091
distribution() { . /etc/os-release && echo "$ID $VERSION_ID"; }

kernel_package() {
    if [ -n "${GITVIRT_GUEST_KERNEL:-}" ]; then
        echo "$GITVIRT_GUEST_KERNEL"
    elif apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
        echo linux-image-cloud-amd64
    elif apt-cache show linux-image-virtual >/dev/null 2>&1; then
        echo linux-image-virtual
    else
        fail "no kernel package found: run apt-get update, or set GITVIRT_GUEST_KERNEL"
    fi
}

# A kernel's meta package stands for the image and, where they are apart, its modules.
kernel_parts() {
    apt-cache depends --recurse --important "$1" | grep -E '^linux-(image|modules)-[0-9]' | sort -u
}

# sftp-server needs no library beside libc, whatever the client in its package's dependencies does.
library_packages() {
    apt-cache depends --recurse --important qemu-guest-agent dropbear-bin \
        | grep -E '^(lib|zlib)' | grep -v perl | sort -u
}

fetch() {
    parts=$(kernel_parts "$(kernel_package)")
    [ -n "$parts" ] || fail "the kernel package names no image"
    # shellcheck disable=SC2046,SC2086  # lists of names
    set -- $parts busybox-static qemu-guest-agent dropbear-bin openssh-sftp-server \
        $(library_packages)
    mkdir -p "$cache/packages" "$work/empty"
    (cd "$work/empty" && apt-get -qq --print-uris download "$@") | cut -d' ' -f2 >"$work/names"
    # apt-get asks for nothing that is already in the folder at the right size and hash.
    (cd "$cache/packages" && apt-get -qq -o APT::Sandbox::User=root download "$@")
    for package in "$cache"/packages/*.deb; do
        if grep -qxF "$(basename "$package")" "$work/names"; then
            dpkg-deb -x "$package" "$work/unpacked"
        else
            rm -f "$package"  # an older version
        fi
    done
}

copy_modules() {
    tree=$work/unpacked
    if [ ! -d "$tree/lib/modules" ]; then  # packages made for a merged /usr
        mkdir -p "$tree/lib"
        ln -s ../usr/lib/modules "$tree/lib/modules"
    fi
    release=$(basename "$(echo "$tree"/lib/modules/[0-9]*)")
    depmod -b "$tree" "$release" 2>/dev/null
    mkdir -p "$root/lib/modules"
    : >"$root/lib/modules/order"
    for name in $modules; do
        modprobe -d "$tree" -S "$release" --show-depends "$name" 2>/dev/null || true
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$work/modules"
    while read -r file; do
        base=$(basename "$file")
        base=${base%%.ko*}.ko
        case $file in
            *.zst) zstd -qdc "$file" ;;
            *.xz) xz -dc "$file" ;;
            *) cat "$file" ;;
        esac >"$root/lib/modules/$base"
        echo "$base" >>"$root/lib/modules/order"
    done <"$work/modules"
    [ -s "$root/lib/modules/order" ] || fail "no module of the kernel was found"
}

# Programs of the packages, each where it lies there, and the libraries that they need.
copy_programs() {
    loader=$(find "$work/unpacked" -name 'ld-linux-x86-64.so.2' -type f | head -n 1)
    [ -n "$loader" ] || loader=$(find -L "$work/unpacked" -name 'ld-linux-x86-64.so.2' | head -n 1)
    paths=$work/unpacked/usr/lib/x86_64-linux-gnu:$work/unpacked/lib/x86_64-linux-gnu
    mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
    cp -L "$loader" "$root/lib64/ld-linux-x86-64.so.2"
    for program; do
        "$loader" --library-path "$paths" --list "$work/unpacked/$program" >"$work/libraries" \
            || fail "the libraries of $program are not complete"
        mkdir -p "$root/$(dirname "$program")"
        cp "$work/unpacked/$program" "$root/$program"
        awk '$2 == "=>" { print $3 }' "$work/libraries" | while read -r library; do
            cp -L "$library" "$root/lib/x86_64-linux-gnu/"
        done
    done
}

copy_busybox() {
    mkdir -p "$root/bin" "$root/usr/bin"
    cp "$(find "$work/unpacked" -path '*bin/busybox' -type f)" "$root/bin/busybox"
    "$root/bin/busybox" --list | while read -r applet; do
        [ -e "$root/bin/$applet" ] || [ -e "$root/sbin/$applet" ] \
            || ln -s busybox "$root/bin/$applet"
    done
}

initramfs() {
    root=$work/root
    cp -R "$here/root" "$root"
    for folder in dev proc sys run tmp mnt root home var/log var/lib usr/share; do
        mkdir -p "$root/$folder"
    done
    chmod 0755 "$root/init" "$root"/sbin/* "$root"/etc/acpi/PWRF/* "$root"/etc/udhcpc/*
    ln -s ../run "$root/var/run"
    for name in halt poweroff reboot; do
        ln -s shutdown "$root/sbin/$name"
    done
    copy_modules
    copy_programs usr/sbin/qemu-ga usr/sbin/dropbear usr/bin/dropbearkey usr/lib/openssh/sftp-server
    ln -s openssh/sftp-server "$root/usr/lib/sftp-server"  # where dropbear looks for it
    copy_busybox
    sed "s/@VERSION@/${inputs%"${inputs#????????????}"}/" "$here/root/etc/os-release" >"$root/etc/os-release"
    chmod 0600 "$root/etc/shadow"
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$root" && find . | sort | cpio --quiet --reproducible -o -H newc -R +0:+0) \
        | zstd -q -19 >"$work/initrd"
}

disk() {
    kernel=$(find "$work/unpacked/boot" -name 'vmlinuz-*' -type f)
    cp "$kernel" "$work/vmlinuz"
    cp "$here/syslinux.cfg" "$work/syslinux.cfg"
    touch -d "@$SOURCE_DATE_EPOCH" "$work/vmlinuz" "$work/initrd" "$work/syslinux.cfg"
    size=$(cat "$work/vmlinuz" "$work/initrd" | wc -c)
    mebibytes=$((size / 1048576 + 4))
    truncate -s "${mebibytes}M" "$work/disk"
    # A file system without a partition table: the BIOS starts its first sector as it would a
    # partitioned disk's.
    mformat -i "$work/disk" -T $((mebibytes * 2048)) -h 16 -s 63 -N 67697476 -v GITVIRT ::
    mcopy -i "$work/disk" -m "$work/vmlinuz" "$work/initrd" "$work/syslinux.cfg" ::
    syslinux --install "$work/disk"
    qemu-img convert -c -f raw -O qcow2 -o compat=1.1 \
        "$work/disk" "$work/image"
}

inputs=$( (cd "$here" && find . -type f | sort | xargs sha256sum; distribution; \
    echo "${GITVIRT_GUEST_KERNEL:-}") | sha256sum | cut -d' ' -f1)
mkdir -p "$cache"
image=$cache/guest-$inputs.qcow2

if [ ! -e "$image" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    echo "# downloading the packages that the guest is made of" >&2
    fetch
    echo "# building the guest's disk" >&2
    initramfs
    disk
    cp "$work/image" "$image.$$"
    mv "$image.$$" "$image"  # whole or not at all, also for a reader beside us
    find "$cache" -maxdepth 1 -name 'guest-*.qcow2' -mtime +30 -exec rm -f {} +
fi

if ! cmp -s "$image" "$output"; then
    cp "$image" "$output.$$"
    mv "$output.$$" "$output"
fi
