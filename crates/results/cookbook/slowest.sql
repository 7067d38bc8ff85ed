SELECT id, name, runtime, worker, started_at, trace_id
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour' AND runtime IS NOT NULL
ORDER BY runtime DESC, id
LIMIT 20;
