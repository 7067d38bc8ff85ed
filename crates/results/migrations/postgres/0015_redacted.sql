-- A row whose arguments were redacted cannot be sent anew: its message can.
CREATE FUNCTION celeriac.is_redacted(args jsonb, kwargs jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT $1::text LIKE '%"[redacted]"%' OR $2::text LIKE '%"[redacted]"%'
$$;
COMMENT ON FUNCTION celeriac.is_redacted IS 'Returns true if arguments have the mark of a redacted value.';

CREATE OR REPLACE FUNCTION celeriac.retry_row(of_id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    row celeriac.tasks;
BEGIN
    SELECT * INTO row FROM celeriac.tasks WHERE id = of_id FOR UPDATE;
    IF row.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('no task `%s` is recorded', of_id);
    ELSIF row.state NOT IN ('FAILURE', 'REVOKED', 'REJECTED') THEN
        PERFORM celeriac.refuse(row.name, format('%s is %s, and only a task that ended without success is retried', of_id, row.state));
    ELSIF row.name = '' OR row.args IS NULL OR row.kwargs IS NULL THEN
        PERFORM celeriac.refuse(row.name, format('the row of %s does not hold its arguments', of_id),
                                'its dead letter does: celeriac dead replay --id ' || of_id);
    ELSIF celeriac.is_redacted(row.args, row.kwargs) THEN
        PERFORM celeriac.refuse(row.name, format('the row of %s holds redacted arguments', of_id),
                                'its dead letter holds them: celeriac dead replay --id ' || of_id);
    END IF;
    UPDATE celeriac.tasks SET state = 'PENDING', replays = row.replays + 1, attempts = 0, error_kind = NULL,
        error_message = NULL, error_trace = NULL, eta = NULL, expires = NULL, started_at = NULL, finished_at = NULL,
        runtime = NULL
    WHERE id = of_id;
    PERFORM celeriac.add_call(
        row.name, of_id,
        jsonb_build_object(
            'task', row.name, 'args', row.args, 'kwargs', row.kwargs, 'replays', row.replays + 1,
            'options', jsonb_strip_nulls(jsonb_build_object(
                'exchange', '', 'routing_key', row.queue, 'root_id', row.root_id, 'parent_id', row.parent_id,
                'group_id', row.group_id
            ))
        ),
        NULL
    );
END
$$;
