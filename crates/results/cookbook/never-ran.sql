SELECT name, state, error_kind, count(*) AS tasks, max(finished_at) AS last_at
FROM celeriac.tasks
WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED') AND attempts = 0 AND finished_at > now() - interval '1 hour'
GROUP BY name, state, error_kind
ORDER BY tasks DESC, name;
