-- What became of each attempt that did not succeed: one row each, written with that of its task.
CREATE TABLE celeriac.attempts (
    id            text NOT NULL,
    replays       bigint NOT NULL,
    attempt       bigint NOT NULL,
    state         text NOT NULL,
    worker        text NOT NULL,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz NOT NULL,
    runtime       double precision NOT NULL,
    error_kind    text,
    error_message text,
    error_trace   text,
    next_at       timestamptz,
    PRIMARY KEY (id, replays, attempt)
);

COMMENT ON TABLE celeriac.attempts IS 'Attempts that failed, one row each; deleted with their task.';
COMMENT ON COLUMN celeriac.attempts.replays IS 'How often the task had been replayed by then: attempts are counted anew each time.';
COMMENT ON COLUMN celeriac.attempts.state IS 'RETRY when another attempt follows, otherwise how the task ended.';
COMMENT ON COLUMN celeriac.attempts.next_at IS 'When the next attempt is due.';

CREATE INDEX attempts_finished_at ON celeriac.attempts (finished_at);

-- Whoever deletes tasks, one statement or a person, deletes their attempts. Each row is found by its key, however old the plan.
CREATE FUNCTION celeriac.forget_attempts() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    DELETE FROM celeriac.attempts USING gone WHERE attempts.id = gone.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER forget_attempts AFTER DELETE ON celeriac.tasks
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION celeriac.forget_attempts();

CREATE VIEW celeriac.attempt_history AS
SELECT id, tasks.name, attempts.replays, attempts.attempt, attempts.state, attempts.worker, attempts.started_at,
       attempts.finished_at, attempts.runtime, attempts.error_kind, attempts.error_message, attempts.error_trace,
       attempts.next_at
FROM celeriac.attempts
JOIN celeriac.tasks USING (id)
-- Where one run of an attempt failed and another succeeded, it succeeded.
WHERE NOT (tasks.state IN ('SUCCESS', 'IGNORED') AND tasks.replays = attempts.replays AND tasks.attempts = attempts.attempt)
UNION ALL
SELECT id, name, replays, attempts, state, worker, started_at, finished_at, runtime, error_kind, error_message,
       error_trace, NULL
FROM celeriac.tasks
WHERE attempts > 0 AND started_at IS NOT NULL AND (state IN ('SUCCESS', 'IGNORED') OR NOT EXISTS (
    SELECT FROM celeriac.attempts AS failed
    WHERE failed.id = tasks.id AND failed.replays = tasks.replays AND failed.attempt = tasks.attempts
));
COMMENT ON VIEW celeriac.attempt_history IS 'Every attempt of every task, also the one that succeeded.';
