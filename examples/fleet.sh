#!/bin/sh
# A fleet as a story: three hosts, a few machines, and one host that is emptied while a guest counts.
# Needs root or sudo, and nothing but sh on a fresh Debian 12+ or Ubuntu 24.04+: what is missing gets
# installed.
#
#   sh examples/fleet.sh
#
# Each host is a libvirt of its own in namespaces of this machine, with its own disks, its own name
# and its own network; the machine's libvirt is left alone. All of it ends with the script.
set -eu

# What a host does first; it is the first process of its namespaces, and they end with it.
be_host() {  # NAME FOLDER
    for folder in lib:/var/lib etc:/etc run:/run log:/var/log cache:/var/cache; do
        mkdir -p "${folder#*:}/libvirt"
        mount --bind "$2/${folder%%:*}" "${folder#*:}/libvirt"
    done
    for file in passwd group; do
        mount --bind "$2/$file" "/etc/$file"
    done
    hostname "$1.fleet"
    mount -t sysfs -o ro sysfs /sys  # libvirt reads there which interfaces a host has
    ip link set lo up
    virtlogd --pid-file "$2/virtlogd" &
    exec tini -- libvirtd --pid-file "$2/libvirtd" --listen
}
if [ "${1:-}" = be_host ]; then
    be_host "$2" "$3"
fi

