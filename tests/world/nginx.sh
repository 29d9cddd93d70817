#!/bin/bash
# SPDX-License-Identifier: MIT
# nginx -- static files, gzip, ranges, posts, a proxy with a cache, reloads under load, wrk and ab.
. "$(dirname "$0")/lib.sh"
need nginx curl "$PYTHON"
version "$(nginx -v 2>&1)"

start_server() {
    PORT=$(free_port)
    URL=http://127.0.0.1:$PORT
    "$PYTHON" -B "$HERE/nginx_site.py" "$SCRATCH" "$PORT"
    (exec "${UNDER[@]}" nginx -c "$SCRATCH/nginx.conf" -p "$SCRATCH" -e "$SCRATCH/error") >&2 &
    SERVER=$!
    await curl -sf "$URL/1.html"
}

stop_server() {
    local status=0
    kill -QUIT "$SERVER"
    wait "$SERVER" || status=$?
    echo "the server ended with $status"
    cat "$SCRATCH/error" >&2
    # What a worker that died leaves there.
    grep -cE 'signal|alert|emerg' "$SCRATCH/error" || true
}

# fetch_all PREFIX [gzip]
fetch_all() {
    "$PYTHON" -B "$HERE/nginx_client.py" "$PORT" "$SCRATCH" "$@"
}

step_files() {
    start_server
    fetch_all /
    fetch_all / gzip
    fetch_all /plain/
    fetch_all /proxy/
    fetch_all /proxy/ gzip
    curl -sf "$URL/big.bin" | cmp - "$SCRATCH/site/big.bin"
    curl -sf -r 1000000-19999999 "$URL/plain/big.bin" | digest
    curl -sf -r 100-200,5000-70000 "$URL/big.bin" | wc -c | awk '{ print ($1 > 65000) }'
    curl -s -o /dev/null -w '%{http_code}\n' "$URL/nothing"
    curl -s -m 60 -H Expect: -o /dev/null -w '%{http_code}\n' \
        --data-binary @"$SCRATCH/site/199.html" "$URL/proxy/1.html"
    stop_server
}

# wrk and ab count what failed; the pages are checked while they run.
step_load() {
    start_server
    if command -v wrk >/dev/null; then
        wrk -t 2 -c 60 -d $((4 * SCALE)) -H 'Accept-Encoding: gzip' "$URL/150.html" \
            >"$SCRATCH/wrk" &
        fetch_all /proxy/
        wait $!
        cat "$SCRATCH/wrk" >&2
        grep -E 'Socket errors|Non-2xx' "$SCRATCH/wrk" || echo "wrk: no errors"
    fi
    if command -v ab >/dev/null; then
        ab -q -n $((4000 * SCALE)) -c 40 "$URL/proxy/99.html" >"$SCRATCH/ab"
        cat "$SCRATCH/ab" >&2
        grep -E 'Failed requests|Non-2xx' "$SCRATCH/ab"
    fi
    stop_server
}

step_reload() {
    local round
    start_server
    for round in 1 2 3 4; do
        kill -HUP "$SERVER"
        fetch_all / gzip
    done
    stop_server
}

steps files load reload
