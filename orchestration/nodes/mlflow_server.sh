#!/usr/bin/env bash
# Run MLflow's server on the head's loopback address, and wait until it answers.
#
# Its records are in the database that MLFLOW_BACKEND_STORE_URI names, else in SQLite in the shared folder. Artefacts
# go through it to LIA_MLFLOW_ARTIFACTS, a bucket or folder, so that nobody else needs a way there. Where
# MLFLOW_TRACKING_URI names another server, there is nothing to start.
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$nodes/environment.sh"
patience_s=180

if ! [[ $MLFLOW_TRACKING_URI =~ ^http://127\.0\.0\.1:([0-9]+)/?$ ]]; then
    echo "MLflow: records go to ${MLFLOW_TRACKING_URI#*@}"
    exit 0
fi
port=${BASH_REMATCH[1]}

answers() {
    curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "http://127.0.0.1:$port/health"
}

if answers; then
    echo "MLflow: answers at $MLFLOW_TRACKING_URI"
    exit 0
fi
# The address of the database goes by the environment: arguments are there for everybody to read.
if [ -z "${MLFLOW_BACKEND_STORE_URI:-}" ]; then
    mkdir -p "$LIA_SHARED/mlflow"
    export MLFLOW_BACKEND_STORE_URI="sqlite:///$LIA_SHARED/mlflow/mlflow.db"
fi
# Only these names in a request's Host header, against web pages that have their own name resolve to 127.0.0.1.
export MLFLOW_SERVER_ALLOWED_HOSTS="localhost:*,127.0.0.1:*"
# Jobs (of MLflow's language-model parts) would be run by more processes.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
"$nodes/keep_running.sh" mlflow mlflow server --host 127.0.0.1 --port "$port" --workers 2 \
    --artifacts-destination "${LIA_MLFLOW_ARTIFACTS:-$LIA_SHARED/mlflow/artifacts}"
for ((second = 0; second < patience_s; second++)); do
    if answers; then
        echo "MLflow: answers at $MLFLOW_TRACKING_URI"
        exit 0
    fi
    sleep 1
done
echo "MLflow: does not answer at $MLFLOW_TRACKING_URI; the end of $LIA_STATE/mlflow.log:" >&2
tail -n 20 "$LIA_STATE/mlflow.log" >&2
exit 1
