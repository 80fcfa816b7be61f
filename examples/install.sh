# Set-up shared by examples/quickstart.sh and tests/run.sh, for a fresh Debian (12 or later) or
# Ubuntu (24.04 or later) on x86_64. It is sourced:
#
#   . examples/install.sh
#   gitvirt_enter "$0" "$@"    # the rest of the script runs as an ordinary user, all set up
#
#   gitvirt_setup "$0" "$@"    # or: sets up and returns, for a script that needs both users
#   gitvirt_as_user COMMAND…
#   gitvirt_as_root COMMAND…
#
# Both install what is missing (packages with sudo where one is not root), and start the script
# again below tini, since libvirt sees that a QEMU is gone only when its parent has reaped it.
# Then, at the script's end, they end the libvirt daemons and guests started meanwhile.
#
# What is set and exported afterwards:
#   GITVIRT_TREE    the project. Root's scripts work on a copy that belongs to the ordinary user
#   GITVIRT_RUN     a folder of this run, removed at the end: home, XDG folders, temporary files.
#                   Its path is short: libvirt's sockets do not fit into a long one
#   GITVIRT_CACHE   downloads and the guest's image
#   PATH            begins with the virtual environment
# What may be set before:
#   GITVIRT_VENV    the virtual environment (.venv; as root /var/cache/gitvirt/venv)
#   GITVIRT_PYTHON  the interpreter to make it with (/usr/bin/python3)
#   GITVIRT_USER    whom root's scripts become (nobody)
#   GITVIRT_KEEP    not empty: what runs at the end of a script that went well is left running
# shellcheck shell=sh

gitvirt_packages="python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev
libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils ovmf swtpm
swtpm-tools tini ca-certificates git openssl busybox-static mtools syslinux cpio zstd xz-utils
kmod
iproute2 iptables nftables dnsmasq-base"
# Parts of libvirt that newer releases have in packages of their own.
gitvirt_packages_if_known="libvirt-daemon-common libvirt-daemon-log libvirt-daemon-lock
libvirt-daemon-driver-network libvirt-daemon-driver-nodedev libvirt-daemon-driver-nwfilter
libvirt-daemon-driver-secret libvirt-daemon-driver-storage libvirt-daemon-driver-interface
libvirt-daemon-config-nwfilter"

gitvirt_fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Root runs a command as it is, others through sudo.
gitvirt_privileged() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || gitvirt_fail "sudo is needed for: $*"
        sudo "$@"
    fi
}

gitvirt_missing() {
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed \
            || echo "$package"
    done
}

gitvirt_known() {
    for package; do
        apt-cache policy "$package" | grep -q 'Candidate: [^(]' && echo "$package"
    done
    return 0
}

# A libvirt that was not there before is for our own daemons: the system's stay off.
gitvirt_disable_services() {
    command -v systemctl >/dev/null || return 0
    now=
    [ ! -d /run/systemd/system ] || now=--now
    # shellcheck disable=SC2046,SC2086  # lists of names
    gitvirt_privileged systemctl -q disable $now $(dpkg-query -W -f '${Package}\n' 'libvirt-daemon*' \
        | xargs dpkg -L 2>/dev/null | grep -E '/systemd/system/[^/@]+[.](service|socket)$' \
        | xargs -n 1 basename)
}

gitvirt_install_packages() {
    command -v apt-get >/dev/null || gitvirt_fail "this set-up is for Debian and Ubuntu"
    # shellcheck disable=SC2046,SC2086  # lists of names
    set -- $(gitvirt_missing $gitvirt_packages)
    # shellcheck disable=SC2046,SC2086
    if [ $# -gt 0 ] || [ -n "$(gitvirt_missing $(gitvirt_known $gitvirt_packages_if_known))" ]; then
        gitvirt_privileged apt-get -q update
        set -- "$@" $(gitvirt_missing $(gitvirt_known $gitvirt_packages_if_known))
        gitvirt_privileged env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            --no-install-recommends install "$@" </dev/null
        case " $* " in *" libvirt-daemon "*) gitvirt_disable_services ;; esac
    fi
    # The guest's packages are downloaded, for which apt has to know them.
    apt-cache show qemu-guest-agent >/dev/null 2>&1 || gitvirt_privileged apt-get -q update
}

