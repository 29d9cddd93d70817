#!/bin/bash
# SPDX-License-Identifier: MIT
# postgres -- initdb, queries that sort, hash and spill, pgbench with its books checked, a killed
# backend, a killed server and what it had promised, dump and restore, a standby.
. "$(dirname "$0")/lib.sh"
PG_BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
PATH=${PG_BIN:-/nonexistent}:$PATH
need initdb postgres psql pgbench pg_dump pg_basebackup setpriv
version "$(postgres --version)"

# The server refuses to run as root; what lets a process compress its memory is kept.
if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || skip "there is no user postgres"
    USER_WORDS=(setpriv --reuid=postgres --regid=postgres --clear-groups
        --inh-caps=-all,+sys_ptrace --ambient-caps=-all,+sys_ptrace)
else
    USER_WORDS=()
fi

as_user() {
    "${USER_WORDS[@]}" "$@"
}

sql() {
    psql -X -q -v ON_ERROR_STOP=1 -At -h "$SCRATCH" -U postgres "$@"
}

# make_cluster DIRECTORY
make_cluster() {
    as_user "${UNDER[@]}" initdb -D "$1" -A trust -U postgres -E UTF8 --locale=C --no-sync \
        --data-checksums >&2
    cat >>"$1/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$SCRATCH'
fsync = off
shared_buffers = 32MB
work_mem = 24MB
maintenance_work_mem = 64MB
max_wal_senders = 4
log_min_messages = warning
END
}

# start_other DIRECTORY [OPTION...]: SERVER is the postmaster itself, no shell around it.
start_other() {
    (exec "${USER_WORDS[@]}" "${UNDER[@]}" postgres -D "$@") >&2 &
    SERVER=$!
}

start_server() {
    start_other "$1"
    await sql -d postgres -c 'select 1'
}

stop_server() {
    kill -INT "$SERVER"
    wait "$SERVER" || echo "the server ended with $?"
}

fresh_server() {
    make_cluster "$SCRATCH/data"
    start_server "$SCRATCH/data"
}

step_initdb() {
    make_cluster "$SCRATCH/data"
    pg_controldata "$SCRATCH/data" | grep -E 'Catalog version|block size|checksum version'
    pg_checksums --check -D "$SCRATCH/data" | tail -n 2
}

step_queries() {
    fresh_server
    sql -d postgres -v rows=$((60000 * SCALE)) -f "$HERE/postgres.sql"
    stop_server
}

# Money moved by pgbench is neither made nor lost.
check_books() {
    sql -d postgres -c "select (select sum(abalance) from pgbench_accounts) =
        (select sum(bbalance) from pgbench_branches), (select sum(abalance) from
        pgbench_accounts) = (select sum(tbalance) from pgbench_tellers), (select sum(abalance)
        from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)"
}

step_pgbench() {
    fresh_server
    pgbench -i -q -s 4 -h "$SCRATCH" -U postgres postgres >&2
    pgbench -n -c 6 -j 2 -t $((400 * SCALE)) -h "$SCRATCH" -U postgres postgres >&2
    pgbench -n -M prepared -S -c 6 -j 2 -t $((2000 * SCALE)) -h "$SCRATCH" -U postgres \
        postgres >&2
    # A new connection, and so a new forked backend, for every transaction.
    pgbench -n -C -c 4 -j 2 -t $((60 * SCALE)) -h "$SCRATCH" -U postgres postgres >&2
    check_books
    sql -d postgres -c 'select count(*) from pgbench_history'
    stop_server
    pg_checksums --check -D "$SCRATCH/data" | grep 'Bad checksums'
}

# Numbers are inserted one a transaction; each is written down once its commit was acknowledged.
insert_numbers() {
    local i
    sql -d postgres -c 'create table promised (n int primary key, pad text)'
    for i in $(seq 4000); do
        echo "insert into promised values ($i, repeat('x', 300)) returning n;"
    done >"$SCRATCH/inserts"
    sql -d postgres -f "$SCRATCH/inserts" >"$SCRATCH/acknowledged" 2>&2 &
    CLIENT=$!
}

