#!/bin/sh
# The main job as a story: push a virtual machine, change it, restart it. Needs nothing but sh on a fresh
# Debian 12+ or Ubuntu 24.04+: what is missing gets installed. Works in a libvirt session of its own.
#
#   sh examples/quickstart.sh           runs and cleans up after itself
#   sh examples/quickstart.sh --keep    leaves everything running, and says how to go on
set -eu

case "${1:-}" in
    '' ) ;;
    --keep) GITVIRT_KEEP=yes; export GITVIRT_KEEP ;;
    *) echo "usage: sh examples/quickstart.sh [--keep]" >&2; exit 1 ;;
esac
# shellcheck source=examples/install.sh
. "$(dirname -- "$0")/install.sh"
gitvirt_enter "$0" "$@"

started=$(date +%s)
cd "$GITVIRT_RUN/home"
export GITVIRT_REPO="$PWD/vms.git"
# This session and no other, also for who goes on in a shell that says otherwise.
export LIBVIRT_DEFAULT_URI=qemu:///session VIRSH_DEFAULT_CONNECT_URI=qemu:///session
# The image comes from this machine, past every proxy.
export no_proxy="127.0.0.1${no_proxy:+,$no_proxy}"
export NO_PROXY="$no_proxy"
pids=

finish() {
    status=$?
    trap - EXIT
    if [ -n "${GITVIRT_KEEP:-}" ] && [ "$status" -eq 0 ]; then
        exit 0
    fi
    # shellcheck disable=SC2086  # a list of process ids
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    if [ "$status" -ne 0 ] && [ -s agent.log ]; then
        echo "--- the agent's log:" >&2
        tail -n 30 agent.log >&2
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
run() { printf '$ %s\n' "$*"; "$@"; }
push() {
    git -C vms add -A
    git -C vms commit -q -m "$1"
    git -C vms push -q origin HEAD:main
}

git config --global user.name "You"
git config --global user.email "you@example.com"
git config --global init.defaultBranch main
git config --global advice.detachedHead false

say "An image to start from: a small Linux, served over HTTP on this machine"
mkdir www
sh "$GITVIRT_TREE/examples/guest/build.sh" "$PWD/www/guest.qcow2"
: >http.log
python3 -u -m http.server --bind 127.0.0.1 --directory www 0 >http.log 2>&1 &
pids="$!"
until port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' http.log) && [ -n "$port" ]; do
    sleep 0.05
done

say "A repository with three manifests: an image, a disk made from it, a virtual machine"
run git init -q --bare vms.git
run git clone -q vms.git vms 2>/dev/null
for name in virtual-image virtual-disk virtual-machine; do
    sed "s|127.0.0.1:8000|127.0.0.1:$port|" "$GITVIRT_TREE/examples/$name.yaml" >"vms/$name.yaml"
done
run gitvirt validate vms
run gitvirt plan vms || [ $? -eq 2 ]

say "The agent, and a push"
printf '$ gitvirt run --repo %s --image-hosts 127.0.0.1 &\n' "$GITVIRT_REPO"
gitvirt run --image-hosts 127.0.0.1 >agent.log 2>&1 &
pids="$pids $!"
printf '$ git push\n'
push "A virtual machine"

say "It comes up"
gitvirt wait vm/linux-vm --for='jsonpath={.status.phase}' --timeout 5m >/dev/null
printf '$ gitvirt get vm -o wide -w\n'
gitvirt get vm -o wide -w 2>/dev/null &
watcher=$!
pids="$pids $watcher"
gitvirt wait vm/linux-vm --for=condition=AgentReady --timeout 5m >/dev/null
kill "$watcher"
pids=${pids% *}

say "The guest's own words, on its serial console"
console() { cat "$XDG_DATA_HOME"/libvirt/gitvirt/default_console_*.log | tr -d '\r' | grep -E "$1" | tail -n "$2"; }
console 'gitvirt guest:|is ready|login:' 3

say "Two cores, please: a change that needs a restart"
printf '$ sed -i "s/cores: 1/cores: 2/" virtual-machine.yaml\n'
sed -i 's/cores: 1/cores: 2/' vms/virtual-machine.yaml
run gitvirt plan vms || [ $? -eq 2 ]
push "Two cores for linux-vm"
revision=$(git -C vms rev-parse HEAD)
gitvirt wait --revision "$revision" --timeout 5m >/dev/null
run gitvirt get vm linux-vm -o wide
run gitvirt get vm linux-vm -o "jsonpath={.status.restartAwaitingChanges}"
echo

say "Restart it when it suits you"
run gitvirt restart linux-vm --wait --timeout 5m
gitvirt wait vm/linux-vm --for='jsonpath={.status.ipAddress}' --timeout 5m >/dev/null
console 'gitvirt guest:' 1
run gitvirt get vm linux-vm -o wide
run gitvirt get vmop

say "What happened, as the status branch tells it"
run git -C vms.git log --format='%ad  %s' --date=format:%H:%M:%S status

took=$(($(date +%s) - started))
if [ -n "${GITVIRT_KEEP:-}" ]; then
    say "Everything is left running (after $took s)"
    echo "The repository: $GITVIRT_REPO; the clone: $PWD/vms; the agent's log: $PWD/agent.log"
    echo "Go on with:"
    [ "$GITVIRT_TREE" != "$GITVIRT_RUN/src" ] || echo "su -s /bin/bash $(id -un)"
    for name in HOME XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME XDG_STATE_HOME \
        LIBVIRT_DEFAULT_URI VIRSH_DEFAULT_CONNECT_URI GITVIRT_CONFIG GITVIRT_REPO PYTHONPATH PATH; do
        eval "printf 'export %s=%s\n' $name \"\$$name\""
    done
    echo "cd $PWD/vms"
    echo "End it with:"
    echo "gitvirt stop linux-vm --force --wait"
    echo "kill $pids \$(grep -h . $XDG_RUNTIME_DIR/libvirt/*.pid); sleep 1; rm -rf $GITVIRT_RUN"
else
    say "Done after $took s; cleaning up"
fi
