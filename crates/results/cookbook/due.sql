SELECT id, name, queue, attempts, error_kind, error_message, next_at, -overdue_seconds AS seconds_left
FROM celeriac.waiting_retries
WHERE next_at > now()
ORDER BY next_at
LIMIT 100;
