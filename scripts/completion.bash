# Bash completion of sandpit: . scripts/completion.bash, or install it as
# /usr/share/bash-completion/completions/sandpit
# shellcheck shell=bash

# The flags that a subcommand's own --help names, so that this file need not know them.
_sandpit_flags() {
    "$@" --help 2>/dev/null | grep -oE -- '(^|[^-[:alnum:]])--?[a-z][-a-z]*' | grep -oE -- '--?[a-z][-a-z]*' | sort -u
}

# What a subcommand prints about the data directory that the command line's --data-dir names.
_sandpit_ask() {
    local n dir=()
    for ((n = 1; n < ${#COMP_WORDS[@]} - 1; n++)); do
        [ "${COMP_WORDS[n]}" = --data-dir ] && dir=(--data-dir "${COMP_WORDS[n + 1]}")
    done
    "$@" "${dir[@]}" 2>/dev/null
}

_sandpit() {
    local program=$1 current=$2 previous=$3 command=${COMP_WORDS[1]} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        words=$("$program" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')
    elif [ "$previous" = --data-dir ]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
    elif [[ $current == -* ]]; then
        words=$(_sandpit_flags "$program" "$command")
    elif [ "$COMP_CWORD" = 2 ] && [ "$command" = key ]; then
        words='create list revoke'
    elif [ "$COMP_CWORD" = 2 ] && [ "$command" = image ]; then
        words='build list'
    elif [ "$previous" = --state ]; then
        words='running paused pausing resuming'
    elif [[ $command =~ ^(kill|pause|resume|inspect)$ ]] || [ "$previous" = --sandbox ]; then
        words=$(_sandpit_ask "$program" ps -q)
    elif [ "$command" = key ] && [ "${COMP_WORDS[2]}" = revoke ]; then
        words=$(_sandpit_ask "$program" key list | awk '$0 ~ / valid / { print $1 }')
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _sandpit sandpit
