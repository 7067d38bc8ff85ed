-- One attempt that did not succeed, of a task that was written.
INSERT INTO attempts AS known (
    id, replays, attempt, state, worker, started_at, finished_at, runtime, error_kind, error_message, error_trace, next_at
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
-- An attempt that ran twice keeps its first outcome, unless the second one ended the task.
ON CONFLICT (id, replays, attempt) DO UPDATE SET
    state = excluded.state,
    worker = excluded.worker,
    started_at = excluded.started_at,
    finished_at = excluded.finished_at,
    runtime = excluded.runtime,
    error_kind = excluded.error_kind,
    error_message = excluded.error_message,
    error_trace = excluded.error_trace,
    next_at = excluded.next_at
WHERE known.state = 'RETRY' AND excluded.state <> 'RETRY'
