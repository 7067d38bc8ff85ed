SELECT id, name, worker, queue, attempts, started_at, running_seconds
FROM celeriac.stuck
ORDER BY started_at
LIMIT 100;
