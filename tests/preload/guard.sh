# SPDX-License-Identifier: MIT
#
# guard.sh -- runs a command in a session of its own, and does not let it hang; sourced.
#
# A command that exceeds its limit has failed: what its processes were doing (/proc status, wchan,
# system call and kernel stack of every thread, and gdb's backtraces if there is a gdb) goes into
# the log, then they are killed. Only processes of that session are ever looked at or killed.

GUARDED=

# The processes of session $1, one id a line.
session_pids() {
    local stat rest
    local -a field
    for stat in /proc/[0-9]*/stat; do
        read -r rest 2>/dev/null <"$stat" || continue
        # The name may hold blanks and brackets: the fields begin behind the last bracket.
        field=(${rest##*) })
        [ "${field[3]:-}" = "$1" ] && basename "$(dirname "$stat")"
    done
}

describe_process() {
    local task file
    [ "$(cat "/proc/$1/comm")" != timeout ] || return
    echo "=== process $1: $(tr '\0' ' ' <"/proc/$1/cmdline")"
    for task in "/proc/$1/task"/*; do
        echo "--- $task"
        grep -E '^(Name|State|PPid|Threads|VmRSS|VmPTE|Sig[BIC]|ShdPnd)' "$task/status"
        for file in wchan syscall stack; do
            echo "$file: $(cat "$task/$file")"
        done
    done
    if command -v gdb >/dev/null; then
        timeout -k 2 20 gdb -p "$1" -batch -nx -ex 'thread apply all backtrace 24' </dev/null
    fi
}

dump_session() {
    local pid
    for pid in $(session_pids "$1"); do
        describe_process "$pid" 2>&1
    done
}

kill_session() {
    local pid
    for pid in $(session_pids "$1"); do
        kill -KILL "$pid" 2>/dev/null
    done
}

# Runs a command for at most $1 seconds with log $2; returns its status, 124 after a hang.
run_guarded() {
    local limit=$1 log=$2 session deadline
    shift 2
    # timeout is the second line of defence, should this watcher itself be stopped.
    setsid timeout -k 5 $((limit + 90)) "$@" >"$log" 2>&1 </dev/null &
    session=$!
    GUARDED=$session
    deadline=$((SECONDS + limit))
    while kill -0 "$session" 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            dump_session "$session" >>"$log"
            kill_session "$session"
            wait "$session" 2>/dev/null
            GUARDED=
            return 124
        fi
        sleep 0.1
    done
    wait "$session"
    local status=$?
    kill_session "$session"
    GUARDED=
    return "$status"
}