step_crash() {
    local round missing
    fresh_server
    pgbench -i -q -s 2 -h "$SCRATCH" -U postgres postgres >&2
    for round in 1 2; do
        insert_numbers
        pgbench -n -c 4 -j 2 -T 60 -h "$SCRATCH" -U postgres postgres >&2 &
        PGBENCH=$!
        await test -s "$SCRATCH/acknowledged"
        sleep 1
        kill -KILL "$SERVER" $(pgrep -P "$SERVER")
        wait "$SERVER" "$CLIENT" "$PGBENCH" || true
        rm -f "$SCRATCH/data/postmaster.pid" "$SCRATCH"/.s.PGSQL*
        start_server "$SCRATCH/data"
        check_books
        grep -E '^[0-9]+$' "$SCRATCH/acknowledged" >"$SCRATCH/numbers"
        missing=$(sql -d postgres <<END
create temp table heard (n int);
\\copy heard from '$SCRATCH/numbers'
select count(*) from heard where n not in (select n from promised);
drop table promised;
END
)
        echo "round $round: promised and missing $missing"
    done
    stop_server
}

step_backend_killed() {
    local pid
    fresh_server
    pgbench -i -q -s 1 -h "$SCRATCH" -U postgres postgres >&2
    sql -d postgres -c 'select pg_backend_pid(), pg_sleep(60)' >&2 &
    await sh -c "psql -X -At -h '$SCRATCH' -U postgres postgres -c \"select pid from
        pg_stat_activity where query like '%pg_sleep(60)' and pid <> pg_backend_pid()\" |
        grep -E '^[0-9]+\$' >'$SCRATCH/pid'"
    read -r pid <"$SCRATCH/pid"
    kill -KILL "$pid"
    wait $! || echo "the client was told"
    await sql -d postgres -c 'select 1'
    check_books
    stop_server
}

step_dump() {
    fresh_server
    sql -d postgres -c "create table t as select i, md5(i::text) m, array[i, i * 2] a,
        jsonb_build_object('k', i, 'l', repeat('z', i % 50)) j
        from generate_series(1, $((40000 * SCALE))) i"
    sql -d postgres -c 'create index on t (m); create index on t using gin (j)'
    under pg_dump -h "$SCRATCH" -U postgres postgres >"$SCRATCH/dump"
    sql -d postgres -c 'create database copy'
    under psql -X -q -v ON_ERROR_STOP=1 -h "$SCRATCH" -U postgres -d copy -f "$SCRATCH/dump" >&2
    under pg_dump -h "$SCRATCH" -U postgres copy | grep -v '^\\' | digest
    grep -v '^\\' "$SCRATCH/dump" | digest
    under pg_dump -Fc -h "$SCRATCH" -U postgres postgres >"$SCRATCH/dump.c"
    under pg_restore -l "$SCRATCH/dump.c" | grep -c 'TABLE DATA'
    under pg_amcheck -h "$SCRATCH" -U postgres --install-missing -d copy --heapallindexed >&2
    stop_server
}

step_standby() {
    local PRIMARY
    fresh_server
    PRIMARY=$SERVER
    as_user "${UNDER[@]}" pg_basebackup -h "$SCRATCH" -U postgres -D "$SCRATCH/standby" -R >&2
    as_user "${UNDER[@]}" pg_verifybackup "$SCRATCH/standby" >&2
    mkdir -m 777 "$SCRATCH/s"
    start_other "$SCRATCH/standby" -c unix_socket_directories="$SCRATCH/s"
    pgbench -i -q -s 2 -h "$SCRATCH" -U postgres postgres >&2
    pgbench -n -c 4 -j 2 -t $((200 * SCALE)) -h "$SCRATCH" -U postgres postgres >&2
    sql -d postgres -c 'create table last (n int)'
    await psql -X -At -h "$SCRATCH/s" -U postgres postgres -c 'select * from last'
    check_books
    if [ "$(sum_of "$SCRATCH")" = "$(sum_of "$SCRATCH/s")" ]; then
        echo "the standby holds the same"
    fi
    stop_server
    SERVER=$PRIMARY
    stop_server
}

sum_of() {
    psql -X -At -h "$1" -U postgres postgres -c "select md5(string_agg(a::text, ',' order by
        aid)) from pgbench_accounts a"
}

steps initdb queries pgbench crash backend_killed dump standby
