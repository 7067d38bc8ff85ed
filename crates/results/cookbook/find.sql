SELECT id, state, started_at, worker, result, error_message
FROM celeriac.tasks
WHERE name = 'orders.charge' AND kwargs @> '{"order": 1299}' AND finished_at > now() - interval '1 hour'
ORDER BY finished_at DESC
LIMIT 100;
