# shellcheck shell=bash
# The cluster's processes, as run inside its space. Invariant: each is started with the same command
# line every time, its process id is in $IN_STATE/pid and its words are in $IN_STATE/log.

# command_of NAME: sets `argv`.
# shellcheck disable=SC2054 # a flag's value may hold commas
command_of() {
  local pki=$IN_STATE/pki etc=$IN_STATE/etc
  case $1 in
  etcd)
    argv=(etcd --data-dir /var/lib/etcd --unsafe-no-fsync --listen-client-urls "$ETCD"
      --advertise-client-urls "$ETCD" --listen-peer-urls "http://$NODE1:2380"
      --initial-advertise-peer-urls "http://$NODE1:2380" --initial-cluster "default=http://$NODE1:2380")
    ;;
  kube-apiserver)
    argv=(kube-apiserver --etcd-servers "$ETCD" --bind-address "$NODE1" --advertise-address "$NODE1"
      --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16 --allow-privileged=true
      --authorization-mode Node,RBAC --client-ca-file "$pki/ca.crt"
      --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key"
      --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key"
      --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP,Hostname
      --service-account-key-file "$pki/accounts.pub" --service-account-signing-key-file "$pki/accounts.key"
      --service-account-issuer https://kubernetes.default)
    ;;
  second-apiserver)
    command_of kube-apiserver
    argv+=(--etcd-prefix /second --secure-port "${SECOND##*:}")
    ;;
  kube-controller-manager)
    argv=(kube-controller-manager --kubeconfig "$pki/manager.conf" --bind-address "$NODE1"
      --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/accounts.key"
      --use-service-account-credentials --leader-elect=false --node-monitor-grace-period=20s
      --flex-volume-plugin-dir /var/lib/kube-controller-manager/volume-plugins)
    ;;
  kube-scheduler)
    argv=(kube-scheduler --kubeconfig "$pki/scheduler.conf" --bind-address "$NODE1" --leader-elect=false)
    ;;
  containerd)
    # Only this one, with its shim, is of the set `new`.
    argv=(env "PATH=$IN_STATE/containerd:$PATH" containerd --config "$etc/containerd.toml")
    ;;
  docker-containerd) argv=(containerd --config "$etc/docker-containerd.toml") ;;
  dockerd) argv=(dockerd --config-file "$etc/dockerd.json") ;;
  cri-dockerd)
    argv=(cri-dockerd --container-runtime-endpoint unix:///run/cri-dockerd.sock
      --docker-endpoint unix:///run/docker.sock --cri-dockerd-root-directory /var/lib/cri-dockerd
      --network-plugin=cni --cni-bin-dir /usr/lib/cni --cni-conf-dir "$etc/cni2"
      --cni-cache-dir /var/lib/cni/cache2 --pod-infra-container-image localhost/pause:1
      --streaming-bind-addr "$NODE2:0")
    ;;
  crio) argv=(crio --config "$etc/crio.conf" --config-dir '') ;;
  kubelet-[123])
    local number=${1#kubelet-} node=NODE${1#kubelet-}
    argv=(kubelet --config "$etc/$1.yaml" --kubeconfig "$pki/node$number.conf"
      --hostname-override "${!node}" --root-dir "/var/lib/kubelet$number"
      --cert-dir "/var/lib/kubelet$number/pki")
    ;;
  *) fail "no component is called \`$1\`" ;;
  esac
}

# ready NAME: true when it answers.
ready() {
  case $1 in
  etcd) listens "${ETCD#http://}" ;;
  kube-apiserver) as_admin get --raw /readyz ;;
  second-apiserver) as_admin --server "$SECOND" get --raw /readyz ;;
  containerd) ctr --address /run/containerd/containerd.sock version ;;
  docker-containerd) ctr --address /run/docker-containerd/containerd.sock version ;;
  dockerd) docker --host unix:///run/docker.sock version ;;
  cri-dockerd) test -S /run/cri-dockerd.sock ;;
  crio) crio status --socket /run/crio/crio.sock info ;;
  kubelet-1) node_ready "$NODE1" ;;
  kubelet-2) node_ready "$NODE2" ;;
  kubelet-3) node_ready "$NODE3" ;;
  *) running "$1" ;;
  esac >/dev/null 2>&1
}

listens() { : <>"/dev/tcp/${1%:*}/${1#*:}"; }

as_admin() { kubectl --kubeconfig "$IN_STATE/kubeconfig" --request-timeout 5s "$@"; }

node_ready() {
  [ "$(as_admin get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}

running() { kill -0 "$(cat "$IN_STATE/pid/$1" 2>/dev/null)" 2>/dev/null; }

start() {
  local argv
  command_of "$1"
  setsid "${argv[@]}" >>"$IN_STATE/log/$1.log" 2>&1 </dev/null &
  printf '%s\n' "$!" >"$IN_STATE/pid/$1"
}

# await NAME SECONDS: until it is ready; says why not where it ends or the time does.
await() {
  local end=$((SECONDS + $2))
  until ready "$1"; do
    running "$1" || explain "$1" "$1 ended"
    [ "$SECONDS" -lt "$end" ] || explain "$1" "waited $2 s for $1 to be ready"
    sleep 0.1
  done
}

# explain NAME WORDS: the words and the end of its log. While booting, only the first of the side-by-side
# jobs to fail does so; the others mostly fail for the same reason.
explain() {
  if [ -n "${booting:-}" ] && ! mkdir "$IN_STATE/boot-failed" 2>/dev/null; then
    exit 1
  fi
  say "error: $2; the end of its log:"
  tail -n 25 "$IN_STATE/log/$1.log" >&2
  exit 1
}

# stop NAME: asks it to end, and ends it where that takes longer than its time: an API server would wait
# a minute for its open watches, dockerd up to 15 s for its containers.
stop() {
  running "$1" || return 0
  local pid limit=10
  case $1 in
  *apiserver) limit=3 ;;
  dockerd) limit=30 ;;
  esac
  pid=$(cat "$IN_STATE/pid/$1")
  kill -TERM "$pid"
  if ! within "$limit" stopped "$1"; then
    say "$1 did not end within $limit s of SIGTERM, killing it"
    kill -KILL "$pid"
    within 5 stopped "$1" || fail "waited 5 s for $1 to end"
  fi
}

stopped() { ! running "$1"; }
