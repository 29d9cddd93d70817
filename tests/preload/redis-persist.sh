#!/bin/bash
# SPDX-License-Identifier: MIT
# redis-persist -- AOF, BGSAVE, BGREWRITEAOF and replication under writes; each copy is checked in
# a server without the library.
. "$(dirname "$0")/lib.sh"
need redis-server redis-cli "$PYTHON"

free_port() {
    "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts a server on socket $1 with the options $2...; WORD: env, or plain for one without.
start_server() { # WORD SOCKET OPTION...
    local word=$1 socket=$2
    shift 2
    rm -f "$SCRATCH/$socket"
    "$word" redis-server --unixsocket "$SCRATCH/$socket" --dir "$SCRATCH" --save "" \
        --aof-use-rdb-preamble yes --daemonize no "$@" >>"$SCRATCH/log" 2>&1 &
    SERVERS+=($!)
    for _ in $(seq 200); do
        plain redis-cli -s "$SCRATCH/$socket" ping 2>/dev/null | grep -q PONG && return
        sleep 0.1
    done
    echo "the server on $socket does not answer"
    tail -n 20 "$SCRATCH/log" >&2
    exit 1
}

stop_server() { # SOCKET; the one started last
    local status=0
    plain redis-cli -s "$SCRATCH/$1" shutdown nosave 2>/dev/null || true
    wait "${SERVERS[-1]}" || status=$?
    unset 'SERVERS[-1]'
    [ "$status" = 0 ] || { echo "the server ended with $status"; tail -n 30 "$SCRATCH/log" >&2; }
}

check() {
    plain "$PYTHON" -B "$HERE/redis_persist.py" "$SCRATCH" "$1" "$SCALE"
}

scenario() {
    SERVERS=()
    trap 'kill -KILL "${SERVERS[@]}" 2>/dev/null || true' EXIT
    start_server env s --port "$(free_port)" --bind 127.0.0.1 --appendonly no
    start_server plain r --port 0 --appendonly no --dbfilename replica.rdb
    check work
    stop_server r
    stop_server s
    start_server plain s --port 0 --appendonly no
    check rdb
    stop_server s
    start_server plain s --port 0 --appendonly yes
    check aof
    stop_server s
}

compare "$@"
