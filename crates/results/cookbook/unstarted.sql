SELECT id, name, queue, sent_at, eta, expires, waiting_seconds
FROM celeriac.unstarted
WHERE sent_at < now() - interval '1 hour' AND waiting_seconds > 0
ORDER BY sent_at
LIMIT 100;
