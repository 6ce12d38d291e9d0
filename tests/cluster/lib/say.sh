# shellcheck shell=bash
# Words and waiting. Invariant: talk goes to stderr, so that stdout is data; nothing waits without a
# limit, and a wait that ends without its condition says what it waited for.

say() { printf '%s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# within SECONDS COMMAND...: true as soon as COMMAND is, tried every tenth of a second; false after SECONDS.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}
