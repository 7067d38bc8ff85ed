SELECT id, name, queue, eta, started_at, extract(epoch FROM started_at - eta)::double precision AS late_seconds
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour' AND attempts = 1 AND started_at > eta + interval '10 seconds'
ORDER BY late_seconds DESC
LIMIT 20;
