#!/usr/bin/env bash
# Start a worker: the way to MLflow, then Ray. Usage: start_worker.sh ray start --address=...
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

# Training records from the node it runs on, and the server listens on the head's loopback address only. So that
# address is made to mean the same here, through SSH, with a key that is good for nothing else (tunnel_key.sh).
# Without the tunnel training goes on as well: what could not be recorded is sent in the end.
if [[ $MLFLOW_TRACKING_URI =~ ^http://(127\.0\.0\.1:[0-9]+)/?$ ]] && [ -f ~/.ssh/lia_tunnel ]; then
    place=${BASH_REMATCH[1]}
    "$nodes/keep_running.sh" mlflow-tunnel ssh -N -i ~/.ssh/lia_tunnel -L "$place:$place" \
        -o BatchMode=yes -o IdentitiesOnly=yes -o ControlPath=none -o ExitOnForwardFailure=yes \
        -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -o ConnectTimeout=15 \
        -o UserKnownHostsFile="$HOME/.ssh/lia_known_hosts" -o HostKeyAlias=lia-head -o StrictHostKeyChecking=yes \
        "$(id -un)@$RAY_HEAD_IP"
fi
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$@" "${resources[@]}"
