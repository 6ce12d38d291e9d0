# shellcheck shell=bash
# What the cluster is made of: programs built from the Go modules beside this folder, Debian's packages
# and the test images. Invariant: every product is complete and keyed by its inputs (product.sh).

# shellcheck source=../../../radar/image/product.sh
. "$ROOT/radar/image/product.sh"

product_kube() {
  product kube "$(key "$VERSION_KUBE" "$HERE/kube/$KUBE_MODULE".{mod,sum} "$HERE/kube/main.go")" build_kube
}

build_kube() {
  local minor=${VERSION_KUBE#v1.} name version=k8s.io/component-base/version
  go_build "$HERE/kube" "$1/kube" "-modfile=$KUBE_MODULE.mod" -ldflags \
    "-s -w -X $version.gitVersion=$VERSION_KUBE -X $version.gitMajor=1 -X $version.gitMinor=${minor%.*}" . || return 1
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
    ln -s kube "$1/$name" || return 1
  done
}

product_cri_dockerd() {
  product cri-dockerd "$(key "$VERSION_CRI_DOCKERD" "$HERE"/cri-dockerd/{go.mod,go.sum})" build_cri_dockerd
}

build_cri_dockerd() {
  go_build "$HERE/cri-dockerd" "$1/cri-dockerd" -ldflags '-s -w' github.com/Mirantis/cri-dockerd
}

# crio (with C, for seccomp), the loader of images and pinns (C, from the same module); conmon is Debian's.
product_crio() {
  product crio "$(key "$VERSION_CRIO" "$HERE"/crio/{go.mod,go.sum,load/main.go} <(declare -f build_crio))" build_crio
}

build_crio() {
  local tags='containers_image_openpgp exclude_graphdriver_btrfs btrfs_noversion' source
  WITH_C=1 go_build "$HERE/crio" "$1/crio" -tags "$tags seccomp" -ldflags '-s -w' github.com/cri-o/cri-o/cmd/crio &&
    go_build "$HERE/crio" "$1/crio-load" -tags "$tags" -ldflags '-s -w' ./load &&
    source=$(cd "$HERE/crio" && GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' github.com/cri-o/cri-o) &&
    cc -std=gnu99 -static -Os -o "$1/pinns" "$source"/pinns/src/*.c && strip "$1/pinns"
}

# containerd, its shim and ctr, from the module: the set `new`.
product_containerd() {
  product containerd "$(key "$VERSION_CONTAINERD" "$HERE"/containerd/{go.mod,go.sum})" build_containerd
}

build_containerd() {
  local name module=github.com/containerd/containerd/v2
  for name in containerd containerd-shim-runc-v2 ctr; do
    go_build "$HERE/containerd" "$1/$name" -tags 'no_btrfs no_devmapper no_zfs no_aufs' -ldflags \
      "-s -w -X $module/version.Version=$VERSION_CONTAINERD" "$module/cmd/$name" || return 1
  done
}

# runc, with C (its first steps in a container are C, and libseccomp is), from the module: the set `new`.
product_runc() { product runc "$(key "$VERSION_RUNC" "$HERE"/runc/{go.mod,go.sum})" build_runc; }

build_runc() {
  WITH_C=1 go_build "$HERE/runc" "$1/runc" -tags seccomp -ldflags \
    "-s -w -X main.version=${VERSION_RUNC#v}" github.com/opencontainers/runc
}

# pid, observe, static and pause.
product_tools() {
  product tools "$(key 1 "$HERE"/tools/go.mod "$HERE"/tools/*/main.go "$HERE/pause/pause.c")" build_tools
}

build_tools() {
  go_build "$HERE/tools" "$1/" -ldflags '-s -w' ./... &&
    cc -static -O2 -Wall -Wextra -Werror -o "$1/pause" "$HERE/pause/pause.c" && strip "$1/pause"
}

product_debian() {
  product debian "$(key trixie <(printf '%s\n' "${TRIXIE[@]}"))" fetch_trixie
}

# The three images that tests use: pause, busybox (with tini) and static (a program and nothing else).
product_images() {
  local tools debian pack
  tools=$(product_tools) && debian=$(product_debian) && pack=$("$ROOT/radar/image/pack/build") || return 1
  product images "$(key 1 "$tools"/{pause,static} "$debian"/usr/bin/{busybox,tini-static} "$pack" \
    "$HERE/lib/products.sh")" build_images "$pack" "$tools" "$debian"
}

build_images() {
  local pack=$1 tools=$2 busybox=$3/usr/bin/busybox tini=$3/usr/bin/tini-static out=$4 applet links=()
  for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || links+=(-link "busybox:/bin/$applet")
  done
  local bare=(-dir /etc -dir /proc -dir /sys -dir /dev -dir /run -dir /tmp:1777)
  "$pack" -tag localhost/pause:1 -out "$out/pause.tar" -entrypoint /pause \
    -file "$tools/pause:/pause" &&
    "$pack" -tag localhost/busybox:1 -out "$out/busybox.tar" -env PATH=/bin "${bare[@]}" \
      -dir /root:700 -dir /home:755 -file "$busybox:/bin/busybox" -file "$tini:/bin/tini" "${links[@]}" &&
    "$pack" -tag localhost/static:1 -out "$out/static.tar" -entrypoint /static \
      -file "$tools/static:/static"
}

# product_path NAME: where one of them is, built where it is missing.
product_path() {
  local folder
  case $1 in
  kubectl) folder=$(product_kube) && printf '%s/kubectl\n' "$folder" ;;
  syncthing) "$ROOT/radar/image/syncthing/build" ;;
  pack) "$ROOT/radar/image/pack/build" ;;
  pid | observe | static | pause) folder=$(product_tools) && printf '%s/%s\n' "$folder" "$1" ;;
  busybox) folder=$(product_debian) && printf '%s/usr/bin/busybox\n' "$folder" ;;
  images) product_images ;;
  *) fail "no product is called \`$1\`" ;;
  esac
}
