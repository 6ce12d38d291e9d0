# shellcheck shell=bash
# Images into every node. Invariant: $STATE/loaded holds, for each reference, the hash of the archive
# that all nodes have under it, so that an unchanged archive is not loaded again.

# load ARCHIVE
load() {
  local archive=$1 references hash mark jobs=() job
  [ -r "$archive" ] || fail "cannot read \`$archive\`"
  references=$(tar -xOf "$archive" manifest.json | grep -o '"RepoTags":\[[^]]*\]') ||
    fail "\`$archive\` is no docker-archive with a name"
  hash=$(sha256sum <"$archive")
  mark=$STATE/loaded/$(sha256sum <<<"$references" | cut -c 1-16)
  if [ "$(cat "$mark" 2>/dev/null)" = "$hash" ]; then
    say "loaded already: $archive"
    return
  fi
  rm -f "$mark"
  work load-containerd <"$archive" & jobs+=($!)
  work load-docker <"$archive" & jobs+=($!)
  work load-crio <"$archive" & jobs+=($!)
  for job in "${jobs[@]}"; do
    wait "$job" || fail "loading \`$archive\` did not succeed"
  done
  printf '%s\n' "$hash" >"$mark"
}
