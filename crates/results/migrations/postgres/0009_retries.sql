-- The message of the next attempt, as long as the task waits for it. If the broker loses the message,
-- it is sent again from here.
ALTER TABLE celeriac.tasks ADD COLUMN next_headers text, ADD COLUMN next_properties text, ADD COLUMN next_body bytea;
COMMENT ON COLUMN celeriac.tasks.replays IS
    'Number of times that an operator sent the task again: from a dead-letter queue, or as an overdue retry.';
COMMENT ON COLUMN celeriac.tasks.next_headers IS
    'Headers of the next attempt, as exact JSON without celeriac-replayed. Null: the task waits for none, or its message is too large.';
COMMENT ON COLUMN celeriac.tasks.next_properties IS 'Properties of the next attempt.';
COMMENT ON COLUMN celeriac.tasks.next_body IS 'Body of the next attempt, up to 1 MiB.';

-- Finds the retries that are due. Few at any time.
CREATE INDEX tasks_next_attempt ON celeriac.tasks (eta) WHERE state = 'RETRY';

CREATE VIEW celeriac.unstarted_retries AS
SELECT id, name, queue, attempts, replays, eta AS due_at,
       extract(epoch FROM now() - eta)::double precision AS overdue_seconds,
       next_body IS NOT NULL AS message_kept, error_kind, error_message
FROM celeriac.tasks
WHERE state = 'RETRY' AND eta < now()
-- A long attempt runs, and its worker says so.
AND NOT EXISTS (SELECT FROM celeriac.runs WHERE runs.id = tasks.id AND runs.expires_at > now())
ORDER BY eta;
COMMENT ON VIEW celeriac.unstarted_retries IS
    'Tasks whose next attempt is due, the longest overdue first: it waits in its queue or runs, or its message is lost.';

-- For the process that relays, which may not read tasks.
CREATE FUNCTION celeriac.count_overdue_retries(after interval, at_most bigint)
RETURNS TABLE (retries bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*), max(overdue_seconds) FROM (
        SELECT overdue.overdue_seconds FROM celeriac.unstarted_retries AS overdue
        WHERE overdue.due_at < now() - $1 ORDER BY overdue.due_at LIMIT $2
    ) AS counted
$$;

-- Sends overdue retries again. In one transaction, the row gets the next number and the message with
-- that number goes to the outbox, so a copy that the broker still has is too late from then on.
CREATE FUNCTION celeriac.send_overdue_retries(ids text[], after interval, at_most bigint)
RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH overdue AS (
        SELECT tasks.id FROM celeriac.tasks
        WHERE tasks.state = 'RETRY' AND tasks.eta < now() - greatest($2, interval '1 minute')
        AND tasks.next_body IS NOT NULL AND ($1 IS NULL OR tasks.id = ANY($1))
        AND NOT EXISTS (SELECT FROM celeriac.runs WHERE runs.id = tasks.id AND runs.expires_at > now())
        ORDER BY tasks.eta LIMIT $3 FOR UPDATE SKIP LOCKED
    ), numbered AS (
        UPDATE celeriac.tasks AS kept SET replays = kept.replays + 1, eta = clock_timestamp()
        FROM overdue WHERE kept.id = overdue.id
        RETURNING kept.id, kept.name, kept.queue, kept.replays, kept.next_headers, kept.next_properties, kept.next_body
    ), sent AS (
        INSERT INTO celeriac.outbox (id, task, exchange, routing_key, headers, properties, body)
        SELECT id, name, '', queue, format('{"celeriac-replayed":%s,%s', replays, substr(next_headers, 2)),
               next_properties, next_body
        FROM numbered
        RETURNING id
    ) SELECT id FROM sent
$$;

REVOKE ALL ON FUNCTION
    celeriac.count_overdue_retries(interval, bigint),
    celeriac.send_overdue_retries(text[], interval, bigint)
FROM PUBLIC;
