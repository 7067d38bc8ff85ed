-- One row for each attempt that did not succeed, written with the row of its task.
CREATE TABLE attempts (
    id            TEXT NOT NULL,
    replays       INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    state         TEXT NOT NULL,
    worker        TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    finished_at   TEXT NOT NULL,
    runtime       REAL NOT NULL,
    error_kind    TEXT,
    error_message TEXT,
    error_trace   TEXT,
    next_at       TEXT,
    PRIMARY KEY (id, replays, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_finished_at ON attempts (finished_at);

CREATE TRIGGER forget_attempts AFTER DELETE ON tasks
BEGIN
    DELETE FROM attempts WHERE id = old.id;
END;

CREATE VIEW attempt_history AS
SELECT attempts.id, tasks.name, attempts.replays, attempts.attempt, attempts.state, attempts.worker, attempts.started_at,
       attempts.finished_at, attempts.runtime, attempts.error_kind, attempts.error_message, attempts.error_trace,
       attempts.next_at
FROM attempts
JOIN tasks ON tasks.id = attempts.id
-- An attempt succeeded if one of its runs did, even if another failed.
WHERE NOT (tasks.state IN ('SUCCESS', 'IGNORED') AND tasks.replays = attempts.replays AND tasks.attempts = attempts.attempt)
UNION ALL
SELECT id, name, replays, attempts, state, worker, started_at, finished_at, runtime, error_kind, error_message,
       error_trace, NULL
FROM tasks
WHERE attempts > 0 AND started_at IS NOT NULL AND (state IN ('SUCCESS', 'IGNORED') OR NOT EXISTS (
    SELECT 1 FROM attempts AS failed
    WHERE failed.id = tasks.id AND failed.replays = tasks.replays AND failed.attempt = tasks.attempts
));
