-- SPDX-License-Identifier: MIT
-- postgres.sql -- queries that sort, hash, spill, aggregate, parse and loop; :rows says how many.
set client_min_messages = warning;
create table item (id int primary key, grp int, word text, amount numeric,
    made timestamp, doc jsonb);
insert into item
    select i, i % 977, md5((i * 7919 % 1000003)::text), (i * 31 % 10007)::numeric / 100,
        timestamp '2020-01-01' + i * interval '1 minute',
        jsonb_build_object('i', i, 'list', array[i % 7, i % 11, i % 13],
            'text', repeat('ab', i % 40))
    from generate_series(1, :rows) i;
create table part (id int, item int, note text);
insert into part select i, (i * 104729::bigint) % :rows + 1, 'note ' || i
    from generate_series(1, :rows * 2) i;
create index on part (item);
create index on item (word);
create index on item using gin (doc);
analyze;

select 'sort', md5(string_agg(word, ',' order by word, id)) from item;
set work_mem = '128kB';
select 'spilled sort', md5(string_agg(id::text, ','))
    from (select id from item order by word desc, id) s;
reset work_mem;
select 'hash join', count(*), sum(i.amount), sum(length(p.note))
    from item i join part p on p.item = i.id;
set enable_hashjoin = off;
select 'merge join', count(*), sum(i.amount) from item i join part p on p.item = i.id;
reset enable_hashjoin;
select 'groups', count(*), md5(string_agg(g::text, ';' order by g.grp)) from
    (select grp, count(*), sum(amount), min(word), max(made) from item group by grp) g;
select 'window', md5(string_agg(w::text, ';' order by w.id)) from
    (select id, rank() over (partition by grp order by amount desc, id),
        sum(amount) over (partition by grp order by id rows 5 preceding) from item) w;
select 'json', count(*), sum((doc->>'i')::bigint) from item where doc @> '{"list": [3]}';
select 'jsonpath', count(*) from item where doc @? '$.list[*] ? (@ == 5)';
select 'regular', count(*), md5(string_agg(regexp_replace(word, '([a-f])([0-9])', '\2\1', 'g'), ''
    order by id)) from item where word ~ '^[0-4].*(aa|b[c-e])';
select 'trigram', count(*) from item where word like '%abc%';
with recursive walk(n, steps) as (
    select i, 0 from generate_series(1, 300) i
    union all
    select case when n % 2 = 0 then n / 2 else 3 * n + 1 end, steps + 1 from walk where n <> 1)
select 'recursive', count(*), max(steps) from walk;
select 'text search', count(*),
    sum(ts_rank(to_tsvector('english', note || ' running tests of ' || id),
    to_tsquery('english', 'run & test'))::numeric(10, 4)) from part where id % 17 = 0;
select 'arrays', md5(array_agg(x order by x)::text) from
    (select unnest(array[id, grp, id % 7]) x from item where id % 5 = 0) a;
select 'large value', length(v), md5(v)
    from (select string_agg(doc::text, '' order by id) v from item) l;

create function churn(n int) returns text language plpgsql as $$
declare
    m jsonb := '{}';
    total text := '';
    i int;
begin
    for i in 1 .. n loop
        m := m || jsonb_build_object((i % 100)::text, repeat(chr(97 + i % 26), i % 200));
        total := right(total || (m ->> (i % 37)::text), 5000);
        begin
            if i % 50 = 0 then
                raise exception 'number %', i;
            end if;
        exception when others then
            total := total || sqlerrm;
        end;
    end loop;
    return md5(coalesce(total, '') || m::text);
end $$;
select 'churn', churn(4000);

begin;
update item set amount = amount + 1, doc = doc || '{"new": true}' where grp % 3 = 0;
savepoint one;
delete from item where grp % 5 = 0;
rollback to one;
delete from part where id % 4 = 0;
commit;
vacuum full item;
vacuum analyze part;
reindex table item;
select 'after', count(*), sum(amount), count(*) filter (where doc ? 'new') from item;
select 'after', count(*), min(id), max(id) from part;
prepare look(int) as select word from item where id = $1;
execute look(1);
execute look(77);
create temp table spread as select * from item where id % 3 = 0;
create index on spread (amount, word);
select 'temporary', count(*), md5(string_agg(word, '' order by amount, word)) from spread;
copy (select id, word from item order by id limit 5) to stdout;
