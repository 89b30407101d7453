# What every process of a cluster's node finds in its environment. Sourced by ~/.bashrc (so by each command of the
# cluster launcher, and by `ray attach` and `ray exec`) and by the start scripts: Ray, and with it every job and
# worker, inherits it.
# shellcheck shell=bash

if [ -f "$HOME/.lia/settings.sh" ]; then
    # shellcheck source=/dev/null
    source "$HOME/.lia/settings.sh"
fi
case ":$PATH:" in
*":$HOME/lia/.venv/bin:"*) ;;
*) export PATH="$HOME/lia/.venv/bin:$PATH" ;;
esac

# Ray talks to nobody without the token in ~/.ray/auth_token.
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
# `ray job stop` gives a job so many seconds to save a checkpoint and to record how it ended; Ray's default is 3.
export RAY_JOB_STOP_WAIT_TIME_S="${RAY_JOB_STOP_WAIT_TIME_S:-120}"

# Work asks for a trifle of the resource named here, so that it goes to the nodes that offer it.
export LIA_PREPARE_ON="${LIA_PREPARE_ON-prepare_node}"
export LIA_TRAIN_ON="${LIA_TRAIN_ON-train_node}"

# The head's own: jobs' drivers run there, and record for all workers.
export MLFLOW_TRACKING_URI="${MLFLOW_TRACKING_URI:-http://127.0.0.1:5000}"

# The folder that is the same on every node: runs, checkpoints and MLflow's SQLite.
export LIA_SHARED="${LIA_SHARED:-/mnt/lia}"

# Of the disk that a folder is on, or will be once it is made.
lia_disk_gb() {
    local folder=$1
    until [ -e "$folder" ]; do folder=$(dirname "$folder"); done
    df --output=size -BG "$folder" | tail -n 1 | tr -dc 0-9
}

# Shards are kept on the instance's own disk, where an image mounts one there; it holds nothing else. (This file is
# sourced again by what a sourced shell starts: then the cache is there already.)
lia_nvme=${LIA_NVME:-/opt/dlami/nvme}
if [ "${LIA_CACHE:-$lia_nvme/lia}" = "$lia_nvme/lia" ] && mountpoint -q "$lia_nvme" && [ -w "$lia_nvme" ]; then
    export LIA_CACHE="$lia_nvme/lia"
    LIA_CACHE_GB=$(($(lia_disk_gb "$lia_nvme") * 9 / 10))
    export LIA_CACHE_GB
elif [ -n "${LIA_CACHE_GB:-}" ]; then
    # Elsewhere as much as the settings say, on nodes whose disk has it beside system, packages and objects (150 GB).
    lia_room=$(($(lia_disk_gb "${LIA_CACHE:-$HOME}") - 150))
    if [ "$lia_room" -lt "$LIA_CACHE_GB" ]; then
        export LIA_CACHE_GB=$((lia_room > 20 ? lia_room : 20))
    fi
fi

# Logs and locks of what runs beside Ray. Not at home, which hosts may share, and one for each network namespace, as
# that is what a loopback address belongs to.
export LIA_STATE="${LIA_STATE:-/tmp/lia-$(id -un)-$(stat -Lc %i /proc/self/ns/net)}"
