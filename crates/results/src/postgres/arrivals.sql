, arrived AS (
    -- Members of joins, of the tasks that were written: see arrive.sql. The sort comes after all
    -- rows of tasks are locked, so every writer takes its locks in one order.
    INSERT INTO celeriac.arrivals (join_id, idx, task_id, ok, result, error_kind, error_message)
    SELECT join_id, idx, new.id, state = 'SUCCESS',
           CASE state WHEN 'SUCCESS' THEN coalesce(result, result_text, 'null') END,
           CASE WHEN state <> 'SUCCESS' THEN coalesce(error_kind, state) END,
           CASE WHEN state <> 'SUCCESS' THEN coalesce(error_message, '') END
    FROM unnest(
        $1::text[], $3::text[], $6::text[], $9::text[], $10::text[], $11::text[], $42::text[], $43::bigint[]
    ) AS new (id, state, result, result_text, error_kind, error_message, join_id, idx)
    JOIN (SELECT id, size FROM celeriac.joins WHERE id = ANY ($42::text[]) AND swept_at IS NULL) AS known
        ON known.id = join_id AND idx >= 0 AND idx < size
    WHERE new.id IN (SELECT id FROM stored)
    ORDER BY join_id, idx
    ON CONFLICT DO NOTHING
    RETURNING join_id, ok
), counted AS (
    INSERT INTO celeriac.tallies AS own (join_id, session, ok, failed)
    SELECT join_id, pg_backend_pid(), count(*) FILTER (WHERE ok), count(*) FILTER (WHERE NOT ok)
    FROM arrived
    GROUP BY join_id
    ORDER BY join_id
    ON CONFLICT (join_id, session) DO UPDATE SET ok = own.ok + excluded.ok, failed = own.failed + excluded.failed
)
