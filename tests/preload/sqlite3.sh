#!/bin/bash
# SPDX-License-Identifier: MIT
# sqlite3 -- imports, indexes, queries and checks a database on disk and one in memory.
. "$(dirname "$0")/lib.sh"
need sqlite3 awk

scenario() {
    awk -v n=$((40000 * SCALE)) 'BEGIN { for (i = 0; i < n; i++)
        printf "%d,name %d,%d,%d,the text of row %d comes with %d words\n", i, i * 7919 % 10007,
            i % 50, i * i % 65537, i, i % 13 }' >rows.csv
    fill | sqlite3 disk.db
    sqlite3 disk.db .dump | digest
    { echo "PRAGMA temp_store = memory; PRAGMA cache_size = -200000;"; fill; cold; questions
      echo ".backup copy.db"; } | sqlite3 :memory:
    { questions; echo "VACUUM; PRAGMA integrity_check;"; } | sqlite3 disk.db
    cmp <(sqlite3 copy.db .dump) <(sqlite3 disk.db .dump) && echo "both are the same"
}

fill() {
    cat <<'SQL'
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, grp INT, value INT, body TEXT);
.mode csv
.import rows.csv t
.mode list
CREATE INDEX t_name ON t(name, value);
CREATE INDEX t_group ON t(grp);
CREATE TABLE u AS SELECT id * 2 AS id, upper(body) AS body FROM t WHERE id % 3 = 0;
PRAGMA integrity_check;
SQL
}

# Lets the data lie for a moment, so that pages of it go cold.
cold() {
    echo ".shell sleep 0.7"
}

questions() {
    cat <<'SQL'
SELECT count(*), sum(value), max(name) FROM t;
SELECT grp, count(*), avg(value) FROM t GROUP BY grp ORDER BY 3 LIMIT 10;
SELECT t.name, u.body FROM t JOIN u ON t.id = u.id WHERE t.value % 1000 = 7 ORDER BY t.id LIMIT 20;
SELECT name, group_concat(id) FROM (SELECT * FROM t ORDER BY id) GROUP BY name LIMIT 20;
UPDATE t SET body = body || ' (changed)' WHERE grp = 7;
DELETE FROM t WHERE grp = 9;
SELECT sum(length(body)), count(DISTINCT name) FROM t;
PRAGMA integrity_check;
SQL
}

compare "$@"
