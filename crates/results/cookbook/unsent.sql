SELECT id, task, exchange, routing_key, order_key, attempts, error, next_at
FROM celeriac.outbox
WHERE next_at IS NOT NULL
ORDER BY seq
LIMIT 100;
