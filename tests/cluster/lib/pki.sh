# shellcheck shell=bash
# The cluster's certificates and kubeconfigs. Invariant: made anew for each cluster and readable by root
# alone; a kubeconfig holds all it needs, so it can be copied and read from any mount namespace.

make_pki() {
  local pki=$STATE/pki
  mkdir -m 700 "$pki"
  cat >"$pki/openssl.cnf" <<'CNF'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = ${ENV::SAN}
CNF
  SAN='' certificate ca /CN=ksync-test-ca ca
  serving_certificate
  SAN=DNS:admin certificate admin /O=system:masters/CN=admin leaf
  SAN=DNS:manager certificate manager /CN=system:kube-controller-manager leaf
  SAN=DNS:scheduler certificate scheduler /CN=system:kube-scheduler leaf
  SAN=IP:$NODE1 certificate node1 "/O=system:nodes/CN=system:node:$NODE1" leaf
  SAN=IP:$NODE2 certificate node2 "/O=system:nodes/CN=system:node:$NODE2" leaf
  SAN=IP:$NODE3 certificate node3 "/O=system:nodes/CN=system:node:$NODE3" leaf
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$pki/accounts.key"
  openssl pkey -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub"

  local user
  for user in admin manager scheduler node1 node2 node3; do
    write_kubeconfig "$user" >"$pki/$user.conf"
  done
  install -m 600 "$pki/admin.conf" "$STATE/kubeconfig"
}

# That of the API server. Made anew, it is the server's from its next start on.
serving_certificate() {
  local san=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,IP:$NODE1,IP:10.96.0.1
  SAN=$san certificate apiserver /CN=kube-apiserver leaf
}

# certificate NAME SUBJECT ca|leaf: with a key of its own; signed by the CA, or by itself for `ca`.
certificate() {
  local name=$1 subject=$2 section=$3 pki=$STATE/pki signer=()
  [ "$section" = ca ] || signer=(-CA "$pki/ca.crt" -CAkey "$pki/ca.key")
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha256 -days 365 \
    -config "$pki/openssl.cnf" -extensions "$section" -subj "$subject" "${signer[@]}" \
    -keyout "$pki/$name.key" -out "$pki/$name.crt" 2>"$STATE/log/pki.log" ||
    fail "make certificate \`$name\`: $(cat "$STATE/log/pki.log")"
}

write_kubeconfig() {
  local user=$1 pki=$STATE/pki
  cat <<CONF
apiVersion: v1
kind: Config
current-context: ksync-test
contexts:
- name: ksync-test
  context: {cluster: ksync-test, user: $user}
clusters:
- name: ksync-test
  cluster:
    server: $SERVER
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
- name: $user
  user:
    client-certificate-data: $(base64 -w0 "$pki/$user.crt")
    client-key-data: $(base64 -w0 "$pki/$user.key")
CONF
}
