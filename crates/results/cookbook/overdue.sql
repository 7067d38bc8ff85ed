SELECT id, name, queue, attempts, error_message, next_at, overdue_seconds
FROM celeriac.overdue_retries
ORDER BY next_at
LIMIT 100;
