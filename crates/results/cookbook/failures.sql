SELECT name, error_kind, count(*) AS tasks, max(finished_at) AS last_at,
       (array_agg(id ORDER BY finished_at DESC))[1] AS last_id
FROM celeriac.tasks
WHERE state = 'FAILURE' AND finished_at > now() - interval '1 hour'
GROUP BY name, error_kind
ORDER BY tasks DESC, name, error_kind;
