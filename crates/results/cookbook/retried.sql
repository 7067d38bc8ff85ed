SELECT name, attempts, count(*) AS tasks, count(*) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')) AS succeeded
FROM celeriac.tasks
WHERE attempts > 1 AND finished_at > now() - interval '1 hour'
GROUP BY name, attempts
ORDER BY name, attempts;
