#!/usr/bin/env bash
# Keep a cluster's settings on this node. Usage: settings.sh NAME=VALUE...
#
# They replace those of before. No place for secrets: what is given here stands in the cluster file.
set -euo pipefail

refuse() {
    echo "settings.sh: $1" >&2
    exit 2
}

check() {
    # Refuse a setting of which it can be told here that it will not do.
    local setting=$1 value=${1#*=} entries entry
    [[ $setting =~ ^(AWS|LIA|MLFLOW|RAY)_[A-Z0-9_]+= ]] ||
        refuse "$setting: give NAME=VALUE, where NAME begins with AWS_, LIA_, MLFLOW_ or RAY_"
    [[ $setting != *$'\n'* ]] || refuse "$setting: give one line"
    [[ $setting != *REPLACE_ME* ]] || refuse "$setting: put in your own value, in the cluster file"
    case ${setting%%=*} in
    LIA_CACHE_GB)
        [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || refuse "$setting: give whole GB, such as LIA_CACHE_GB=300"
        ;;
    LIA_MLFLOW_ARTIFACTS)
        [[ $value =~ ^([a-z0-9]+://[^/]|file:/|/) ]] || refuse "$setting: give s3://BUCKET/FOLDER, or a folder from / on"
        ;;
    LIA_SHARED_SOURCE)
        [[ $value =~ ^[^:/]+:/ ]] || refuse "$setting: give HOST:/FOLDER, as NFS has it"
        ;;
    AWS_REGION)
        [[ $value =~ ^[a-z0-9-]+$ ]] || refuse "$setting: give a region, such as us-west-2"
        ;;
    LIA_ROLES)
        read -ra entries <<<"$value"
        for entry in "${entries[@]}"; do
            [[ $entry =~ ^[^=]+=(prepare|train|prepare\+train|train\+prepare)$ ]] ||
                refuse "LIA_ROLES: $entry: give HOST=ROLE, where ROLE is prepare, train or prepare+train"
        done
        ;;
    esac
}

mkdir -p ~/.lia
written=$(mktemp ~/.lia/settings.XXXXXX)
trap 'rm -f "$written"' EXIT
for setting in "$@"; do
    check "$setting"
    printf 'export %s=%q\n' "${setting%%=*}" "${setting#*=}" >>"$written"
done
mv "$written" ~/.lia/settings.sh
