#!/bin/bash
# SPDX-License-Identifier: MIT
# sqlite3 -- a large database through the shell: indexes, joins, full text, JSON, windows, vacuum,
# dumps, writers at once in WAL mode, and what is left of it after a kill.
. "$(dirname "$0")/lib.sh"
need sqlite3
version "$(sqlite3 --version)"
ROWS=$((120000 * SCALE))

make_database() {
    under sqlite3 "$1" >&2 <<END
pragma page_size = 4096;
pragma cache_size = -200000;
create table item (id integer primary key, grp int, word text, amount real, doc text);
begin;
insert into item
    with recursive n(i) as (select 1 union all select i + 1 from n where i < $ROWS)
    select i, i % 977, printf('word %d of %d', i * 7919 % 1000003, i % 50),
        i * 31 % 10007 / 4.0,
        json_object('i', i, 'list', json_array(i % 7, i % 11), 'pad', printf('%.*c', i % 60, 'p'))
    from n;
commit;
create index by_word on item (word);
create index by_group on item (grp, amount);
analyze;
END
}

# A digest of all a query returns.
query() {
    under sqlite3 -cmd 'pragma cache_size = -200000' "$DATABASE" "$1" | digest
}

step_queries() {
    DATABASE=$SCRATCH/db
    make_database "$DATABASE"
    query 'select * from item order by word desc, id'
    query 'select grp, count(*), sum(amount), max(word) from item group by grp'
    query 'select a.id, b.id from item a join item b on a.grp = b.grp and a.amount = b.amount
        where a.id < b.id order by 1, 2'
    query 'select id, rank() over (partition by grp order by amount desc, id), sum(amount) over
        (partition by grp order by id rows 5 preceding) from item order by id'
    query "select id, json_extract(doc, '\$.list[1]') from item where
        json_extract(doc, '\$.list[0]') = 3 order by id"
    query "select group_concat(word, '|') from (select word from item order by id)"
    query 'select count(distinct word), count(distinct doc) from item'
    query "with recursive w(n, s) as (select id, 0 from item where id < 400 union all
        select iif(n % 2, 3 * n + 1, n / 2), s + 1 from w where n <> 1)
        select count(*), max(s) from w"
    query 'pragma integrity_check'
}

step_text() {
    DATABASE=$SCRATCH/db
    make_database "$DATABASE"
    under sqlite3 "$DATABASE" "create virtual table words using fts5(word, doc);
        insert into words select word, doc from item;
        insert into words(words) values ('optimize')" >&2 || { echo "no fts5"; return; }
    query "select rowid, rank from words where words match 'word AND 49'
        order by rank, rowid limit 99"
    query "select highlight(words, 0, '<', '>') from words where words match '7919' order by rowid"
    query "select count(*) from words where words match 'pp*'"
    query "create virtual table box using rtree(id, x0, x1, y0, y1);
        insert into box select id, grp, grp + 3, amount, amount + 9 from item;
        select count(*), sum(id) from box where x0 < 500 and x1 > 300 and y0 > 100 and y1 < 900"
    query "insert into words(words) values ('integrity-check')"
}

step_changes() {
    DATABASE=$SCRATCH/db
    make_database "$DATABASE"
    under sqlite3 "$DATABASE" "begin; update item set word = word || '!', amount = -amount where
        grp % 3 = 0; savepoint s; delete from item where grp % 5 = 0; rollback to s;
        delete from item where id % 4 = 0; commit; vacuum; pragma integrity_check"
    under sqlite3 "$DATABASE" .dump | digest
    under sqlite3 "$DATABASE" .dump | under sqlite3 "$SCRATCH/copy"
    under sqlite3 "$SCRATCH/copy" .dump | digest
    under sqlite3 "$DATABASE" ".backup $SCRATCH/backup"
    DATABASE=$SCRATCH/backup query 'select * from item order by id'
    under sqlite3 :memory: ".restore $DATABASE" 'select count(*), sum(amount) from item' \
        'update item set doc = upper(doc)' 'select count(*) from item where doc like "%PPP%"'
    under sqlite3 -csv "$DATABASE" 'select * from item where id < 20000' >"$SCRATCH/csv"
    under sqlite3 "$SCRATCH/imported" '.mode csv' ".import $SCRATCH/csv t"
    under sqlite3 "$SCRATCH/imported" 'select count(*) from t'
}

# writer NUMBER: transactions of its own against three others.
writer() {
    local i
    for i in $(seq 150); do
        echo "begin immediate; insert into log values ($1, $i, hex(zeroblob(300)));
            update sum set n = n + 1; commit;"
    done | under sqlite3 -cmd '.timeout 60000' "$SCRATCH/db" >&2
}

step_writers() {
    local n
    local -a pids=()
    under sqlite3 "$SCRATCH/db" 'pragma journal_mode = wal; create table log (w, i, pad);
        create table sum (n); insert into sum values (0)'
    for n in 1 2 3 4; do
        writer "$n" &
        pids+=($!)
    done
    wait "${pids[@]}"
    under sqlite3 "$SCRATCH/db" 'select n from sum; select w, count(*), max(i) from log group by w;
        pragma integrity_check'
}

# Killed in the middle of a transaction: what was committed is there, nothing else.
step_killed() {
    local round
    under sqlite3 "$SCRATCH/db" 'create table t (i integer primary key, pad);
        insert into t values (0, 0)'
    for round in 1 2 3; do
        rm -f "$SCRATCH/writing"
        {
            seq -f "insert into t values (%.0f, hex(zeroblob(2000)));" \
                "$((round * 100000))" "$((round * 100000 + 99))"
            echo "begin; update t set pad = 'torn' || pad;"
            seq -f "insert into t values (-%.0f, 0);" 2000
            echo ".shell touch $SCRATCH/writing"
            echo "with recursive n(i) as (select 1 union all select i + 1 from n)"
            echo "select max(i) from n;"
        } >"$SCRATCH/script"
        (exec "${UNDER[@]}" sqlite3 -cmd 'pragma cache_size = 10' "$SCRATCH/db" \
            <"$SCRATCH/script") >&2 &
        SHELL_PID=$!
        await test -e "$SCRATCH/writing"
        sleep 0.2
        kill -KILL "$SHELL_PID"
        wait "$SHELL_PID" || true
        under sqlite3 "$SCRATCH/db" "select count(*), max(i), sum(length(pad)) from t;
            select count(*) from t where i < 0 or pad like 'torn%'; pragma integrity_check"
    done
}

steps queries writers killed changes text
