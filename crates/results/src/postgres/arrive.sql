-- Records members that have ended. A member counts once, whoever records it again. Every writer
-- inserts in the same order, so no two of them wait for each other, and counts in the row of its
-- own session.
WITH known AS MATERIALIZED (
    SELECT id, size FROM celeriac.joins WHERE id = ANY ($1::text[]) AND swept_at IS NULL
), arrived AS (
    INSERT INTO celeriac.arrivals (join_id, idx, task_id, ok, result, error_kind, error_message)
    SELECT join_id, idx, task_id, error_kind IS NULL, result, error_kind, error_message
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
        AS new (join_id, idx, task_id, result, error_kind, error_message)
    JOIN known ON known.id = join_id AND idx >= 0 AND idx < size
    ORDER BY join_id, idx
    ON CONFLICT DO NOTHING
    RETURNING join_id, ok
)
INSERT INTO celeriac.tallies AS own (join_id, session, ok, failed)
SELECT join_id, pg_backend_pid(), count(*) FILTER (WHERE ok), count(*) FILTER (WHERE NOT ok)
FROM arrived
GROUP BY join_id
ORDER BY join_id
ON CONFLICT (join_id, session) DO UPDATE SET ok = own.ok + excluded.ok, failed = own.failed + excluded.failed
