#!/bin/bash
# SPDX-License-Identifier: MIT
# memcached -- values set, read back, counted up, evicted, expired, over text and meta commands.
. "$(dirname "$0")/lib.sh"
need memcached "$PYTHON"
version "$(memcached -V)"

# start_server [OPTION...]: listens on $SCRATCH/s.
start_server() {
    local user=()
    [ "$(id -u)" != 0 ] || user=(-u root)
    (exec "${UNDER[@]}" memcached -s "$SCRATCH/s" "${user[@]}" "$@") >&2 &
    SERVER=$!
    await test -S "$SCRATCH/s"
}

stop_server() {
    local status=0
    kill -TERM "$SERVER"
    wait "$SERVER" || status=$?
    echo "the server ended with $status"
}

client() {
    "$PYTHON" -B "$HERE/memcached_client.py" "$SCRATCH/s" "$1" "$SCALE"
}

step_values() {
    start_server -m 512 -t 4
    client fill
    sleep 1
    client check
    client check
    stop_server
}

step_clients() {
    start_server -m 64 -t 4 -c 200
    client clients
    stop_server
}

step_eviction() {
    start_server -m 16 -t 2 -I 2m
    client evict
    stop_server
}

step_slabs_preallocated() {
    start_server -m 128 -t 2 -L
    client fill
    client check
    stop_server
}

steps values clients eviction slabs_preallocated
