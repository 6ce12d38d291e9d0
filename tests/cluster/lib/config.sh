# shellcheck shell=bash
# shellcheck disable=SC2034 # read by the rooms that source this one
# Names, addresses and folders of one cluster. Invariant: two clusters of different KSYNC_CLUSTER_INDEX
# (0 to 99, default 0) share no address, interface, cgroup or folder, so they can run side by side.

export KSYNC_CLUSTER_INDEX=${KSYNC_CLUSTER_INDEX:-0}
suffix=
[ "$KSYNC_CLUSTER_INDEX" = 0 ] || suffix=-$KSYNC_CLUSTER_INDEX

# Everything that the cluster writes, apart from its sockets; KSYNC_CLUSTER_STATE names it from outside.
STATE=${KSYNC_CLUSTER_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/ksync/cluster$suffix}
CGROUP=ksync-cluster$suffix

# A node's name is its address, on loopback: the API server reaches the kubelets there and nothing else
# is touched. Node 1 runs containerd, node 2 Docker behind cri-dockerd, node 3 CRI-O.
NODE1=127.0.$KSYNC_CLUSTER_INDEX.1
NODE2=127.0.$KSYNC_CLUSTER_INDEX.2
NODE3=127.0.$KSYNC_CLUSTER_INDEX.3
BRIDGE1=ksync$((2 * KSYNC_CLUSTER_INDEX))
BRIDGE2=ksync$((2 * KSYNC_CLUSTER_INDEX + 1))
BRIDGE3=ksync$((200 + KSYNC_CLUSTER_INDEX))
PODS1=10.244.$((2 * KSYNC_CLUSTER_INDEX)).0/24
PODS2=10.244.$((2 * KSYNC_CLUSTER_INDEX + 1)).0/24
PODS3=10.245.$KSYNC_CLUSTER_INDEX.0/24
SERVER=https://$NODE1:6443
# A further API server, of an empty cluster without nodes; not started by `up`.
SECOND=https://$NODE1:6444
ETCD=http://$NODE1:2379

# Folders as the cluster's processes see them, in their own mount namespace (see space-init.sh).
IN_STATE=/run/ksync/state
IN_CACHE=/run/ksync/cache

COMPONENTS=(etcd kube-apiserver containerd docker-containerd dockerd cri-dockerd crio
  kube-controller-manager kube-scheduler kubelet-1 kubelet-2 kubelet-3)
