# shellcheck shell=bash
# The components' configuration files, in $STATE/etc. Invariant: nothing here reaches beyond loopback and
# the two bridges: no masquerading, no port mapping, no chain in iptables.

write_settings() {
  local etc=$STATE/etc
  mkdir -p "$etc/cni1" "$etc/cni2" "$etc/cni3"
  if [ "$VERSIONS" = new ]; then write_containerd_2; else write_containerd; fi >"$etc/containerd.toml"
  write_docker_containerd >"$etc/docker-containerd.toml"
  write_dockerd >"$etc/dockerd.json"
  write_crio >"$etc/crio.conf"
  printf '{"default": [{"type": "insecureAcceptAnything"}]}\n' >"$etc/policy.json"
  write_runc >"$etc/runc"
  chmod 755 "$etc/runc"
  write_bridge "$BRIDGE1" "$PODS1" >"$etc/cni1/10-ksync.conflist"
  write_bridge "$BRIDGE2" "$PODS2" >"$etc/cni2/10-ksync.conflist"
  write_bridge "$BRIDGE3" "$PODS3" >"$etc/cni3/10-ksync.conflist"
  write_kubelet 1 "$NODE1" /run/containerd/containerd.sock >"$etc/kubelet-1.yaml"
  {
    write_kubelet 2 "$NODE2" /run/cri-dockerd.sock
    # cri-dockerd's addresses for exec have no scheme, which kubelet 1.37 takes for https where it gets a websocket.
    [ "$VERSIONS" != new ] || printf 'featureGates: {ExtendWebSocketsToKubelet: false}\n'
  } >"$etc/kubelet-2.yaml"
  write_kubelet 3 "$NODE3" /run/crio/crio.sock >"$etc/kubelet-3.yaml"
}

# Folders and sockets of all runtimes are where they are by default on any node.
write_containerd() {
  cat <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  stream_server_address = "$NODE1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$IN_STATE/etc/cni1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
TOML
}

# The same for containerd 2.
write_containerd_2() {
  cat <<TOML
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$IN_STATE/etc/cni1"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "$NODE1"
TOML
}

# Docker gets a containerd of its own, so that stopping one node's runtime leaves the other's alone.
write_docker_containerd() {
  cat <<'TOML'
version = 2
root = "/var/lib/docker-containerd"
state = "/run/docker-containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/docker-containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/docker-containerd/opt"
TOML
}

# The socket is where it is by default. Without its own first process in each pod (drop_infra_ctr, CRI-O's
# default) there is mostly no negative oom score to set; where there is, the wrapper raises it as for Docker.
write_crio() {
  cat <<TOML
[crio]
  root = "/var/lib/containers/storage"
  runroot = "/run/containers/storage"
  storage_driver = "overlay"
  log_dir = "/var/log/pods3"
  version_file = "/run/crio/version"
  clean_shutdown_file = "/var/lib/crio/clean.shutdown"
[crio.api]
  listen = "/run/crio/crio.sock"
  stream_address = "$NODE3"
[crio.runtime]
  default_runtime = "runc"
  cgroup_manager = "cgroupfs"
  conmon_cgroup = "pod"
  pinns_path = "$IN_STATE/bin/pinns"
  hooks_dir = []
  default_mounts_file = ""
  container_exits_dir = "/run/crio/exits"
  container_attach_socket_dir = "/run/crio"
  namespaces_dir = "/run"
  enable_criu_support = false
[crio.runtime.runtimes.runc]
  runtime_path = "$IN_STATE/etc/runc"
  runtime_type = "oci"
  runtime_root = "/run/crio-runc"
  monitor_path = "$(command -v conmon)"
  monitor_cgroup = "pod"
  monitor_env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
[crio.image]
  pause_image = "localhost/pause:1"
  pause_command = "/pause"
  signature_policy = "$IN_STATE/etc/policy.json"
  signature_policy_dir = "/run/crio/policies"
[crio.network]
  network_dir = "$IN_STATE/etc/cni3"
  plugin_dirs = ["/usr/lib/cni"]
[crio.nri]
  enable_nri = false
TOML
}

write_dockerd() {
  cat <<JSON
{
  "data-root": "/var/lib/docker",
  "exec-root": "/run/docker",
  "pidfile": "/run/docker.pid",
  "hosts": ["unix:///run/docker.sock"],
  "group": "root",
  "containerd": "/run/docker-containerd/containerd.sock",
  "storage-driver": "overlay2",
  "bridge": "none",
  "iptables": false,
  "ip6tables": false,
  "ip-forward": false,
  "ip-masq": false,
  "userland-proxy": false,
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "runtimes": {"ksync": {"path": "$IN_STATE/etc/runc"}},
  "default-runtime": "ksync"
}
JSON
}

# Docker's and CRI-O's runc, each with its settings of a sandbox or container corrected to what this
# machine can do (containerd has a switch for the first and leaves out the second):
# - kubelet asks for a negative oom score for its sandboxes; without CAP_SYS_RESOURCE setting it fails, so
#   it is raised to 0;
# - CRI-O passes limits of huge pages where /proc/cgroups lists `hugetlb`, mounted or not; runc fails
#   where it is not.
write_runc() {
  local capabilities edits=()
  capabilities=$(awk '/^CapEff:/ {print $2}' /proc/self/status)
  ((0x$capabilities >> 24 & 1)) || edits+=(-e 's/"oomScoreAdj":[[:space:]]*-[0-9]*/"oomScoreAdj":0/')
  [ -d /sys/fs/cgroup/hugetlb ] || [ -e /sys/fs/cgroup/cgroup.controllers ] ||
    edits+=(-e 's/"hugepageLimits":[[:space:]]*\[[^]]*\]/"hugepageLimits":[]/')
  printf '#!/bin/sh\n'
  if [ "${#edits[@]}" -gt 0 ]; then
    cat <<SH
bundle= previous=
for word; do
  case \$previous in --bundle | -b) bundle=\$word ;; esac
  previous=\$word
done
if [ -n "\$bundle" ]; then
  sed -i -z$(printf " '%s'" "${edits[@]}") "\$bundle/config.json" || exit 1
fi
SH
  fi
  printf 'exec runc "$@"\n'
}

write_bridge() {
  cat <<JSON
{"cniVersion": "0.4.0", "name": "$1", "plugins": [{
  "type": "bridge", "bridge": "$1", "isGateway": true, "ipMasq": false,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$2"}]],
    "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/var/lib/cni/$1"}}]}
JSON
}

# write_kubelet NUMBER ADDRESS SOCKET. Each kubelet has its own pod logs (else each removes the other's
# as orphans), leaves iptables alone and never runs short of disk in its own opinion.
write_kubelet() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $2
healthzBindAddress: $2
containerRuntimeEndpoint: unix://$3
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $IN_STATE/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $IN_STATE/pki/node$1.crt
tlsPrivateKeyFile: $IN_STATE/pki/node$1.key
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/node$1
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: ""
podLogsDir: /var/log/pods$1
volumePluginDir: /var/lib/kubelet$1/volume-plugins
evictionHard: {memory.available: 50Mi, nodefs.available: 0%, imagefs.available: 0%}
imageGCHighThresholdPercent: 100
syncFrequency: 10s
nodeStatusUpdateFrequency: 4s
YAML
}
