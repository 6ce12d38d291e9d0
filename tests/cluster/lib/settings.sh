# shellcheck shell=bash
# The components' configuration files, in $STATE/etc. Invariant: nothing here reaches beyond loopback and
# the two bridges: no masquerading, no port mapping, no chain in iptables.

write_settings() {
  local etc=$STATE/etc
  mkdir -p "$etc/cni1" "$etc/cni2"
  write_containerd >"$etc/containerd.toml"
  write_docker_containerd >"$etc/docker-containerd.toml"
  write_dockerd >"$etc/dockerd.json"
  write_runc >"$etc/runc"
  chmod 755 "$etc/runc"
  write_bridge "$BRIDGE1" "$PODS1" >"$etc/cni1/10-ksync.conflist"
  write_bridge "$BRIDGE2" "$PODS2" >"$etc/cni2/10-ksync.conflist"
  write_kubelet 1 "$NODE1" /run/containerd/containerd.sock >"$etc/kubelet-1.yaml"
  write_kubelet 2 "$NODE2" /run/cri-dockerd.sock >"$etc/kubelet-2.yaml"
}

# Folders and sockets of both runtimes are where they are by default on any node.
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

# Docker's runc. kubelet asks for a negative oom score for its sandboxes; where CAP_SYS_RESOURCE is
# missing, setting it fails and with it the container, so it is raised to 0 (containerd has a switch).
write_runc() {
  local capabilities
  capabilities=$(awk '/^CapEff:/ {print $2}' /proc/self/status)
  printf '#!/bin/sh\n'
  if ! ((0x$capabilities >> 24 & 1)); then
    cat <<'SH'
bundle= previous=
for word; do
  case $previous in --bundle | -b) bundle=$word ;; esac
  previous=$word
done
if [ -n "$bundle" ]; then
  sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json" || exit 1
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
