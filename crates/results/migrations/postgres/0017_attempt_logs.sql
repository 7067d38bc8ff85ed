-- Log lines of attempts, where results.logs is set: one row for each attempt that logged something,
-- written with the row of its task.
CREATE TABLE celeriac.attempt_logs (
    id       text NOT NULL,
    replays  bigint NOT NULL,
    attempt  bigint NOT NULL,
    worker   text NOT NULL,
    lines    bigint NOT NULL,
    left_out bigint NOT NULL,
    text     text NOT NULL,
    PRIMARY KEY (id, replays, attempt)
);

COMMENT ON TABLE celeriac.attempt_logs IS 'Log lines of attempts, one row each; deleted with their task. Needs results.logs.';
COMMENT ON COLUMN celeriac.attempt_logs.lines IS 'Number of lines in text, without the mark of those that were left out.';
COMMENT ON COLUMN celeriac.attempt_logs.left_out IS 'Number of lines that were left out, because of results.logs.';

-- Every deletion of tasks deletes their lines. It runs as the owner, because a user who may delete
-- tasks got that right before this table was there.
CREATE FUNCTION celeriac.forget_attempt_logs() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    DELETE FROM celeriac.attempt_logs USING gone WHERE attempt_logs.id = gone.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER forget_attempt_logs AFTER DELETE ON celeriac.tasks
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION celeriac.forget_attempt_logs();
