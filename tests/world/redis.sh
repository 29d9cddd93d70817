#!/bin/bash
# SPDX-License-Identifier: MIT
# redis -- benchmark, known values saved and loaded, append-only file rewritten under load and read
# again after a kill, a replica that is cut off and resynchronises, scripts.
. "$(dirname "$0")/lib.sh"
need redis-server redis-cli redis-benchmark redis-check-rdb redis-check-aof
version "$(redis-server --version)"

# start_server NAME [OPTION...]: listens on $SCRATCH/NAME, keeps its files in $SCRATCH/NAME.d.
start_server() {
    local name=$1
    shift
    mkdir -p "$SCRATCH/$name.d"
    rm -f "$SCRATCH/$name"
    (exec "${UNDER[@]}" redis-server --port 0 --unixsocket "$SCRATCH/$name" --save "" \
        --dir "$SCRATCH/$name.d" --enable-debug-command yes --daemonize no "$@") >&2 &
    SERVER=$!
    await answers "$name"
}

answers() {
    ask "$1" ping | grep -q PONG
}

ask() {
    local name=$1
    shift
    redis-cli -s "$SCRATCH/$name" "$@"
}

stop_server() {
    local status=0
    ask "$1" shutdown nosave >&2 || true
    wait "$SERVER" || status=$?
    [ "$status" = 0 ] || echo "the server ended with $status"
}

# load NAME [SECONDS]: a mixture of commands from many clients.
load() {
    redis-benchmark -s "$SCRATCH/$1" -q -n $((${2:-8000} * SCALE)) -c 30 -P 4 -d 400 -r 20000 \
        -t set,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset >&2
}

# Things whose every byte is known: strings, hashes, lists, sets, sorted sets, streams.
populate() {
    ask "$1" debug populate $((30000 * SCALE)) string 900 >&2
    ask "$1" eval "
        for i = 1, tonumber(ARGV[1]) do
            redis.call('HSET', 'hash:' .. i % 97, 'f' .. i, string.rep(tostring(i), i % 30 + 1))
            redis.call('RPUSH', 'list:' .. i % 89, i, string.rep('x', i % 200))
            redis.call('SADD', 'set:' .. i % 83, i, 'm' .. i * 7)
            redis.call('ZADD', 'zset:' .. i % 79, i % 1000, 'z' .. i)
            redis.call('XADD', 'stream:' .. i % 7, i .. '-1', 'field', string.rep('y', i % 50))
            redis.call('SETRANGE', 'bits', i * 3, string.char(i % 256))
        end
        return redis.call('DBSIZE')" 0 $((20000 * SCALE))
}

same_as() {
    [ "$(ask "$1" debug digest)" = "$2" ]
}

step_benchmark() {
    start_server s
    redis-benchmark -s "$SCRATCH/s" -q -n $((6000 * SCALE)) -c 50 -d 1200 -r 10000 >&2
    ask s flushall
    stop_server s
}

step_save() {
    local digest
    start_server s
    populate s
    digest=$(ask s debug digest)
    ask s save
    echo "$digest"
    load s 1000
    stop_server s
    redis-check-rdb "$SCRATCH/s.d/dump.rdb" >&2
    start_server s
    same_as s "$digest" && echo "loaded as saved"
    stop_server s
}

# Every write that was answered is in the file, whatever happens to the server.
step_append_only() {
    local digest round
    start_server s --appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0
    populate s
    for round in 1 2 3; do
        load s 3000 &
        LOAD=$!
        sleep 0.2
        ask s bgrewriteaof >&2
        wait "$LOAD"
        await sh -c "redis-cli -s '$SCRATCH/s' info persistence |
            grep -q 'aof_rewrite_in_progress:0'"
        ask s info persistence | grep -o 'aof_last_bgrewrite_status:[a-z]*'
        digest=$(ask s debug digest)
        kill -KILL "$SERVER"
        wait "$SERVER" || true
        start_server s --appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0
        same_as s "$digest" && echo "round $round: all of it is there"
    done
    stop_server s
    redis-check-aof "$(ls "$SCRATCH"/s.d/appendonlydir/*.manifest)" >&2
}

step_background_save() {
    local digest round
    start_server s
    populate s
    for round in 1 2 3 4; do
        ask s bgsave >&2
        load s 2000
        await sh -c "redis-cli -s '$SCRATCH/s' info persistence | grep -q 'bgsave_in_progress:0'"
        ask s info persistence | grep -o 'rdb_last_bgsave_status:[a-z]*'
        redis-check-rdb "$SCRATCH/s.d/dump.rdb" | grep -o 'RDB looks OK'
    done
    stop_server s
}

await_same() {
    local _
    for _ in $(seq 200); do
        [ "$(ask m debug digest)" = "$(ask r debug digest)" ] && return
        sleep 0.2
    done
    echo "master and replica differ"
}

# The replica is cut off while the master goes on, and catches up when it may.
replicate() {
    await_same
    load m 3000
    await_same
    ask r client kill type master >&2
    load m 1000
    await_same
    echo "the same ($1)"
}

step_replica() {
    local master diskless port
    port=$(free_port)
    for diskless in no yes; do
        rm -rf "$SCRATCH/m.d" "$SCRATCH/r.d"
        start_server m --repl-diskless-sync "$diskless" --repl-diskless-sync-delay 0 \
            --port "$port" --bind 127.0.0.1
        master=$SERVER
        populate m
        start_server r --replicaof 127.0.0.1 "$port" --repl-diskless-load on-empty-db
        replicate "diskless $diskless"
        stop_server r
        SERVER=$master
        stop_server m
    done
}

steps save append_only replica background_save benchmark
