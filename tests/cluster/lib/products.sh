# shellcheck shell=bash
# What the cluster is made of: programs built from the Go modules beside this folder, Debian's packages
# and the test images. Invariant: every product is complete and keyed by its inputs (product.sh).

VERSION_KUBE=v1.34.4
VERSION_CRI_DOCKERD=v0.4.0

# shellcheck source=../../../radar/image/product.sh
. "$ROOT/radar/image/product.sh"

product_kube() {
  product kube "$(key "$VERSION_KUBE" "$HERE"/kube/{go.mod,go.sum,main.go})" build_kube
}

build_kube() {
  local minor=${VERSION_KUBE#v1.} name version=k8s.io/component-base/version
  go_build "$HERE/kube" "$1/kube" -ldflags \
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
