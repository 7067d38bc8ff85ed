-- One row for each attempt that did not succeed, written with the row of its task.
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
COMMENT ON COLUMN celeriac.attempts.replays IS 'Number of replays of the task before this attempt. Each replay restarts the count of attempts.';
COMMENT ON COLUMN celeriac.attempts.state IS 'RETRY if another attempt follows, otherwise the end of the task.';
COMMENT ON COLUMN celeriac.attempts.next_at IS 'Time of the next attempt.';

CREATE INDEX attempts_finished_at ON celeriac.attempts (finished_at);

-- Every deletion of tasks, by Celeriac or by a person, deletes their attempts. The settings make each
-- row be found by its key, even by an old plan.
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
-- An attempt succeeded if one of its runs did, even if another failed.
WHERE NOT (tasks.state IN ('SUCCESS', 'IGNORED') AND tasks.replays = attempts.replays AND tasks.attempts = attempts.attempt)
UNION ALL
SELECT id, name, replays, attempts, state, worker, started_at, finished_at, runtime, error_kind, error_message,
       error_trace, NULL
FROM celeriac.tasks
WHERE attempts > 0 AND started_at IS NOT NULL AND (state IN ('SUCCESS', 'IGNORED') OR NOT EXISTS (
    SELECT FROM celeriac.attempts AS failed
    WHERE failed.id = tasks.id AND failed.replays = tasks.replays AND failed.attempt = tasks.attempts
));
COMMENT ON VIEW celeriac.attempt_history IS 'Every attempt of every task, including the successful one.';
