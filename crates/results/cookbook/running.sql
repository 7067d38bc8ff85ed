SELECT id, name, worker, queue, attempts, started_at, running_seconds, args, kwargs
FROM celeriac.running
ORDER BY started_at
LIMIT 100;
