#!/usr/bin/env bash
# Start a head: MLflow's server, then Ray. Usage: start_head.sh ray start --head ...
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$nodes/environment.sh"

if ! [ -s ~/.ray/auth_token ]; then
    echo "start_head.sh: no token in ~/.ray/auth_token: make one with 'ray get-auth-token --generate' where you run" \
        "'ray up', and name it under file_mounts" >&2
    exit 1
fi
chmod 600 ~/.ray/auth_token
"$nodes/mlflow_server.sh"
# Ray needs a descriptor or two for each worker process and connection of the cluster.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$nodes/start_ray.sh" "$@"
