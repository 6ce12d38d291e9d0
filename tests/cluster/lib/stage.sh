#!/usr/bin/env bash
# stage.sh NAME COMMAND...: runs it and prints how long it took, on stderr. Invariant: its exit status is
# the command's.
set -uo pipefail
name=$1
shift
begin=$EPOCHREALTIME
"$@"
status=$?
end=$EPOCHREALTIME
tenths=$(((${end/[.,]/} - ${begin/[.,]/}) / 100000))
outcome=
[ "$status" = 0 ] || outcome=", failed with status $status"
printf '== %s: %d.%d s%s\n' "$name" "$((tenths / 10))" "$((tenths % 10))" "$outcome" >&2
exit "$status"