# The lock file's entry for one package.
gitvirt_locked() {
    sed -n "/^$1==/,/[^\\\\]\$/p" "$gitvirt_origin/requirements.lock"
}

gitvirt_pip() {
    "$GITVIRT_VENV/bin/python" -m pip --disable-pip-version-check --no-input -q "$@"
}

# Two marks say what the environment holds: the locked packages, and which project they serve.
gitvirt_make_environment() {
    lock=$(cat "$gitvirt_origin/requirements.lock" "$gitvirt_python" | sha256sum)
    project=$( (cat "$gitvirt_origin/pyproject.toml"; echo "$gitvirt_origin $lock") | sha256sum)
    mkdir -p "$(dirname "$GITVIRT_VENV")"
    exec 9<"$(dirname "$GITVIRT_VENV")"
    flock 9  # two scripts may start at the same time
    if [ "$lock" != "$(cat "$GITVIRT_VENV/locked" 2>/dev/null)" ]; then
        echo "installing Python packages into $GITVIRT_VENV" >&2
        "$gitvirt_python" -m venv --clear "$GITVIRT_VENV"
        # libvirt-python is built here, against this machine's libvirt, by a pinned setuptools.
        gitvirt_locked setuptools >"$GITVIRT_VENV/setuptools.lock"
        gitvirt_pip install --require-hashes --no-deps -r "$GITVIRT_VENV/setuptools.lock"
        gitvirt_pip install --require-hashes --no-deps --no-build-isolation \
            -r "$gitvirt_origin/requirements.lock"
        echo "$lock" >"$GITVIRT_VENV/locked"
    fi
    if [ "$project" != "$(cat "$GITVIRT_VENV/project" 2>/dev/null)" ]; then
        gitvirt_pip install --no-deps --no-build-isolation -e "$gitvirt_origin"
        echo "$project" >"$GITVIRT_VENV/project"
    fi
    exec 9>&-
}

gitvirt_make_run_folder() {
    GITVIRT_RUN=$(mktemp -d /tmp/gv.XXXXXX)
    chmod 0755 "$GITVIRT_RUN"
    (cd "$GITVIRT_RUN" && mkdir -m 0700 home run config data cache tmp)
    GITVIRT_TREE=$gitvirt_origin
    if [ "$(id -u)" -eq 0 ]; then
        # Root's files may be out of the other user's reach, and he has to write beside them.
        GITVIRT_TREE=$GITVIRT_RUN/src
        mkdir "$GITVIRT_TREE"
        tar -C "$gitvirt_origin" --exclude=./.git --exclude=./.venv --exclude=__pycache__ \
            --exclude='.*_cache' -cf - . | tar -C "$GITVIRT_TREE" -xf - --no-same-owner
        chmod -R go+rX "$GITVIRT_TREE"
        mkdir -p "$GITVIRT_CACHE"
        chown -R "$GITVIRT_USER:" "$GITVIRT_CACHE" "$GITVIRT_RUN"
    else
        mkdir -p "$GITVIRT_CACHE"
    fi
    export GITVIRT_RUN GITVIRT_TREE
}

# Signals the daemons and guests of this run, and fails if there are none.
gitvirt_end_daemons() {
    found=1
    for pid in $(gitvirt_find_pids); do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in
            qemu-system* | libvirtd | virt* | swtpm)
                found=0
                kill "-$1" "$pid" 2>/dev/null || gitvirt_privileged kill "-$1" "$pid" || true
                ;;
        esac
    done
    return $found
}

# Ends the daemons and guests of this run, which outlive their starter by design.
gitvirt_clean_up() {
    status=$?
    trap - EXIT HUP INT TERM
    [ -z "${GITVIRT_KEEP:-}" ] || [ "$status" -ne 0 ] || exit 0
    cd /
    for signal in TERM KILL; do
        tries=0
        while [ $tries -lt 50 ] && gitvirt_end_daemons $signal; do
            tries=$((tries + 1))
            sleep 0.1
        done
    done
    rm -rf "$GITVIRT_RUN" 2>/dev/null || gitvirt_privileged rm -rf "$GITVIRT_RUN"
    exit "$status"
}

