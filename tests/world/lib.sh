# SPDX-License-Identifier: MIT
#
# lib.sh -- what the scripts of tests/world share; sourced, not run.
#
# A script says what it needs, defines functions step_NAME and ends with `steps NAME...`. Each step
# runs in a process session of its own, in an empty directory $SCRATCH, with a time limit; what it
# prints on standard output is its answer, which must not differ from one configuration to another.
# What a step starts by `under` gets the library and the configuration of this run, everything
# else runs plainly. A step may hand in results of single tests by `result`.
#
# The runner (tests/world/run) runs the script once for every configuration and compares. Given in
# the environment: OUT (where results go), CONF (a ZALLOC_CONF; "plain": without the library), LIB,
# SCALE, LIMIT (seconds a step may take), JOBS (steps at once), STEPS (only these).
#
# In $OUT: results (one line `NAME<tab>STATUS<tab>DIGEST` each), logs/NAME (standard error, and what
# a step that hangs was doing), answers/NAME (standard output), stats/PID.json.

set -u
SELF=$(readlink -f "$0")
HERE=$(dirname "$SELF")
PROGRAM=$(basename "$SELF" .sh)
PYTHON=/usr/bin/python3
SCALE=${SCALE:-1}
LIMIT=${LIMIT:-300}
JOBS=${JOBS:-1}
STEPS=${STEPS:-}
export HERE PROGRAM PYTHON SCALE LIB CONF OUT LIMIT JOBS STEPS
. "$HERE/../preload/guard.sh"

skip() {
    echo "skip $PROGRAM: $*"
    exit 77
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# What the program calls itself, for the report.
version() {
    head -n 1 <<<"$*" >"$OUT/version"
}

# The words that put what follows under the configuration of this run, and a function of them.
if [ "$CONF" = plain ]; then
    UNDER=(env -u LD_PRELOAD -u ZALLOC_CONF)
else
    UNDER=(env "LD_PRELOAD=$LIB" "ZALLOC_CONF=$CONF,stats_json:$OUT/stats/%p.json")
fi

under() {
    "${UNDER[@]}" "$@"
}

# result NAME STATUS [DIGEST]
result() {
    printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$OUT/results"
}

digest() {
    sha256sum | cut -c 1-32
}

# Waits until a command succeeds, for half a minute or so.
await() {
    local _
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "gave up waiting: $*" >&2
    return 1
}

# A TCP port of this machine nobody listens on.
free_port() {
    "$PYTHON" -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

run_step() {
    local name=$1 status=0 answer=$OUT/answers/$1
    SCRATCH=$TOP/$name
    export SCRATCH
    mkdir -p "$SCRATCH"
    chmod 1777 "$SCRATCH"
    run_guarded "$LIMIT" "$OUT/logs/$name" bash "$SELF" --step "$name" || status=$?
    case $status in
        0) result "$name" passed "$(digest <"$answer")" ;;
        77) result "$name" skipped ;;
        124) result "$name" hangs ;;
        *) result "$name" "failed" ;;
    esac
    rm -rf "$SCRATCH"
}

run_steps() {
    local name
    TOP=$(mktemp -d "${TMPDIR:-/tmp}/zalloc-world.XXXXXX")
    chmod 755 "$TOP"
    trap 'rm -rf "$TOP"' EXIT
    rm -rf "$OUT/logs" "$OUT/answers" "$OUT/stats" "$OUT/results"
    mkdir -p "$OUT/logs" "$OUT/answers" "$OUT/stats"
    chmod 1777 "$OUT/stats"
    : >"$OUT/results"
    for name in "$@"; do
        [ -z "$STEPS" ] || [[ " $STEPS " == *" $name "* ]] || continue
        while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
            wait -n
        done
        run_step "$name" &
    done
    wait
}

steps() {
    if [ "${STEP:-}" ]; then
        cd "$SCRATCH" || exit 1
        export HOME=$SCRATCH TMPDIR=$SCRATCH LC_ALL=C TZ=UTC
        set -e
        "step_$STEP" >"$OUT/answers/$STEP"
        exit
    fi
    run_steps "$@"
}

STEP=
if [ "${1:-}" = --step ]; then
    STEP=$2
fi
