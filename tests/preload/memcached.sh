#!/bin/bash
# SPDX-License-Identifier: MIT
# memcached -- values stored, left to go cold, read back; many clients at once.
. "$(dirname "$0")/lib.sh"
need memcached "$PYTHON"

client() {
    plain "$PYTHON" -B "$HERE/../world/memcached_client.py" "$SCRATCH/s" "$1" "$SCALE"
}

scenario() {
    local _ user=()
    trap 'kill -KILL "$SERVER" 2>/dev/null || true' EXIT
    [ "$(id -u)" != 0 ] || user=(-u root)
    memcached -s "$SCRATCH/s" "${user[@]}" -m 256 -t 4 &
    SERVER=$!
    for _ in $(seq 100); do
        [ ! -S "$SCRATCH/s" ] || break
        sleep 0.1
    done
    client clients
    client fill
    sleep 0.5
    client check
    client check
    kill -TERM "$SERVER"
    wait "$SERVER"
}

compare "$@"
