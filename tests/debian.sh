# Makes minimal Debian systems; shared by tests/fresh.sh and tests/real-guest.sh, which source it.
# How packages are reached is taken over from this machine, and they are kept for the next time.
# shellcheck shell=sh

debian_cache=/var/cache/gitvirt/debian

# The mirror of Debian that this machine uses; empty where it is no Debian.
# shellcheck disable=SC2016  # for apt
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | sed -n 's/^Debian //p' | grep -v -- security | head -n 1
}

debian_apt_settings() {
    apt-config dump | grep -E '^Acquire::(https?|ftp|Retries|Check-)' || true
}

debian_require_root() {  # PACKAGE…
    [ "$(id -u)" -eq 0 ] || { echo "$0: must be root, to make a system of its own" >&2; exit 1; }
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed && continue
        apt-get -q update
        DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
        break
    done </dev/null
}

# To be called in a mount namespace of one's own, in which the kept packages stay mounted below the
# new root, for apt to find them and to add to them.
debian_make() {  # SUITE ROOT PACKAGES [ARGUMENT OF MMDEBSTRAP…]
    suite=$1
    root=$2
    packages=$3
    shift 3
    mkdir -p "$debian_cache/$suite/archives"
    debian_apt_settings >"$debian_cache/$suite/apt.conf"
    mirror=$(debian_mirror)
    # shellcheck disable=SC2016  # for mmdebstrap's shell
    ARCHIVES="$debian_cache/$suite/archives" mmdebstrap --mode=root --variant=minbase \
        --include="$packages" --aptopt="$debian_cache/$suite/apt.conf" --dpkgopt=force-unsafe-io \
        --setup-hook='mkdir -p "$1/var/cache/apt/archives" \
            && mount --bind "$ARCHIVES" "$1/var/cache/apt/archives"' \
        --skip=download/empty,essential/unlink,cleanup/apt/cache,cleanup/tmp \
        "$@" "$suite" "$root" ${mirror:+"$mirror"} >"$debian_cache/$suite/mmdebstrap.log" 2>&1 \
        || { cat "$debian_cache/$suite/mmdebstrap.log" >&2; return 1; }
}

# Runs a script of ours again as PID 1 of namespaces of its own, and waits for it. Whatever ends
# unshare ends all that runs in them, and with them go their mounts; then FOLDER is removed.
debian_in_namespaces() {  # FOLDER SCRIPT [ARGUMENT…]
    debian_folder=$1
    shift
    umask 022
    mkdir -p "$(dirname "$debian_folder")"
    exec 9<"$(dirname "$debian_folder")"
    flock 9  # one at a time
    rm -rf --one-file-system "$debian_folder"
    trap debian_clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
    unshare --mount --pid --ipc --uts --fork --kill-child sh "$@" </dev/null &
    debian_child=$!
    wait "$debian_child"
}

debian_clean_up() {
    status=$?
    trap - EXIT
    kill -KILL "$debian_child" 2>/dev/null || true
    wait
    rm -rf --one-file-system "$debian_folder"
    exit "$status"
}
