#!/usr/bin/env bash
# Install the project and its lock on a node. Does nothing the second time, until the lock changes.
set -euo pipefail

nodes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$nodes/../.." && pwd)
source "$nodes/packages.sh"
# The same release on every node: Ray does not join nodes of different ones.
python_release=3.11.18

mkdir -p ~/.lia
# Hosts whose home is one folder on the network install one after another.
exec 9>~/.lia/setup.lock
flock 9

require_packages() {
    # Install from the distribution what it has under these names, where a program is missing.
    local program missing=()
    for program in "$@"; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

usable() {
    # Whether this Python can make environments; Debian's and Ubuntu's need a package more for that.
    command -v "$1" >/dev/null && "$1" -c "import ensurepip, venv" 2>/dev/null
}

require_packages make git curl
if ! make -q -C "$root" .venv/.installed 2>/dev/null; then
    python=python3.11
    if ! usable "$python"; then
        # The machine's own Python installs uv by its digest, and uv knows the digests of the Pythons it fetches.
        usable python3 || install_packages python3-venv
        python3 -m venv ~/.lia/uv
        ~/.lia/uv/bin/python -m pip install --quiet --no-deps --require-hashes -r "$nodes/uv.txt"
        ~/.lia/uv/bin/uv python install --quiet "$python_release"
        python=$(~/.lia/uv/bin/uv python find "$python_release")
    fi
    make -C "$root" setup PYTHON="$python"
fi

# Folders that are left at home (tests, docs) are no changes to what runs here; changed files still are.
git -C "$root" ls-files --deleted -z | git -C "$root" update-index --skip-worktree -z --stdin ||
    echo "install.sh: $root is no checkout here: runs are recorded without a commit" >&2

line="source $nodes/environment.sh"
grep -qxF "$line" ~/.bashrc 2>/dev/null || echo "$line" >>~/.bashrc

"$nodes/shared_folder.sh"
