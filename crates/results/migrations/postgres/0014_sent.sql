-- Rows of sent tasks, where results.track is sent. Existing rows satisfy the wider constraint, so
-- they are not read.
ALTER TABLE celeriac.tasks
    DROP CONSTRAINT tasks_state_check,
    ADD CONSTRAINT tasks_state_check CHECK (state IN
        ('PENDING', 'SENT', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')) NOT VALID;
CREATE INDEX tasks_sent ON celeriac.tasks (sent_at) WHERE state = 'SENT';

CREATE VIEW celeriac.unstarted AS
SELECT id, name, queue, sent_at, eta, expires,
       extract(epoch FROM now() - greatest(sent_at, eta))::double precision AS waiting_seconds
FROM celeriac.tasks
WHERE state = 'SENT'
ORDER BY sent_at;
COMMENT ON VIEW celeriac.unstarted IS
    'Tasks whose message was confirmed and that no worker has started, the oldest first. Needs results.track: sent.';

-- A sender writes no other row than this one, and changes none.
CREATE FUNCTION celeriac.add_sent(
    ids text[], names text[], queues text[], exchanges text[], routing_keys text[], sent_at timestamptz[],
    eta timestamptz[], expires timestamptz[], root_ids text[], parent_ids text[], group_ids text[]
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO celeriac.tasks (
        id, name, state, queue, exchange, routing_key, worker, attempts, sent_at, eta, expires, root_id, parent_id,
        group_id
    )
    SELECT id, name, 'SENT', queue, exchange, routing_key, '', 0, sent, due, until, root, parent, member
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        AS new (id, name, queue, exchange, routing_key, sent, due, until, root, parent, member)
    ON CONFLICT (id) DO NOTHING
$$;
COMMENT ON FUNCTION celeriac.add_sent IS 'Writes a row in the state SENT for each task that has no row.';
REVOKE ALL ON FUNCTION celeriac.add_sent FROM PUBLIC;
