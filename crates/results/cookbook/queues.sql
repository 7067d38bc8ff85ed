SELECT queue, name, count(*) AS tasks, count(*) FILTER (WHERE state = 'FAILURE') AS failed,
       round(sum(runtime)::numeric, 1) AS busy_seconds, count(DISTINCT worker) AS workers
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour'
GROUP BY queue, name
ORDER BY queue, tasks DESC, name;
