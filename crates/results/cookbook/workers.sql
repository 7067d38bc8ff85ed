SELECT worker, count(*) AS tasks, count(*) FILTER (WHERE state = 'FAILURE') AS failed,
       round(sum(runtime)::numeric, 1) AS busy_seconds, max(finished_at) AS last_at
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour'
GROUP BY worker
ORDER BY busy_seconds DESC NULLS LAST;
