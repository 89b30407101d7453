#!/usr/bin/env bash
# Start Ray by the command given, again where that failed. Usage: start_ray.sh ray start ...
#
# Ray gives a node 30 s to start, whatever else the machine has to do then; the launcher does not always try again.
set -euo pipefail

attempts=3

for ((attempt = 1; attempt <= attempts; attempt++)); do
    if "$@"; then
        exit 0
    fi
    echo "start_ray.sh: attempt $attempt of $attempts failed" >&2
    ray stop --force >&2 || true
    sleep 5
done
exit 1
