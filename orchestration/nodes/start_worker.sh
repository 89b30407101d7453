#!/usr/bin/env bash
# Start a worker. Usage: start_worker.sh ray start --address=...
#
# What kind of work a node is offered says the cluster file's node type on AWS. On premise there is but one type; there
# LIA_ROLES says it, such as "10.0.0.11=train 10.0.0.12=prepare 10.0.0.13=prepare+train" (addresses or host names);
# hosts that it does not name train if they have an NVIDIA GPU, else they prepare.
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$nodes/environment.sh"
units=1000 # of a resource, of which a task takes a thousandth of one: more than a node has tasks

if ! [ -s ~/.ray/auth_token ]; then
    echo "start_worker.sh: no token in ~/.ray/auth_token: name it under file_mounts" >&2
    exit 1
fi
chmod 600 ~/.ray/auth_token

role() {
    # The host's role: prepare, train or prepare+train.
    local entry name
    for entry in ${LIA_ROLES:-}; do
        for name in $(hostname -I 2>/dev/null) "$(uname -n)"; do
            if [ "${entry%%=*}" = "$name" ]; then
                echo "${entry#*=}"
                return
            fi
        done
    done
    if nvidia-smi --list-gpus 2>/dev/null | grep -q .; then echo train; else echo prepare; fi
}

resources=()
if [ -z "${RAY_OVERRIDE_RESOURCES:-}" ]; then # else the launcher handed over those of the node type
    role=$(role)
    case $role in
    prepare) resources=(--resources "{\"prepare_node\": $units}") ;;
    train) resources=(--resources "{\"train_node\": $units}") ;;
    prepare+train | train+prepare)
        resources=(--resources "{\"prepare_node\": $units, \"train_node\": $units}")
        ;;
    *)
        echo "start_worker.sh: LIA_ROLES: $role: a role is prepare, train or prepare+train" >&2
        exit 2
        ;;
    esac
fi

ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$nodes/start_ray.sh" "$@" "${resources[@]}"
