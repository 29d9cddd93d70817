#!/bin/bash
# SPDX-License-Identifier: MIT
# nginx -- pages plainly, packed, through buffers and through a proxy; a reload; a quiet end.
. "$(dirname "$0")/lib.sh"
need nginx "$PYTHON"

free_port() {
    plain "$PYTHON" -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

fetch_all() {
    plain "$PYTHON" -B "$HERE/../world/nginx_client.py" "$PORT" "$SCRATCH" "$@"
}

scenario() {
    local _
    trap 'kill -KILL "$SERVER" 2>/dev/null || true' EXIT
    PORT=$(free_port)
    plain "$PYTHON" -B "$HERE/../world/nginx_site.py" "$SCRATCH" "$PORT"
    nginx -c "$SCRATCH/nginx.conf" -p "$SCRATCH" -e "$SCRATCH/error" >&2 &
    SERVER=$!
    for _ in $(seq 100); do
        [ ! -S "$SCRATCH/inner" ] || [ ! -s "$SCRATCH/pid" ] || break
        sleep 0.1
    done
    sleep 0.5
    fetch_all /plain/
    fetch_all / gzip
    kill -HUP "$SERVER"
    fetch_all /proxy/ gzip
    kill -QUIT "$SERVER"
    wait "$SERVER"
    # What a process of it that died would have left there.
    grep -E 'signal|alert|emerg' "$SCRATCH/error" || echo "no alerts"
}

compare "$@"
