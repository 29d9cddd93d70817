#!/bin/bash
# SPDX-License-Identifier: MIT
# postgres -- initdb, queries that sort, hash and spill, a forked backend for every connection.
. "$(dirname "$0")/lib.sh"
PG_BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
PATH=$PATH:${PG_BIN:-/nonexistent}
need initdb postgres psql pgbench setpriv
[ "$(id -u)" != 0 ] || id postgres >/dev/null 2>&1 || skip "there is no user postgres"

# The server refuses to run as root; what lets a process compress its memory is kept.
as_user() {
    local words=()
    [ "$(id -u)" != 0 ] || words=(setpriv --reuid=postgres --regid=postgres --clear-groups
        --inh-caps=-all,+sys_ptrace --ambient-caps=-all,+sys_ptrace)
    exec "${words[@]}" "$@"
}

sql() {
    plain psql -X -q -v ON_ERROR_STOP=1 -At -h "$SCRATCH" -U postgres -d postgres "$@"
}

scenario() {
    local _
    trap 'kill -QUIT "$SERVER" 2>/dev/null || true' EXIT
    chmod 755 "$(dirname "$(dirname "$SCRATCH")")" "$(dirname "$SCRATCH")"
    chmod 1777 "$SCRATCH"
    cd "$SCRATCH"
    (as_user initdb -D "$SCRATCH/data" -A trust -U postgres -E UTF8 --locale=C \
        --no-sync) >"$SCRATCH/log"
    (as_user postgres -D "$SCRATCH/data" -c listen_addresses= -c fsync=off \
        -c shared_buffers=16MB -c work_mem=8MB -k "$SCRATCH") >>"$SCRATCH/log" 2>&1 &
    SERVER=$!
    for _ in $(seq 150); do
        ! sql -c 'select 1' >/dev/null 2>&1 || break
        sleep 0.2
    done
    sql -v rows=$((6000 * SCALE)) -f "$HERE/../world/postgres.sql"
    plain pgbench -i -q -s 1 -h "$SCRATCH" -U postgres postgres >>"$SCRATCH/log" 2>&1
    plain pgbench -n -C -c 3 -t $((20 * SCALE)) -h "$SCRATCH" -U postgres postgres \
        >>"$SCRATCH/log" 2>&1
    sql -c 'select sum(delta) = (select sum(abalance) from pgbench_accounts), count(*)
        from pgbench_history'
    kill -INT "$SERVER"
    wait "$SERVER"
}

compare "$@"
