-- Finds the joins that are decided, and the member of each that fires it. It runs after the commit
-- of the arrivals: commits become visible one after the other, so the look after the last one sees
-- all of them. Of several looks at once, the lock of the join's row lets one win. The others read
-- who it was from the row that they have locked: their snapshot is older than it.
WITH asked AS (
    SELECT DISTINCT ON (join_id) join_id, idx
    FROM unnest($1::text[], $2::bigint[]) AS asked (join_id, idx)
    ORDER BY join_id, idx
), complete AS MATERIALIZED (
    SELECT id, fired_at, fired_by FROM celeriac.joins
    WHERE id = ANY ($1::text[])
        AND (fired_at IS NOT NULL
            OR (SELECT size <= sum(ok + failed) OR enough <= sum(ok) OR tolerated < sum(failed)
                FROM celeriac.tallies WHERE join_id = joins.id))
    ORDER BY id
    FOR NO KEY UPDATE
), won AS (
    UPDATE celeriac.joins SET fired_at = clock_timestamp(), fired_by = asked.idx
    FROM complete JOIN asked ON asked.join_id = complete.id
    WHERE joins.id = complete.id AND complete.fired_at IS NULL
    RETURNING joins.id, joins.fired_by
)
SELECT joins.id, coalesce(won.fired_by, complete.fired_by), won.id IS NOT NULL
FROM celeriac.joins LEFT JOIN complete USING (id) LEFT JOIN won USING (id)
WHERE joins.id = ANY ($1::text[])