[ $# -eq 0 ] || { echo "usage: sh examples/fleet.sh" >&2; exit 1; }
# shellcheck source=examples/install.sh
. "$(dirname -- "$0")/install.sh"
if [ "${GITVIRT_STAGE:-}" != entered ]; then
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null \
        || gitvirt_fail "hosts in namespaces need root: start it as root, or install sudo"
    gitvirt_packages="$gitvirt_packages iproute2"
    gitvirt_setup "$0"
    gitvirt_as_user sh examples/guest/build.sh "$GITVIRT_RUN/home/guest.qcow2"
    gitvirt_as_root GITVIRT_STAGE=entered HOME="$GITVIRT_RUN/home" \
        sh "$GITVIRT_TREE/$gitvirt_script"
    exit
fi
unset GITVIRT_STAGE

started=$(date +%s)
cd "$GITVIRT_RUN/home"
hosts='pt-1 pt-2 pt-3'
network=10.20.30  # of the hosts, within their namespaces
pids=
unshares=

finish() {
    status=$?
    trap - EXIT
    # shellcheck disable=SC2086  # lists of process ids
    {
        [ -z "$pids" ] || kill $pids || true
        [ -z "$unshares" ] || kill -KILL $unshares || true  # which is what ends a host
        wait $pids $unshares || true
    } 2>/dev/null
    if [ "$status" -ne 0 ] && [ -s agent.log ]; then
        echo "--- the agent's log:" >&2
        tail -n 30 agent.log >&2
    fi
    # shellcheck disable=SC2086  # a list of folders
    rm -rf $hosts  # the process ids in there are those of other namespaces
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

# -- the hosts ------------------------------------------------------------------------------------

start_host() {  # NAME
    mkdir "$1"
    (cd "$1" && mkdir lib etc run log cache)
    chmod 0755 "$1" "$1"/*
    for file in passwd group; do
        cp "/etc/$file" "$1/$file"
    done
    # libvirt does not start without the user that Debian makes for its guests
    grep -q '^libvirt-qemu:' "$1/passwd" \
        || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>"$1/passwd"
    grep -q '^libvirt-qemu:' "$1/group" || echo 'libvirt-qemu:x:64055:' >>"$1/group"
    cat >"$1/etc/libvirtd.conf" <<END
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
END
    cat >"$1/etc/qemu.conf" <<END
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
END
    unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc \
        sh "$GITVIRT_TREE/examples/fleet.sh" be_host "$1" "$PWD/$1" </dev/null >"$1/host.log" 2>&1 &
    unshares="$unshares $!"
    echo $! >"$1/unshare"
}

inside() {  # NAME COMMAND…
    pid=$(cat "/proc/$(cat "$1/unshare")/task/$(cat "$1/unshare")/children")
    shift
    nsenter -t "${pid% }" -n "$@"
}

# Each host has a bridge for its guests; the first one's is where the others are plugged in.
wire_host() {  # NAME NUMBER
    inside "$1" ip link add br0 type bridge
    inside "$1" ip address add "$network.$2/24" dev br0
    inside "$1" ip link set br0 up
    [ "$2" -ne 1 ] || return 0
    inside "$1" ip link add eth0 type veth peer name "to-$1" netns "${first% }"
    inside "$1" ip link set eth0 master br0 up
    inside pt-1 ip link set "to-$1" master br0 up
}

say "Three hosts on this machine: a libvirt, a disk and a network each"
for host in $hosts; do
    start_host "$host"
done
number=0
for host in $hosts; do
    until [ -S "$host/run/libvirt-sock" ]; do
        kill -0 "$(cat "$host/unshare")" 2>/dev/null || { cat "$host/host.log" >&2; exit 1; }
        sleep 0.05
    done
    number=$((number + 1))
    [ "$number" -ne 1 ] || first=$(cat "/proc/$(cat pt-1/unshare)/task/$(cat pt-1/unshare)/children")
    wire_host "$host" "$number"
done

export GITVIRT_REPO="$PWD/vms.git" GITVIRT_CONFIG="$PWD/config.yaml"
{
    echo "nodes:"
    for host in $hosts; do
        cat <<END
  $host:
    connect: qemu+unix:///system?socket=$PWD/$host/run/libvirt-sock
    peer: qemu+tcp://$network.${host#pt-}/system
    migrate: tcp://$network.${host#pt-}
END
    done
    cat <<END
networks:
  main: {bridge: br0}
image-hosts: 127.0.0.1
status-interval: 1s
END
} >config.yaml
run cat config.yaml

# -- the machines ---------------------------------------------------------------------------------

# shellcheck disable=SC2016  # the guest's own
count='n=$(head -c 10 $disk | tr -dc 0-9); while n=$((n + 1)); do'
count="$count"' printf %-10s $n | dd of=$disk conv=notrunc,fsync 2>/dev/null;'
count="$count"' echo "counted $n, up $(cut -d. -f1 /proc/uptime) s"; sleep 0.5; done &'

machine() {  # NAME APP COMMAND
    cat <<END
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata: {name: $1}
spec: {dataSource: {type: ObjectRef, objectRef: {kind: VirtualImage, name: guest}}}
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata: {name: $1, labels: {app: $2}}
spec:
  virtualMachineClassName: generic
  runPolicy: AlwaysOn
  cpu: {cores: 1}
  memory: {size: 128Mi}
  provisioning:
    type: UserData
    userData: |
      #cloud-config
      runcmd:
        - $3
END
}

say "A repository: machines \`web-1\` and \`web-2\`, never on one host, and \`counter\`, with a disk that it counts on"
mkdir vms
git config --global user.name "You"
git config --global user.email "you@example.com"
git config --global init.defaultBranch main
git init -q --bare vms.git
git clone -q vms.git vms 2>/dev/null
: >http.log
python3 -u -m http.server --bind 127.0.0.1 0 >http.log 2>&1 &
pids="$pids $!"
until port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' http.log) && [ -n "$port" ]; do
    sleep 0.05
done
sed "s|127.0.0.1:8000|127.0.0.1:$port|" "$GITVIRT_TREE/examples/virtual-image.yaml" >vms/image.yaml
cp "$GITVIRT_TREE/examples/module-config.yaml" vms/addresses.yaml
for name in web-1 web-2; do
    machine "$name" web 'echo "at your service"' >"vms/$name.yaml"
    cat >>"vms/$name.yaml" <<END
  blockDeviceRefs:
    - {kind: VirtualDisk, name: $name}
  affinity:
    virtualMachineAndPodAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {app: web}}
END
done
# shellcheck disable=SC2016
machine counter counter \
    'disk=/dev/$(cd /sys/block && grep -lx 16384 sd?/size | head -c 3); '"$count" >vms/counter.yaml
cat >>vms/counter.yaml <<END
  blockDeviceRefs:
    - {kind: VirtualDisk, name: counter}
    - {kind: VirtualDisk, name: count}
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata: {name: count}
spec: {persistentVolumeClaim: {size: 8Mi}}
END
run gitvirt validate vms
git -C vms add -A
git -C vms commit -q -m "Three machines"
git -C vms push -q origin HEAD:main

say "The agent: it looks after all of them"
printf '$ gitvirt run --repo %s &\n' "$GITVIRT_REPO"
gitvirt run >agent.log 2>&1 &
pids="$pids $!"

# What the guest said last, wherever it is: its count, and the seconds since its boot.
counted() { sed -n 's/^counted \([0-9]*\), up \([0-9]*\) s.*/\1 \2/p' "$1"/lib/gitvirt/*_console_*.log 2>/dev/null | tail -n 1; }
await_count() {  # HOST
    for try in $(seq 600); do
        [ -z "$(counted "$1")" ] || return 0
        sleep 0.1
    done
    echo "fleet.sh: the guest does not count on $1 (${try} looks)" >&2
    exit 1
}
node_of() { gitvirt get vm "$1" -o 'jsonpath={.status.nodeName}'; }

for name in web-1 web-2 counter; do
    gitvirt wait "vm/$name" --for=phase=Running --timeout 5m >/dev/null
done
run gitvirt get nodes
run gitvirt get vm

at=$(node_of counter)
await_count "$at"
before=$(counted "$at")
say "The guest of \`counter\` has counted to ${before% *} on $at, and is up for ${before#* } s"

say "Maintenance: $at is to be empty"
printf '$ gitvirt get vm counter -w &\n'
gitvirt get vm counter -w >watched &
watcher=$!
tail -f -s 0.1 --pid "$watcher" -n +1 watched &
pids="$pids $watcher $!"
until [ -s watched ]; do
    sleep 0.05
done
run gitvirt drain "$at" --timeout 5m
kill "$watcher"
to=$(node_of counter)
await_count "$to"
run gitvirt get nodes
run gitvirt get vm
run gitvirt get vmop

after=$(counted "$to")
say "The guest has counted to ${after% *} on $to, and is up for ${after#* } s: it has moved while it ran"
[ "${after% *}" -gt "${before% *}" ] && [ "${after#* }" -ge "${before#* }" ] && [ "$at" != "$to" ] || {
    echo "fleet.sh: before it was $before on $at" >&2
    exit 1
}

say "Back to work"
run gitvirt uncordon "$at"
gitvirt wait "node/$at" --for=phase=Ready --timeout 1m >/dev/null

say "What happened, as the status branch tells it"
run git -C vms.git log -n 12 --format='%ad  %s' --date=format:%H:%M:%S status

say "Done after $(($(date +%s) - started)) s; cleaning up"
