SELECT queue, count(*) AS tasks,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY wait) AS p50_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY wait) AS p95_seconds,
       max(wait) AS max_seconds
FROM (
    SELECT queue, extract(epoch FROM started_at - greatest(sent_at, eta))::double precision AS wait
    FROM celeriac.tasks
    WHERE finished_at > now() - interval '1 hour' AND attempts = 1 AND replays = 0
        AND sent_at IS NOT NULL AND started_at IS NOT NULL
) AS waits
GROUP BY queue
ORDER BY p95_seconds DESC;
