-- The end and the id of each row, which a workflow has to know of others.
CREATE SCHEMA scratch;
-- Both are plain expressions, which Postgres inlines.
CREATE FUNCTION scratch.ended(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT timestamptz 'START' - interval '7 days' * ((TOTAL - $1) / TOTAL::double precision)
$$;
-- A UUID of version 7, whose time is a second before the end.
CREATE FUNCTION scratch.id(n bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT overlay(overlay(overlay(overlay(
        lpad(to_hex((1000 * date_part('epoch', scratch.ended($1)) - 1000)::bigint), 12, '0') || left(md5($1::text), 20)
        PLACING '-' FROM 9 FOR 0) PLACING '-7' FROM 14 FOR 1) PLACING '-8' FROM 19 FOR 1) PLACING '-' FROM 24 FOR 0)
$$;
-- Three ways to find old rows. Each table has the key and the other indexes of celeriac.tasks.
CREATE TABLE scratch.btree (LIKE celeriac.tasks INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE scratch.brin (LIKE celeriac.tasks INCLUDING DEFAULTS INCLUDING INDEXES);
DROP INDEX scratch.brin_finished_at_idx;
CREATE INDEX ON scratch.brin USING brin (finished_at);
CREATE TABLE scratch.partitioned (LIKE celeriac.tasks INCLUDING DEFAULTS) PARTITION BY RANGE (finished_at);
-- A key of a partitioned table contains the column of its partitions, so it does not keep an id unique.
ALTER TABLE scratch.partitioned ADD PRIMARY KEY (id, finished_at);
CREATE INDEX ON scratch.partitioned (root_id) WHERE root_id <> id;
CREATE INDEX ON scratch.partitioned (group_id) WHERE group_id IS NOT NULL;
CREATE TABLE scratch.today PARTITION OF scratch.partitioned DEFAULT;
