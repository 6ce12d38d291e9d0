# shellcheck shell=bash
# What comes from Debian. Invariant: a command that the system has already is not touched, no service
# is started by an installation, and what would not fit this release (Docker, etcd) goes into the cache
# folder only, never over the system.

# Commands or files that must be there, each with the package that brings it.
NEEDED=(
  containerd:containerd ctr:containerd runc:runc conmon:conmon /usr/lib/cni/bridge:containernetworking-plugins
  socat:socat ip:iproute2 nsenter:util-linux unshare:util-linux openssl:openssl cc:gcc patch:patch
  /usr/include/stdio.h:libc6-dev make:make /usr/bin/python3:python3
  /usr/include/seccomp.h:libseccomp-dev pkg-config:pkg-config
)

# Taken from trixie whatever the release: Docker 26 (cri-dockerd needs API 1.42) and etcd 3.5 (older
# ones break watches of Kubernetes 1.34). They run on bookworm as they are.
TRIXIE=(docker.io docker-cli etcd-server busybox-static tini)

present() {
  case $1 in
  /*) [ -e "$1" ] ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

# install_missing [NEED...]: installs the packages of those needs (default: all) that are not present.
install_missing() {
  local need missing=()
  for need in "${@:-${NEEDED[@]}}"; do
    present "${need%%:*}" || missing+=("${need##*:}")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  say "installing ${missing[*]}"
  without_services install_packages "${missing[@]}"
}

install_packages() {
  apt-get -qq -o DPkg::Lock::Timeout=120 update >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
      install -y --no-install-recommends "$@" >&2
}

# without_services COMMAND...: runs it while policy-rc.d forbids package scripts to start a service. A
# policy that the machine has already is its owner's and stays in force.
without_services() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit 1
  fi
  "$@"
)

# fetch_trixie FOLDER: unpacks TRIXIE's packages there, through lists and folders of apt's own, from the
# mirror that this machine uses already.
fetch_trixie() {
  local folder=$1 apt=$1/.apt mirror package
  # shellcheck disable=SC2016 # apt fills this in
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
  [ -n "$mirror" ] || { say 'error: apt names no package mirror'; return 1; }
  mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial || return 1
  printf 'deb [signed-by=%s] %s trixie main\n' \
    /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" >"$apt/sources.list"
  local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update || return 1
  (cd "$apt" && apt-get "${options[@]}" download "${TRIXIE[@]/%//trixie}") || return 1
  for package in "$apt"/*.deb; do
    dpkg -x "$package" "$folder" || return 1
  done
  rm -rf "$apt"
}
