# shellcheck shell=bash
# What runs inside the cluster's space: boot, and later start, stop and load. The whole text comes from
# outside with each call (see `work` in space.sh), so it does not matter which work tree a running
# cluster was started from. Invariant: it ends; only components outlive it.

# Everything side by side; each line of work waits only for what it needs itself.
boot() {
  # shellcheck disable=SC2034 # read by explain
  local booting=1
  start etcd
  start kube-apiserver
  start containerd
  start docker-containerd
  local jobs=() job
  boot_control_plane & jobs+=($!)
  boot_node1 & jobs+=($!)
  boot_node2 & jobs+=($!)
  boot_node3 & jobs+=($!)
  for job in "${jobs[@]}"; do
    wait "$job"
  done
}

boot_control_plane() {
  await etcd 20
  await kube-apiserver 60
  start kube-controller-manager
  start kube-scheduler
  within 30 default_account || explain kube-controller-manager \
    'waited 30 s for the default service account'
}

default_account() { as_admin get serviceaccount default >/dev/null 2>&1; }

boot_node1() {
  await containerd 20
  local image
  for image in "$IN_STATE"/images/*.tar; do
    load_containerd <"$image"
  done
  await kube-apiserver 60
  start kubelet-1
  await kubelet-1 30
}

boot_node2() {
  await docker-containerd 20
  start dockerd
  await dockerd 30
  start cri-dockerd
  local image
  for image in "$IN_STATE"/images/*.tar; do
    load_docker <"$image"
  done
  await cri-dockerd 20
  await kube-apiserver 60
  start kubelet-2
  await kubelet-2 30
}

# CRI-O's images are loaded before it starts, or while it runs: both lock the store.
boot_node3() {
  local image
  for image in "$IN_STATE"/images/*.tar; do
    load_crio <"$image"
  done
  start crio
  await crio 20
  await kube-apiserver 60
  start kubelet-3
  await kubelet-3 30
}

# Its working copies stay in the cluster's own /run.
load_crio() {
  mkdir -p /run/crio-load &&
    TMPDIR=/run/crio-load crio-load /var/lib/containers/storage /run/containers/storage
}

load_containerd() { ctr --address /run/containerd/containerd.sock --namespace k8s.io images import - >/dev/null; }

load_docker() { docker --host unix:///run/docker.sock load --quiet >/dev/null; }

# inside_main boot | start NAME | stop NAME | load-containerd | load-docker (an archive on stdin) | docker ARGS
inside_main() {
  set -euo pipefail
  PATH=$IN_STATE/bin:$PATH
  export KUBECACHEDIR=$IN_STATE/kubectl-cache
  case $1 in
  boot) boot ;;
  start)
    running "$2" || start "$2"
    await "$2" 60
    ;;
  stop) stop "$2" ;;
  load-containerd) load_containerd ;;
  load-docker) load_docker ;;
  load-crio) load_crio ;;
  docker) docker --host unix:///run/docker.sock "${@:2}" ;;
  *) fail "no such work: \`$1\`" ;;
  esac
}
