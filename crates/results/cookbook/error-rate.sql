SELECT name, sum(tasks) AS tasks, coalesce(sum(tasks) FILTER (WHERE state = 'FAILURE'), 0) AS failed,
       round(100.0 * coalesce(sum(tasks) FILTER (WHERE state = 'FAILURE'), 0) / sum(tasks), 2) AS percent_failed
FROM celeriac.stats
WHERE at > now() - interval '1 hour' AND state <> 'RETRY'
GROUP BY name
ORDER BY percent_failed DESC, tasks DESC, name;
