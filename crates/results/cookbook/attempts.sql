SELECT replays, attempt, state, worker, started_at, runtime, error_kind, error_message, next_at
FROM celeriac.attempt_history
WHERE id = '0198b2a4-5c3e-7000-8000-000000000001'
ORDER BY replays, attempt;
