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

# cache_of NAME FILE...: the folder of what is made from the files.
cache_of() {
    local key
    key=$(cat "${@:2}" | sha256sum | cut -c1-16) &&
        echo "$cache/$1-$key"
}

# python_packages VENV ARGUMENT...: a Python virtual environment with what pip is told to install.
python_packages() {
    /usr/bin/python3 -m venv "$1" &&
        "$1/bin/pip" install -q --disable-pip-version-check "${@:2}"
}

# both_clients FOLDER VENV REQUIREMENTS JS: the Python packages in VENV, and in FOLDER/js what JS has
# a package.json of, with the npm of $clients. FOLDER is made anew unless it is complete.
both_clients() {
    [ ! -e "$1/complete" ] || return 0
    rm -rf "$1" &&
        python_packages "$2" -r "$3" &&
        mkdir -p "$1/js" &&
        cp "$4"/package*.json "$1/js/" &&
        (cd "$1/js" && PATH=$clients/bin:$PATH npm ci --loglevel=error --no-audit --no-fund) &&
        touch "$1/complete"
}

# The published clients with a Node of their own. Sets $clients (a Python virtual environment) and
# $node_modules.
install_clients() {
    local from=$top/tests/integration
    clients=$(cache_of clients "$from/requirements.txt" "$from"/js/package*.json) &&
        node_modules=$clients/js/node_modules &&
        both_clients "$clients" "$clients" "$from/requirements.txt" "$from/js"
}

# Releases of both clients that spell some calls as newer ones do not. After install_clients. Sets
# $old_clients.
install_old_clients() {
    local from=$top/tests/integration/old
    old_clients=$(cache_of old-clients "$from/requirements.txt" "$from"/package*.json) &&
        both_clients "$old_clients" "$old_clients/python" "$from/requirements.txt" "$from"
}

# The published Python client alone. Sets $clients.
install_python_client() {
    local pin
    pin=$(grep '^e2b==' "$top/tests/integration/requirements.txt") || return
    clients=$cache/${pin/==/-}
    [ ! -e "$clients/complete" ] || return 0
    rm -rf "$clients" &&
        python_packages "$clients" "$pin" &&
        touch "$clients/complete"
}
