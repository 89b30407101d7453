#!/usr/bin/env bash
# Mount the folder that all nodes share, if LIA_SHARED_SOURCE says from where (NFS 4.1, such as EFS), and see that
# this node may write to it.
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$nodes/environment.sh"
source "$nodes/packages.sh"

if [ -n "${LIA_SHARED_SOURCE:-}" ] && ! mountpoint -q "$LIA_SHARED"; then
    command -v mount.nfs4 >/dev/null || install_packages nfs-common
    sudo mkdir -p "$LIA_SHARED"
    options=nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport
    entry="$LIA_SHARED_SOURCE $LIA_SHARED nfs4 $options,_netdev,nofail 0 0"
    grep -qxF "$entry" /etc/fstab || echo "$entry" | sudo tee -a /etc/fstab >/dev/null
    sudo mount "$LIA_SHARED"
    # A new file system belongs to root.
    [ -w "$LIA_SHARED" ] || sudo chown "$(id -u):$(id -g)" "$LIA_SHARED"
fi
if ! [ -d "$LIA_SHARED" ] || ! [ -w "$LIA_SHARED" ]; then
    echo "shared_folder.sh: $LIA_SHARED is no folder that $(id -un) may write to on $(uname -n). Mount the shared" \
        "file system there, or give LIA_SHARED another folder in the cluster file." >&2
    exit 1
fi
