#!/bin/sh
# Boots a real guest, Debian 12 with its own cloud-init, from manifests, and looks whether the guest
# did what they say. As root, on Debian or Ubuntu; takes minutes where machines are emulated.
#
#   sh tests/real-guest.sh [ARGUMENT OF PYTEST…]
#
# The image is made here, of Debian's packages, and kept in /var/cache/gitvirt/debian.
set -eu
tree=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=tests/debian.sh
. "$tree/tests/debian.sh"
suite=bookworm
work=$debian_cache/$suite/guest
image=$debian_cache/guest-$(cat "$0" "$tree/tests/debian.sh" | sha256sum | cut -c1-16).qcow2

# What the guest has from the start, and what it gets from its user data only.
packages=systemd-sysv,linux-image-cloud-amd64,initramfs-tools,zstd,cloud-init,cloud-guest-utils
packages=$packages,netplan.io,openssh-server,sudo,ca-certificates
later="qemu-guest-agent lighttpd"

# A repository of packages in the image, so that the guest asks nobody else.
add_repository() {
    cat >"$work/repository" <<'INSIDE'
set -eu
mkdir -p /srv/packages
cd /srv/packages
apt-get -qq update
wanted=$(apt-get -qq -s --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
apt-get -qq -o APT::Sandbox::User=root download $wanted
for file in *%3a*; do  # a version's epoch stands in no file name of a repository
    [ ! -e "$file" ] || mv "$file" "$(echo "$file" | sed 's/_[0-9]*%3a/_/')"
done
apt-cache show --no-all-versions $wanted | sed 's:^Filename\: .*/:Filename\: ./:' >Packages
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list
rm -rf /var/lib/apt/lists/*
INSIDE
    # shellcheck disable=SC2086  # a list of names
    chroot "$root" sh -s -- $later <"$work/repository"
}

configure() {
    echo debian >"$root/etc/hostname"
    echo 'LABEL=root / ext4 errors=remount-ro 0 1' >"$root/etc/fstab"
    # No look for other clouds, and no locale beside C.UTF-8, which would have to be compiled.
    printf 'datasource_list: [NoCloud, None]\nlocale: false\n' \
        >"$root/etc/cloud/cloud.cfg.d/90_image.cfg"
    rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id"
    : >"$root/etc/resolv.conf"
    : >"$root/etc/machine-id"
    echo 'Acquire::Languages "none";' >"$root/etc/apt/apt.conf.d/99languages"
}

# A FAT partition for syslinux with kernel and initial RAM disk, and the root file system.
make_disk() {
    boot=64  # MiB
    system=1536
    disk=$work/disk
    truncate -s "$((1 + boot + system + 1))M" "$disk"
    printf 'label: dos\nstart=1MiB, size=%dMiB, type=c, bootable\nstart=%dMiB, size=%dMiB, type=83\n' \
        "$boot" "$((1 + boot))" "$system" | sfdisk -q "$disk"
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
    cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
    cp "$root"/boot/initrd.img-* "$work/initrd"
    cat >"$work/syslinux.cfg" <<'CONFIGURATION'
DEFAULT linux
PROMPT 0
LABEL linux
  LINUX vmlinuz
  INITRD initrd
  APPEND root=LABEL=root ro console=tty0 console=ttyS0,115200 mitigations=off random.trust_cpu=on
CONFIGURATION
    mformat -i "$disk@@1M" -T $((boot * 2048)) -H 2048 -h 64 -s 32 -v BOOT ::
    mcopy -i "$disk@@1M" "$work/vmlinuz" "$work/initrd" "$work/syslinux.cfg" ::
    syslinux --install --offset 1048576 "$disk"
    rm -rf "${root:?}"/boot/*
    mke2fs -q -t ext4 -L root -d "$root" -E offset=$(((1 + boot) * 1048576)) "$disk" "${system}M"
    qemu-img convert -c -f raw -O qcow2 -o compat=1.1 "$disk" "$work/image"
}

make_image() {
    root=$work/root
    mkdir -p "$work"
    mount -t proc proc /proc
    debian_make "$suite" "$root" "$packages"
    add_repository
    umount "$root/var/cache/apt/archives"
    configure
    make_disk
    mv "$work/image" "$image"
}

if [ "${1:-}" = inside ]; then
    make_image
    exit
fi
if [ ! -e "$image" ]; then
    echo "# making a Debian with cloud-init" >&2
    debian_require_root mmdebstrap fdisk e2fsprogs mtools syslinux syslinux-common qemu-utils
    (debian_in_namespaces "$work" "$tree/tests/real-guest.sh" inside)
    find "$debian_cache" -maxdepth 1 -name 'guest-*.qcow2' ! -path "$image" -exec rm -f {} +
fi

# shellcheck source=examples/install.sh
. "$tree/examples/install.sh"
# shellcheck disable=SC2034  # for install.sh
gitvirt_group=development
gitvirt_setup "$0" "$@"
GITVIRT_REAL_GUEST=$image
export GITVIRT_REAL_GUEST
gitvirt_as_user python -m pytest --basetemp="$GITVIRT_RUN/tmp/t" tests/e2e/test_real_guest.py "$@"
