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
#   gitvirt_group   by the script: `development` for one that needs the tools of gitvirt's build and
#                   tests, too. An environment that has them keeps them
#   GITVIRT_VENV    the virtual environment (.venv; as root /var/cache/gitvirt/venv)
#   GITVIRT_PYTHON  the interpreter to make it with (/usr/bin/python3), for the group development
#   GITVIRT_USER    whom root's scripts become (nobody)
#   GITVIRT_KEEP    not empty: what runs at the end of a script that went well is left running
# shellcheck shell=sh

# To run gitvirt, and to build the guest. libvirt's module for Python is the distribution's: one
# from PyPI has to be compiled, and gets along with no older libvirt than its own.
gitvirt_packages="python3 python3-venv python3-libvirt libvirt-daemon libvirt-daemon-driver-qemu
qemu-system-x86 qemu-utils tini ca-certificates git mtools syslinux cpio zstd xz-utils kmod e2fsprogs"
# To build and test it beside that.
gitvirt_packages_for_development="python3-dev gcc libc6-dev pkg-config libvirt-dev libvirt-clients
ovmf swtpm swtpm-tools openssl openssh-client busybox-static shellcheck
iproute2 iptables nftables dnsmasq-base"
# Its page is looked at with a browser; Ubuntu has it as a snap alone.
gitvirt_packages_for_development_if_known="chromium"
# Parts of libvirt that newer releases have in packages of their own.
gitvirt_packages_if_known="libvirt-daemon-common libvirt-daemon-log libvirt-daemon-lock
libvirt-daemon-driver-network libvirt-daemon-driver-nodedev libvirt-daemon-driver-nwfilter
libvirt-daemon-driver-secret libvirt-daemon-driver-storage libvirt-daemon-driver-interface
libvirt-daemon-config-nwfilter"

gitvirt_fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

gitvirt_say() {
    echo "# $*" >&2
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

# The unit files that libvirt's daemons bring: none, or many, by the distribution.
gitvirt_units() {
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'libvirt-daemon*' 2>/dev/null \
        | sed -n 's/^installed //p' | xargs -r dpkg -L \
        | sed -n 's:.*/systemd/system/\([^/@]*[.]\(service\|socket\)\)$:\1:p' | sort -u
}

# Daemons that were not there before are for our own sessions: the system's stay off.
gitvirt_disable_units_except() {  # UNIT…
    command -v systemctl >/dev/null || return 0
    for gitvirt_unit in $(gitvirt_units); do
        case " $* " in
            *" $gitvirt_unit "*) ;;
            *) set -- "$@" "$gitvirt_unit"; gitvirt_new="${gitvirt_new:-} $gitvirt_unit" ;;
        esac
    done
    [ -n "${gitvirt_new:-}" ] || return 0
    gitvirt_now=
    [ ! -d /run/systemd/system ] || gitvirt_now=--now
    # shellcheck disable=SC2086  # a list of names
    gitvirt_privileged systemctl -q disable $gitvirt_now $gitvirt_new
}

