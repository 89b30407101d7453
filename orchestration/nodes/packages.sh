# The distribution's packages. Sourced by the scripts that need some.
# shellcheck shell=bash

update_attempts=20
update_pause_s=15

install_packages() {
    # Install packages by apt, once whatever an image does at its first boot lets go of apt. Where there is no apt, the
    # names are told.
    if ! command -v apt-get >/dev/null; then
        echo "${0##*/}: this node has no $*: install it there" >&2
        exit 1
    fi
    command -v cloud-init >/dev/null && sudo cloud-init status --wait >/dev/null 2>&1 || true
    # apt waits for the lock that installing takes, if told to, but not for the one of the lists.
    local attempt
    for ((attempt = 1; ; attempt++)); do
        sudo apt-get -o DPkg::Lock::Timeout=300 update -q && break
        if ((attempt == update_attempts)); then
            echo "${0##*/}: apt-get update failed $attempt times" >&2
            exit 1
        fi
        sleep "$update_pause_s"
    done
    sudo DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y "$@"
}
