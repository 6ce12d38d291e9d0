# shellcheck shell=bash
# Products: what is built or fetched once and kept in the cache folder, outside the work tree.
# Invariant: a product's folder exists only when it is complete (it is built beside its place and
# renamed into it), and its name holds the hash of everything that it was made from.

KSYNC_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ksync

# key VERSION FILE...: the version and a hash over the files' contents.
key() {
  local version=$1 hash
  shift
  hash=$(cat -- "$@" | sha256sum) || return 1
  printf '%s-%s\n' "$version" "${hash:0:12}"
}

# product NAME KEY BUILDER [ARG...]: prints the product's folder. Where it is missing, runs
# `BUILDER ARG... FOLDER`, which fills FOLDER; a second caller waits for the first one's result.
product() {
  local name=$1 dir=$KSYNC_CACHE/$1-$2 lock result=0
  shift 2
  if [ ! -d "$dir" ]; then
    mkdir -p "$KSYNC_CACHE" || return 1
    exec {lock}>"$KSYNC_CACHE/.$name.lock" || return 1
    flock "$lock" || return 1
    if [ ! -d "$dir" ]; then
      printf 'building %s\n' "${dir##*/}" >&2
      rm -rf "$dir.half" && mkdir "$dir.half" || return 1
      "$@" "$dir.half" >&2 && mv -T "$dir.half" "$dir" || result=1
    fi
    exec {lock}>&-
  fi
  if [ "$result" != 0 ]; then
    printf "error: building %s did not succeed\n" "${dir##*/}" >&2
    return 1
  fi
  printf '%s\n' "$dir"
}

# go_build MODULE OUT ARG...: a static binary from the Go module in folder MODULE, whose go.mod and
# go.sum are taken as they are; no other toolchain is fetched. With WITH_C=1 it links this machine's C libraries.
go_build() {
  local module=$1 out=$2
  shift 2
  (
    cd "$module" || exit 1
    CGO_ENABLED=${WITH_C:-0} GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly \
      go build -trimpath -buildvcs=false -o "$out" "$@"
  )
}