gitvirt_install_packages() {
    command -v apt-get >/dev/null || gitvirt_fail "this set-up is for Debian and Ubuntu"
    gitvirt_wanted=$gitvirt_packages
    gitvirt_optional=$gitvirt_packages_if_known
    if [ "$gitvirt_group" != run ]; then
        gitvirt_wanted="$gitvirt_wanted $gitvirt_packages_for_development"
        gitvirt_optional="$gitvirt_optional $gitvirt_packages_for_development_if_known"
        # it may come from elsewhere, and does not bear the distribution's beside it
        command -v npm >/dev/null || gitvirt_wanted="$gitvirt_wanted nodejs npm"
    fi
    # shellcheck disable=SC2046,SC2086  # lists of names
    set -- $(gitvirt_missing $gitvirt_wanted)
    # shellcheck disable=SC2046,SC2086
    if [ $# -gt 0 ] || [ -n "$(gitvirt_missing $(gitvirt_known $gitvirt_optional))" ]; then
        gitvirt_say "asking the distribution for its packages"
        gitvirt_privileged apt-get -q update
        set -- "$@" $(gitvirt_missing $(gitvirt_known $gitvirt_optional))
        gitvirt_before=$(gitvirt_units | tr '\n' ' ')
        gitvirt_say "downloading and installing packages:" "$@"
        gitvirt_privileged env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" </dev/null
        # shellcheck disable=SC2086
        gitvirt_disable_units_except $gitvirt_before
    fi
    # The guest's packages are downloaded, for which apt has to know them.
    apt-cache show qemu-guest-agent >/dev/null 2>&1 || gitvirt_privileged apt-get -q update
}

# The lock file's entry for one package.
gitvirt_locked() {
    sed -n "/^$1==/,/[^\\\\]\$/p" "$gitvirt_origin/requirements.lock"
}

# The lock file's first part, without what the distribution has.
gitvirt_locked_to_run() {
    sed -e '/^# == what its build/,$d' -e '/^libvirt-python==/,/[^\\]$/d' \
        "$gitvirt_origin/requirements.lock"
}

gitvirt_pip() {
    PYTHONNOUSERSITE=1 "$GITVIRT_VENV/bin/python" -m pip --disable-pip-version-check --no-input \
        install --progress-bar off --no-deps "$@"
}

gitvirt_make_environment_to_run() {
    "$gitvirt_python" -m venv --clear --system-site-packages "$GITVIRT_VENV"
    gitvirt_locked_to_run >"$GITVIRT_VENV/run.lock"
    gitvirt_pip --require-hashes -r "$GITVIRT_VENV/run.lock"
    # Nothing is built: the program is what PYTHONPATH says, as for all scripts here.
    printf '#!/bin/sh\nexec "%s/bin/python" -m agent "$@"\n' "$GITVIRT_VENV" \
        >"$GITVIRT_VENV/bin/gitvirt"
    chmod +x "$GITVIRT_VENV/bin/gitvirt"
}

gitvirt_make_environment_for_development() {
    "$gitvirt_python" -m venv --clear "$GITVIRT_VENV"
    # libvirt-python is built here, against this machine's libvirt, by a pinned setuptools.
    gitvirt_locked setuptools >"$GITVIRT_VENV/setuptools.lock"
    gitvirt_pip --require-hashes -r "$GITVIRT_VENV/setuptools.lock"
    gitvirt_pip --require-hashes --no-build-isolation -r "$gitvirt_origin/requirements.lock"
}

# What browsers are given, and what tests look at pages with.
gitvirt_fetch_browsers_half() {
    web=$gitvirt_origin/agent/web
    locked=$(sha256sum <"$web/package-lock.json")
    [ "$locked" != "$(cat "$web/node_modules/locked" 2>/dev/null)" ] || return 0
    gitvirt_say "downloading npm packages into $web"
    npm ci --prefix "$web" --no-progress >&2
    echo "$locked" >"$web/node_modules/locked"
}

# Marks say what the environment holds: the group, the locked packages, and which project they
# serve.
gitvirt_make_environment() {
    mkdir -p "$(dirname "$GITVIRT_VENV")"
    exec 9<"$(dirname "$GITVIRT_VENV")"
    flock 9  # two scripts may start at the same time
    if [ "$(cat "$GITVIRT_VENV/group" 2>/dev/null)" = development ]; then
        gitvirt_group=development
    fi
    lock=$( (cat "$gitvirt_origin/requirements.lock" "$gitvirt_python"; echo "$gitvirt_group") \
        | sha256sum)
    project=$( (cat "$gitvirt_origin/pyproject.toml"; echo "$gitvirt_origin $lock") | sha256sum)
    if [ "$lock" != "$(cat "$GITVIRT_VENV/locked" 2>/dev/null)" ]; then
        gitvirt_say "downloading and installing Python packages into $GITVIRT_VENV"
        case $gitvirt_group in
            run) gitvirt_make_environment_to_run ;;
            *) gitvirt_make_environment_for_development ;;
        esac
        echo "$gitvirt_group" >"$GITVIRT_VENV/group"
        echo "$lock" >"$GITVIRT_VENV/locked"
    fi
    if [ "$gitvirt_group" = development ] \
        && [ "$project" != "$(cat "$GITVIRT_VENV/project" 2>/dev/null)" ]; then
        gitvirt_pip -q --no-build-isolation -e "$gitvirt_origin"
        echo "$project" >"$GITVIRT_VENV/project"
    fi
    [ "$gitvirt_group" != development ] || gitvirt_fetch_browsers_half
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
    gitvirt_group=${gitvirt_group:-run}
    # The distribution's libvirt module is for its own interpreter.
    [ "$gitvirt_python" = /usr/bin/python3 ] || gitvirt_group=development
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

