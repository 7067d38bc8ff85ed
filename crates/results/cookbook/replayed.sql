SELECT id, name, replays, state, attempts, finished_at, error_message
FROM celeriac.tasks
WHERE replays > 0 AND finished_at > now() - interval '1 hour'
ORDER BY finished_at DESC
LIMIT 100;
