#!/usr/bin/env bash
# Keep a cluster's settings on this node. Usage: settings.sh NAME=VALUE...
#
# They replace those of before. No place for secrets: what is given here stands in the cluster file.
set -euo pipefail

mkdir -p ~/.lia
written=$(mktemp ~/.lia/settings.XXXXXX)
trap 'rm -f "$written"' EXIT
for setting in "$@"; do
    if ! [[ $setting =~ ^(AWS|LIA|MLFLOW|RAY)_[A-Z0-9_]+= ]]; then
        echo "settings.sh: $setting: give NAME=VALUE, where NAME begins with AWS_, LIA_, MLFLOW_ or RAY_" >&2
        exit 2
    fi
    if [[ $setting == *REPLACE_ME* ]]; then
        echo "settings.sh: $setting: put in your own value, in the cluster file" >&2
        exit 2
    fi
    printf 'export %s=%q\n' "${setting%%=*}" "${setting#*=}" >>"$written"
done
mv "$written" ~/.lia/settings.sh
