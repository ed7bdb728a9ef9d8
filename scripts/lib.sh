# Shared by the scripts: where things are kept, steps with their times, packages. Source it with
# $top set to the project's root.
# shellcheck shell=bash

export PATH=${PATH:-}:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive
# Node and pip bring certificates of their own; what this machine trusts counts too.
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sandpit
step_times=()

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# step NAME COMMAND...: run it, remember how long it took. In the command `set -e` does not hold: a
# function says with && what depends on what.
step() {
    local name=$1 begin=$SECONDS
    shift
    echo "== $name"
    "$@" || die "step failed: $name"
    step_times+=("$(printf '%4ds  %s' $((SECONDS - begin)) "$name")")
}

show_times() {
    echo "== where the time went"
    printf '%s\n' "${step_times[@]}"
    printf '%4ds  in all\n' "$SECONDS"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this step needs root, and there is no sudo here: run the script as root"
    fi
}

# Install what is missing of the Debian packages listed in scripts/packages.
install_packages() {
    local missing=() name
    while read -r name; do
        case $name in '' | '#'*) continue ;; esac
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            missing+=("$name")
    done <"$top/scripts/packages"
    if [ ${#missing[@]} -gt 0 ]; then
        echo "installing: ${missing[*]}"
        as_root apt-get update -qq &&
            as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
}

# The published clients with a Node of their own, below $cache by what they are made from. Sets
# $clients (a Python virtual environment) and $node_modules.
install_clients() {
    local key stamp
    key=$(cat "$top"/tests/integration/requirements.txt "$top"/tests/integration/js/package*.json |
        sha256sum | cut -c1-16)
    clients=$cache/clients-$key
    node_modules=$clients/js/node_modules
    stamp=$clients/complete
    if [ ! -e "$stamp" ]; then
        rm -rf "$clients" &&
            /usr/bin/python3 -m venv "$clients" &&
            "$clients/bin/pip" install -q --disable-pip-version-check \
                -r "$top/tests/integration/requirements.txt" &&
            mkdir -p "$clients/js" &&
            cp "$top"/tests/integration/js/package*.json "$clients/js/" &&
            (cd "$clients/js" && PATH=$clients/bin:$PATH npm ci --loglevel=error --no-audit --no-fund) &&
            touch "$stamp"
    fi
}

# Releases of both clients that spell some calls as newer ones do not. After install_clients, whose
# npm it takes. Sets $old_clients.
install_old_clients() {
    local key from=$top/tests/integration/old
    key=$(cat "$from/requirements.txt" "$from"/package*.json | sha256sum | cut -c1-16)
    old_clients=$cache/old-clients-$key
    if [ ! -e "$old_clients/complete" ]; then
        rm -rf "$old_clients" &&
            /usr/bin/python3 -m venv "$old_clients/python" &&
            "$old_clients/python/bin/pip" install -q --disable-pip-version-check \
                -r "$from/requirements.txt" &&
            mkdir -p "$old_clients/js" &&
            cp "$from"/package*.json "$old_clients/js/" &&
            (cd "$old_clients/js" && PATH=$clients/bin:$PATH npm ci --loglevel=error --no-audit --no-fund) &&
            touch "$old_clients/complete"
    fi
}

# The published Python client alone. Sets $clients.
install_python_client() {
    local pin
    pin=$(grep '^e2b==' "$top/tests/integration/requirements.txt") || return
    clients=$cache/${pin/==/-}
    if [ ! -e "$clients/complete" ]; then
        rm -rf "$clients" &&
            /usr/bin/python3 -m venv "$clients" &&
            "$clients/bin/pip" install -q --disable-pip-version-check "$pin" &&
            touch "$clients/complete"
    fi
}
