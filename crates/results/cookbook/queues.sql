SELECT queue, name, sum(tasks) AS tasks, coalesce(sum(tasks) FILTER (WHERE state = 'FAILURE'), 0) AS failed,
       round(sum(runtime_seconds)::numeric, 1) AS busy_seconds
FROM celeriac.stats
WHERE at > now() - interval '1 hour' AND state <> 'RETRY'
GROUP BY queue, name
ORDER BY queue, tasks DESC, name;
