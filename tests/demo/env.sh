# shellcheck shell=bash
# What the demo's commands share. Invariant: the demo writes below target/demo only; its plugin state
# (KSYNC_HOME) is none of the user's own; and it keeps its own copy of the kubeconfig, so that its watcher
# can still be stopped when the cluster has gone.

ROOT=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.." && pwd)
# shellcheck disable=SC2034 # read by run and down
cluster=$ROOT/tests/cluster/cluster
demo=$ROOT/target/demo

export KSYNC_HOME=$demo/home
export KUBECONFIG=$demo/kubeconfig
export KUBECACHEDIR=$demo/kubectl-cache

# shellcheck source=../cluster/lib/say.sh
. "$ROOT/tests/cluster/lib/say.sh"

# Where nothing of the demo is there, there is no watcher either.
stop_watcher() {
  if [ -x "$demo/bin/kubectl-ksync" ] && [ -e "$KUBECONFIG" ]; then
    "$demo/bin/kubectl-ksync" stop || fail "the demo's watcher did not stop; its files are in \`$KSYNC_HOME\`"
  fi
}
