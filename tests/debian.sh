# Makes minimal Debian systems and runs programs in them; shared by the scripts that source it.
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

# What a new system has to have while programs run in it, seen from namespaces of its own.
debian_mount() {  # ROOT
    root=$1
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=0755 tmpfs "$root/run"
    mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
}

# What this machine's pip knows about the way to its packages.
debian_pip_settings() {
    for python in "${GITVIRT_VENV:-/var/cache/gitvirt/venv}/bin/python" python3; do
        "$python" -m pip config list 2>/dev/null && return
    done
    return 0
}

# One of pip's settings as a line of its configuration; folders of this machine are left out.
debian_pip_setting() {  # NAME
    value=$(debian_pip_settings | sed -n "s/^[^=]*[.]$1='\(.*\)'\$/\1/p" | tail -n 1)
    case $value in
        '' | /* | file:*) ;;
        *) echo "$1 = $value" ;;
    esac
}

debian_certificate() { debian_pip_settings | sed -n "s/^[^=]*[.]cert='\(.*\)'\$/\1/p" | tail -n 1; }

# The network is this machine's, and so is the way to it.
debian_take_settings_over() {  # ROOT
    root=$1
    [ ! -d /usr/local/share/ca-certificates ] \
        || cp -R /usr/local/share/ca-certificates "$root/usr/local/share/"
    {
        echo '[global]'
        for name in index-url extra-index-url trusted-host proxy timeout; do
            debian_pip_setting "$name"
        done
        if [ -e "$(debian_certificate)" ]; then
            cp -L "$(debian_certificate)" "$root/etc/pip-certificates.pem"
            echo 'cert = /etc/pip-certificates.pem'
        fi
    } >"$root/etc/pip.conf"
}

# Runs a command in the new system, with nothing of this one's environment but proxies.
debian_run() {  # ROOT USER [NAME=VALUE…] COMMAND…
    root=$1
    who=$2
    home=$(chroot "$root" getent passwd "$who" | cut -d: -f6)
    shift 2
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || set -- "$name=$value" "$@"
    done
    chroot "$root" setpriv --reuid "$who" --regid "$who" --init-groups \
        env -i HOME="$home" USER="$who" LOGNAME="$who" LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
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
