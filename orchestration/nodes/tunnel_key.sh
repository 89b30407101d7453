#!/usr/bin/env bash
# Make the key with which workers reach MLflow on this head, and note by which keys they know the head. The launcher
# copies both to them (cluster_synced_files).
#
# Whoever has the key can open connections to MLflow's port on the head, and do nothing else.
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$nodes/environment.sh"

key=~/.ssh/lia_tunnel
umask 077
mkdir -p ~/.ssh
[ -f "$key" ] || ssh-keygen -q -t ed25519 -N "" -C lia-tunnel -f "$key"
place=${MLFLOW_TRACKING_URI#http://}
entry="restrict,port-forwarding,permitopen=\"${place%/}\",command=\"/bin/false\" $(cat "$key.pub")"
touch ~/.ssh/authorized_keys
grep -qxF "$entry" ~/.ssh/authorized_keys || echo "$entry" >>~/.ssh/authorized_keys

# Asked where the launcher came in, which is an address of this head's own: nobody else can answer in its place.
read -r _ _ address port <<<"${SSH_CONNECTION:-- - 127.0.0.1 22}"
known=$(ssh-keyscan -T 5 -p "$port" "$address" 2>/dev/null | sed -n 's/^[^# ][^ ]* /lia-head /p' | sort)
[ -n "$known" ] || known=$(cat /etc/ssh/ssh_host_*_key.pub | sed 's/^/lia-head /')
echo "$known" >~/.ssh/lia_known_hosts
