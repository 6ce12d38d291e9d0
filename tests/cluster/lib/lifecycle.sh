# shellcheck shell=bash
# up, down and status. Invariant: the mark `$STATE/up` stands only from the moment all nodes are ready,
# so a cluster that was interrupted half-way counts as half-dead and is cleaned before the next start.

up() {
  if state_is_up; then
    [ "$(cat "$STATE/versions")" = "$VERSIONS" ] ||
      fail "the cluster that is up has the versions \`$(cat "$STATE/versions")\`; take it down, or set KSYNC_CLUSTER_INDEX"
    say "the cluster is up already (kubeconfig: $STATE/kubeconfig)"
    return
  fi
  if [ -e "$STATE" ]; then
    say "an unfinished or half-dead cluster is in the way, cleaning it"
    down
  fi
  local kube cri crio debian images containerd runc begin=$EPOCHREALTIME
  install_missing
  product_tools >/dev/null
  kube=$(product_kube)
  cri=$(product_cri_dockerd)
  crio=$(product_crio)
  debian=$(product_debian)
  images=$(product_images)
  if [ "$VERSIONS" = new ]; then
    containerd=$(product_containerd)
    runc=$(product_runc)
  fi
  check_ports

  begin=$EPOCHREALTIME
  mkdir -p "$STATE"/{run,lib,log/pods,pid,bin,loaded}
  chmod 700 "$STATE"
  link_programs "$IN_CACHE/${debian##*/}"/usr/{bin/etcd,bin/docker,sbin/dockerd} \
    "$IN_CACHE/${cri##*/}/cri-dockerd" \
    "$IN_CACHE/${crio##*/}"/{crio,crio-load,pinns} \
    "$IN_CACHE/${kube##*/}"/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl}
  if [ "$VERSIONS" = new ]; then
    # Docker's containerd stays Debian's, with the shim that belongs to it.
    ln -s "$IN_CACHE/${containerd##*/}" "$STATE/containerd"
    link_programs "$IN_CACHE/${runc##*/}/runc"
  fi
  ln -s "$IN_CACHE/${images##*/}" "$STATE/images"
  printf '%s\n' "$VERSIONS" >"$STATE/versions"
  make_pki
  write_settings
  make_space
  work boot ||
    fail "the cluster did not come up; its logs are in $STATE/log, \`down\` removes it"
  : >"$STATE/up"
  say "the cluster is up: nodes $NODE1 (containerd), $NODE2 (Docker) and $NODE3 (CRI-O), after $(seconds_since "$begin") s"
  say "kubeconfig: $STATE/kubeconfig"
}

link_programs() {
  local program
  for program; do
    ln -s "$program" "$STATE/bin/"
  done
}

seconds_since() {
  local now=$EPOCHREALTIME
  local tenths=$(((${now/[.,]/} - ${1/[.,]/}) / 100000))
  printf '%s.%s\n' "$((tenths / 10))" "$((tenths % 10))"
}

check_ports() {
  local port
  for port in "$NODE1:2379" "$NODE1:2380" "$NODE1:6443" "$NODE1:10250" "$NODE2:10250" "$NODE3:10250"; do
    if (: <>"/dev/tcp/${port%:*}/${port#*:}") 2>/dev/null; then
      fail "port $port is taken; stop what listens there, or set KSYNC_CLUSTER_INDEX (1 to 99)"
    fi
  done
}

down() {
  end_space
  [ -e "$STATE" ] || return 0
  rm -rf --one-file-system "$STATE"
  rmdir -p --ignore-fail-on-non-empty "${STATE%/*}"
}

# component_runs NAME, seen from outside through the space's own /proc.
component_runs() {
  local space=$1 pid
  pid=$(cat "$STATE/pid/$2" 2>/dev/null) && [ -n "$pid" ] && [ -e "/proc/$space/root/proc/$pid/exe" ]
}

state_is_up() {
  local space name
  [ -e "$STATE/up" ] && space=$(space) || return 1
  for name in "${COMPONENTS[@]}"; do
    component_runs "$space" "$name" || return 1
  done
}

status() {
  local space name
  if ! space=$(space); then
    printf 'down\n'
    return 1
  fi
  if state_is_up; then
    printf 'up (first process %s, kubeconfig %s)\n' "$space" "$STATE/kubeconfig"
  else
    printf 'not whole (first process %s, logs in %s)\n' "$space" "$STATE/log"
  fi
  for name in "${COMPONENTS[@]}"; do
    if component_runs "$space" "$name"; then
      printf '  %-24s running\n' "$name"
    else
      printf '  %-24s stopped\n' "$name"
    fi
  done
  state_is_up
}