# Who has our folder in its environment, or its process id in a file there.
gitvirt_find_pids() {
    {
        grep -lzF "=$GITVIRT_RUN" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
        find "$GITVIRT_RUN" -name '*.pid' -type f -exec cat {} + 2>/dev/null | grep -E '^[0-9]+$'
    } | sort -u
}

gitvirt_setup() {
    gitvirt_script=$(readlink -f "$1")
    shift
    gitvirt_origin=$(dirname "$(dirname "$gitvirt_script")")
    gitvirt_script=${gitvirt_script#"$gitvirt_origin"/}
    gitvirt_python=${GITVIRT_PYTHON:-/usr/bin/python3}
    GITVIRT_USER=${GITVIRT_USER:-nobody}
    if [ "$(id -u)" -eq 0 ]; then
        GITVIRT_VENV=${GITVIRT_VENV:-/var/cache/gitvirt/venv}
        GITVIRT_CACHE=${GITVIRT_CACHE:-/var/cache/gitvirt/$GITVIRT_USER}
    else
        GITVIRT_VENV=${GITVIRT_VENV:-$gitvirt_origin/.venv}
        GITVIRT_CACHE=${GITVIRT_CACHE:-$HOME/.cache/gitvirt}
    fi
    export GITVIRT_VENV GITVIRT_CACHE GITVIRT_USER
    if [ "${GITVIRT_STAGE:-}" != below-tini ]; then
        umask 022
        [ "$(uname -m)" = x86_64 ] || gitvirt_fail "this set-up is for x86_64"
        gitvirt_install_packages
        gitvirt_make_environment
        GITVIRT_STAGE=below-tini exec tini -s -g -- sh "$gitvirt_origin/$gitvirt_script" "$@"
    fi
    unset GITVIRT_STAGE
    gitvirt_make_run_folder
    trap gitvirt_clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
    PATH=$GITVIRT_VENV/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export PATH
    cd "$GITVIRT_TREE" || exit
}

gitvirt_enter() {
    if [ "${GITVIRT_STAGE:-}" = entered ]; then
        unset GITVIRT_STAGE
        return
    fi
    gitvirt_setup "$@"
    shift
    gitvirt_as_user env GITVIRT_STAGE=entered sh "$GITVIRT_TREE/$gitvirt_script" "$@"
    exit
}

# Runs a command with a home, XDG folders and temporary files of its own: what the user has, and
# his libvirt session above all, is left alone.
gitvirt_as_user() {
    set -- env HOME="$GITVIRT_RUN/home" TMPDIR="$GITVIRT_RUN/tmp" PYTHONPATH="$GITVIRT_TREE" \
        XDG_RUNTIME_DIR="$GITVIRT_RUN/run" XDG_CONFIG_HOME="$GITVIRT_RUN/config" \
        XDG_DATA_HOME="$GITVIRT_RUN/data" XDG_CACHE_HOME="$GITVIRT_RUN/cache" \
        XDG_STATE_HOME="$GITVIRT_RUN/data" "$@"
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid="$GITVIRT_USER" --regid="$(id -g "$GITVIRT_USER")" --clear-groups "$@"
    else
        "$@"
    fi
}

# Runs a command as root that writes nothing into the project.
gitvirt_as_root() {
    gitvirt_privileged env PATH="$PATH" PYTHONPATH="$GITVIRT_TREE" PYTHONDONTWRITEBYTECODE=1 \
        GITVIRT_TREE="$GITVIRT_TREE" GITVIRT_RUN="$GITVIRT_RUN" GITVIRT_CACHE="$GITVIRT_CACHE" \
        GITVIRT_GUEST_IMAGE="${GITVIRT_GUEST_IMAGE:-}" CI="${CI:-}" "$@"
}
