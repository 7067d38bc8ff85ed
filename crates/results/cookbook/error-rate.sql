SELECT name, count(*) AS tasks, count(*) FILTER (WHERE state = 'FAILURE') AS failed,
       round(100.0 * count(*) FILTER (WHERE state = 'FAILURE') / count(*), 2) AS percent_failed
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour'
GROUP BY name
ORDER BY percent_failed DESC, tasks DESC, name;