# What of the caller's environment scripts may see: how it prints, how it gets to the network, and
# what they tell one another. Anything else may lead to what is not theirs, as
# LIBVIRT_DEFAULT_URI to the machine's libvirt, GITVIRT_FLEET to somebody's fleet and
# GIT_CONFIG_GLOBAL to somebody's configuration.
gitvirt_kept="TERM NO_COLOR COLUMNS LANG LC_ALL CI http_proxy https_proxy all_proxy no_proxy
HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR
PATH GITVIRT_TREE GITVIRT_RUN GITVIRT_CACHE GITVIRT_VENV GITVIRT_USER GITVIRT_KEEP
GITVIRT_GUEST_IMAGE GITVIRT_GUEST_KERNEL GITVIRT_REAL_GUEST PROPERTY_EXAMPLES PROPERTY_STEPS PYTEST_ADDOPTS"

# As gitvirt_as_user and gitvirt_as_root, for arguments of env.
gitvirt_in_environment() {  # [PREFIX…] -- [NAME=VALUE…] COMMAND…
    gitvirt_prefix=
    while [ "$1" != -- ]; do
        gitvirt_prefix="$gitvirt_prefix $1"
        shift
    done
    shift
    # Without a file of ours the machine's and the user's settings of gitvirt would be read.
    set -- GITVIRT_CONFIG=/dev/null PYTHONPATH="$GITVIRT_TREE" PYTHONNOUSERSITE=1 "$@"
    for gitvirt_name in $gitvirt_kept; do
        eval "gitvirt_value=\${$gitvirt_name:-}"
        [ -z "$gitvirt_value" ] || set -- "$gitvirt_name=$gitvirt_value" "$@"
    done
    # shellcheck disable=SC2086  # a list of words
    $gitvirt_prefix env -i "$@"
}

# Runs a command with a home, XDG folders and temporary files of its own: what the user has, and
# his libvirt session above all, is left alone.
gitvirt_as_user() {
    set -- -- HOME="$GITVIRT_RUN/home" TMPDIR="$GITVIRT_RUN/tmp" \
        XDG_RUNTIME_DIR="$GITVIRT_RUN/run" XDG_CONFIG_HOME="$GITVIRT_RUN/config" \
        XDG_DATA_HOME="$GITVIRT_RUN/data" XDG_CACHE_HOME="$GITVIRT_RUN/cache" \
        XDG_STATE_HOME="$GITVIRT_RUN/data" "$@"
    if [ "$(id -u)" -eq 0 ]; then
        set -- setpriv --reuid="$GITVIRT_USER" --regid="$(id -g "$GITVIRT_USER")" --clear-groups "$@"
    fi
    gitvirt_in_environment "$@"
}

# Runs a command as root that writes nothing into the project.
gitvirt_as_root() {
    gitvirt_in_environment gitvirt_privileged -- HOME=/root PYTHONDONTWRITEBYTECODE=1 "$@"
}
