#!/bin/bash
# SPDX-License-Identifier: MIT
# redis -- benchmark, values of all kinds checked, BGSAVE under changes, reload in a plain server.
. "$(dirname "$0")/lib.sh"
need redis-server redis-benchmark redis-cli "$PYTHON"

# Starts a server in $SCRATCH (a plain one with the word plain before) and waits for its socket.
start_server() {
    rm -f "$SCRATCH/s"
    "$@" redis-server --port 0 --unixsocket "$SCRATCH/s" --dir "$SCRATCH" --save "" \
        --appendonly no --daemonize no >>"$SCRATCH/log" 2>&1 &
    SERVER=$!
    for _ in $(seq 100); do
        plain redis-cli -s "$SCRATCH/s" ping 2>/dev/null | grep -q PONG && return
        sleep 0.1
    done
    echo "the server does not answer"
    tail -n 20 "$SCRATCH/log" >&2
    exit 1
}

stop_server() {
    local status=0
    plain redis-cli -s "$SCRATCH/s" shutdown nosave 2>/dev/null || true
    wait "$SERVER" || status=$?
    [ "$status" = 0 ] || { echo "the server ended with $status"; tail -n 30 "$SCRATCH/log" >&2; }
}

scenario() {
    trap 'kill -KILL "$SERVER" 2>/dev/null || true' EXIT
    start_server env
    plain redis-benchmark -s "$SCRATCH/s" -q -n $((4000 * SCALE)) -c 20 -d 700 -r 5000 \
        -t set,get,incr,lpush,lpop,sadd,hset,zadd,lrange_100,mset >"$SCRATCH/benchmark" 2>&1
    plain "$PYTHON" -B "$HERE/redis_check.py" "$SCRATCH" fill "$SCALE"
    stop_server
    start_server plain
    plain "$PYTHON" -B "$HERE/redis_check.py" "$SCRATCH" reloaded "$SCALE"
    stop_server
    start_server env
    plain "$PYTHON" -B "$HERE/redis_check.py" "$SCRATCH" reloaded "$SCALE"
    stop_server
}

compare "$@"
