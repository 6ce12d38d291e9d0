# shellcheck shell=bash
# The cluster's space: its namespaces and cgroups, made and ended from outside. Invariant: the first
# process is known by its id and start time, so no other process is ever taken for it; once it has ended
# and its cgroups and bridges are removed, nothing of the cluster is left but the state folder.

# started PID: when it was started, in clock ticks since boot; fails where it has ended.
started() {
  local stat
  [ -n "$1" ] && read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  read -r -a stat <<<"${stat##*) }"
  [ "${stat[0]}" != Z ] && printf '%s\n' "${stat[19]}"
}

ended() { ! started "$1" >/dev/null; }

# space: the first process' id; fails where the cluster has none that runs.
space() {
  local pid start
  [ -s "$STATE/space" ] && read -r pid start <"$STATE/space" && [ "$(started "$pid")" = "$start" ] &&
    printf '%s\n' "$pid"
}

make_space() {
  local tools pid starter
  tools=$(product_tools)
  make_cgroups
  # shellcheck disable=SC2153 # set in config.sh
  setsid unshare --mount --pid --fork bash "$HERE/lib/space-init.sh" \
    "$STATE" "$KSYNC_CACHE" "$IN_CACHE/${tools##*/}/pause" "$CGROUP" \
    >"$STATE/log/space.log" 2>&1 </dev/null &
  starter=$!
  within 10 stands_or_ended "$starter" || fail 'waited 10 s for the namespaces'
  [ -s "$STATE/space.pid" ] || fail "the namespaces did not come to be: $(cat "$STATE/log/space.log")"
  read -r pid <"$STATE/space.pid"
  printf '%s %s\n' "$pid" "$(started "$pid")" >"$STATE/space"
}

stands_or_ended() { [ -s "$STATE/space.pid" ] || ended "$1"; }

# inside COMMAND...: runs it in the space. Its own children stay there when it ends.
inside() {
  local pid
  pid=$(space) || fail 'the cluster is not up'
  nsenter --target "$pid" --mount --pid -- "$@"
}

# work ARG...: inside_main (inside.sh) in the space.
work() {
  local text
  text=$(cat "$HERE"/lib/{say,config,components,inside}.sh)
  inside bash -c "$text"$'\n''inside_main "$@"' work "$@"
}

end_space() {
  local pid
  if pid=$(space); then
    kill -TERM "$pid"
    within 20 ended "$pid" || fail "waited 20 s for process $pid and all of the cluster's to end"
  fi
  remove_bridge "$BRIDGE1"
  remove_bridge "$BRIDGE2"
  remove_bridge "$BRIDGE3"
  # shellcheck disable=SC2153 # set in config.sh
  within 20 remove_cgroups || fail "waited 20 s for the \`$CGROUP\` cgroups to empty"
}

# With the pods' network namespaces gone their cables go too, in the kernel's own time: not waited for.
remove_bridge() {
  local cable
  [ -e "/sys/class/net/$1" ] || return 0
  for cable in "/sys/class/net/$1/brif"/*; do
    remove_link "${cable##*/}"
  done
  remove_link "$1"
}

remove_link() {
  local words
  words=$(ip link del "$1" 2>&1) || [ ! -e "/sys/class/net/$1" ] || fail "remove interface \`$1\`: $words"
}

make_cgroups() {
  local root
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    delegate /sys/fs/cgroup
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    delegate "/sys/fs/cgroup/$CGROUP"
    mkdir -p "/sys/fs/cgroup/$CGROUP"/node{1,2,3}
  else
    for root in /sys/fs/cgroup/*/; do
      [ -L "${root%/}" ] || [ ! -e "${root}tasks" ] || make_cgroup_v1 "${root%/}"
    done
  fi
}

# make_cgroup_v1 ROOT: one controller's. A cpuset that names no CPU and no memory takes no process.
make_cgroup_v1() {
  local folder file
  for folder in "$1/$CGROUP" "$1/$CGROUP"/node{1,2,3}; do
    mkdir -p "$folder"
    for file in cpuset.mems cpuset.cpus; do
      [ ! -e "$1/$file" ] || cat "$1/$file" >"$folder/$file"
    done
  done
}

# delegate CGROUP (v2): its controllers are there for its children too.
delegate() {
  local controllers
  read -r controllers <"$1/cgroup.controllers"
  [ -z "$controllers" ] || printf '%s\n' "+${controllers// / +}" >"$1/cgroup.subtree_control"
}

# In every hierarchy there is, since runc also makes them where no controller is.
remove_cgroups() {
  local cgroup left=0
  for cgroup in "/sys/fs/cgroup/$CGROUP" /sys/fs/cgroup/*/"$CGROUP"; do
    [ -d "$cgroup" ] || continue
    find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null
    [ ! -d "$cgroup" ] || left=1
  done
  [ "$left" = 0 ]
}
