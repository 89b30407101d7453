#!/usr/bin/env bash
# Keep a command running on this node, apart from this terminal and from Ray. Usage: keep_running.sh NAME COMMAND...
#
# When it ends it is started again 5 s later. If NAME runs already, nothing happens. Its output is in
# $LIA_STATE/NAME.log; `kill -- -$(cat $LIA_STATE/NAME.pid)` ends it.
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$nodes/environment.sh"
name=$1
shift

mkdir -p "$LIA_STATE"
if ! [ -O "$LIA_STATE" ]; then
    echo "keep_running.sh: $LIA_STATE belongs to somebody else" >&2
    exit 1
fi
chmod 700 "$LIA_STATE"
# The lock is held by whoever has the file open: the loop, and nobody once it is gone.
exec 8>"$LIA_STATE/$name.lock"
if ! flock -n 8; then
    exit 0
fi
# The command itself does not get the lock: what it leaves behind must not keep it.
# shellcheck disable=SC2016
setsid bash -c 'while true; do "$@" 8>&-; echo "ended with status $?" >&2; sleep 5 8>&-; done' "$name" "$@" \
    >>"$LIA_STATE/$name.log" 2>&1 </dev/null &
echo $! >"$LIA_STATE/$name.pid"
