SELECT count(*) AS attempts,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY late) AS p50_seconds,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY late) AS p99_seconds
FROM (
    SELECT extract(epoch FROM coalesce(next.started_at, tasks.started_at) - failed.next_at)::double precision AS late
    FROM celeriac.attempts AS failed
    JOIN celeriac.tasks USING (id)
    LEFT JOIN celeriac.attempts AS next
        ON next.id = failed.id AND next.replays = failed.replays AND next.attempt = failed.attempt + 1
    WHERE failed.finished_at > now() - interval '1 hour' AND failed.state = 'RETRY'
        AND (next.id IS NOT NULL OR (tasks.replays = failed.replays AND tasks.attempts = failed.attempt + 1))
) AS lateness;
