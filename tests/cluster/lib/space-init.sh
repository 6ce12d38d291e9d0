#!/usr/bin/env bash
# The first process of the cluster's own mount and PID namespaces: prepares the mounts and becomes
# `pause`, which reaps and waits. Invariant: whatever the cluster's processes write goes into STATE or
# into memory, never elsewhere on the machine, and is unmounted when this process ends.
#
#	space-init.sh STATE CACHE PAUSE CGROUP
set -euo pipefail
state=$1 cache=$2 pause=$3 cgroup=$4

# /proc is still the machine's, so this is our process id as seen from there.
read -r outside _ </proc/self/stat
# Else mount would write its table into the machine's /run.
mount() { command mount --no-mtab "$@"; }
mount -t proc proc /proc

# A private /run, in which the runtimes' sockets have their usual places. The folders that may lie below
# what is covered here are bound in first.
mount -t tmpfs -o mode=755 ksync "$state/run"
mkdir -p "$state"/run/ksync/{state,cache,sysctl} "$state/run/netns"
mount --bind "$state" "$state/run/ksync/state"
mount --bind "$cache" "$state/run/ksync/cache"
mount --move "$state/run" /run
state=/run/ksync/state
if [ ! -L /var/run ]; then
  mount --rbind /run /var/run
fi

# Overlay cannot lie on overlay: there, the images live in memory.
if [ "$(stat -f -c %T "$state/lib")" = overlayfs ]; then
  mount -t tmpfs ksync /var/lib
else
  mount --bind "$state/lib" /var/lib
fi
mount --bind "$state/log/pods" /var/log

# kubelet and the bridge plugin write a few kernel settings of the whole machine. They are shown files
# that hold the values they want instead, and the machine's own stay as they are.
while read -r setting value; do
  shown=/run/ksync/sysctl/${setting//\//.}
  printf '%s\n' "$value" >"$shown"
  mount --bind "$shown" "/proc/sys/$setting"
done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
net/ipv4/ip_forward 1
SETTINGS

# A user namespace may mount a /proc of its own only where one is seen that nothing covers (mount_too_revealing in the
# kernel's fs/namespace.c).
mkdir -p /run/ksync/proc
mount -t proc proc /run/ksync/proc

# A kubelet asks CRI-O for each of CRI-O's containers that it finds below the machine's cgroups, and waits 3 s for one of
# another cluster's: those are covered.
mkdir -p /run/ksync/empty
for other in /sys/fs/cgroup/ksync-cluster* /sys/fs/cgroup/*/ksync-cluster*; do
  if [ -d "$other" ] && [ "${other##*/}" != "$cgroup" ]; then
    mount --bind /run/ksync/empty "$other"
  fi
done

# Mount propagation into containers needs shared mounts; they are shared among the cluster's own
# namespaces only, since `unshare` cut them off from the machine's.
mount --make-rshared /

cd /
printf '%s\n' "$outside" >"$state/space.pid.new"
mv "$state/space.pid.new" "$state/space.pid"
exec "$pause"
