# SPDX-License-Identifier: MIT
#
# lib.sh -- what the scripts of tests/preload share; sourced, not run.
#
# A script names what it needs, defines scenario() and ends with `compare "$@"`. The scenario runs
# twice in an empty directory of the same name, once plainly and once with LD_PRELOAD=$LIB and
# ZALLOC_CONF=$CONF around it, bash included. Both runs must agree in standard output, standard
# error, exit status and in every file left in the directory. What may differ (repositories,
# databases in use, sockets) goes to $SCRATCH, a directory that is not compared.
#
# Environment: LIB (default build/libzalloc.so), CONF (default torture:true), SCALE (default 1:
# how much data), WORK (a directory to keep the runs in; a plain run found there is used again).
# The script prints `ok NAME`, `skip NAME: why` or `FAIL NAME: why`, and exits 0, 77 or 1.

set -u
SELF=$(readlink -f "$0")
HERE=$(dirname "$SELF")
NAME=$(basename "$SELF" .sh)
LIB=$(readlink -f "${LIB:-$HERE/../../build/libzalloc.so}")
CONF=${CONF-torture:true}
SCALE=${SCALE:-1}
PYTHON=/usr/bin/python3
export HERE LIB CONF SCALE PYTHON

skip() {
    echo "skip $NAME: $*"
    exit 77
}

fail() {
    echo "FAIL $NAME: $*"
    exit 1
}

# Skips the script unless all the programs are installed.
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# Runs a command inside a scenario without the library.
plain() {
    env -u LD_PRELOAD -u ZALLOC_CONF "$@"
}

# A digest of standard input, for outputs too long to print.
digest() {
    sha256sum | cut -c 1-32
}

run_scenario() {
    if [ "$1" = preload ]; then
        grep -qF "$LIB" /proc/self/maps || echo "the library is not loaded" >&2
    fi
    set -e
    scenario
}

# Runs the scenario once; $1 says how (plain, preload) and where the results go.
run_once() {
    local how=$1
    local -a settings=(-u LD_PRELOAD -u ZALLOC_CONF)
    if [ "$how" = preload ]; then
        settings=("LD_PRELOAD=$LIB")
        [ -z "$CONF" ] && settings=(-u ZALLOC_CONF "${settings[@]}")
        [ -z "$CONF" ] || settings+=("ZALLOC_CONF=$CONF")
    fi
    rm -rf "${WORK:?}/run" "$WORK/scratch" "$WORK/$how"
    mkdir -p "$WORK/run" "$WORK/scratch" "$WORK/$how"
    (cd "$WORK/run" && env "${settings[@]}" SCRATCH="$WORK/scratch" TMPDIR="$WORK/scratch" \
        HOME="$WORK/scratch" LC_ALL=C TZ=UTC PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
        bash "$SELF" "--$how" >"$WORK/$how/stdout" 2>"$WORK/$how/stderr" </dev/null)
    echo $? >"$WORK/$how/status"
    mv "$WORK/run" "$WORK/$how/files"
}

show_ends() {
    local file
    for file in plain/stderr preload/stderr preload/stdout; do
        echo "--- last lines of $file"
        tail -n 15 "$WORK/$file"
    done
}

judge() {
    local status part
    status=$(cat "$WORK/plain/status")
    [ "$status" = 0 ] || { show_ends >&2; fail "ends with $status even without the library"; }
    for part in status stderr stdout files; do
        if ! diff -r "$WORK/plain/$part" "$WORK/preload/$part" >"$WORK/difference" 2>&1; then
            echo "--- $part: < plain, > preloaded" >&2
            head -n 40 "$WORK/difference" >&2
            show_ends >&2
            fail "$part differs (status $(cat "$WORK/preload/status"))"
        fi
    done
    echo "ok $NAME"
}

compare() {
    case ${1:-} in
        --plain | --preload) run_scenario "${1#--}"; exit ;;
    esac
    [ -e "$LIB" ] || fail "${LIB:-the library} does not exist"
    if [ -z "${WORK:-}" ]; then
        WORK=$(mktemp -d "${TMPDIR:-/tmp}/zalloc-$NAME.XXXXXX")
        trap 'rm -rf "$WORK"' EXIT
    fi
    [ -e "$WORK/plain/files" ] || run_once plain
    run_once preload
    judge
}
