-- Functions in SQL. Those with SECURITY DEFINER set the search path, also for the internal ones that
-- they call.

-- Calls. The relay makes the message: only programs know routes, defaults and exchanges.
ALTER TABLE celeriac.outbox ADD COLUMN call jsonb;
COMMENT ON COLUMN celeriac.outbox.call IS
    'A call by celeriac.enqueue or celeriac.retry, of which the relay makes the message. The other columns are empty.';

-- A UUID of version 7, as clients make them: it begins with the time in milliseconds.
CREATE FUNCTION celeriac.new_id() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid::text
$$;
COMMENT ON FUNCTION celeriac.new_id() IS 'A new task id.';

CREATE FUNCTION celeriac.refuse(task text, reason text, hint text DEFAULT '') RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    said text := format('task `%s`: %s', task, reason);
BEGIN
    IF hint = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = said;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = said, HINT = hint;
END
$$;

-- Seconds as a number, or an interval as a text.
CREATE FUNCTION celeriac.option_interval(value jsonb) RETURNS interval LANGUAGE sql STABLE AS $$
    SELECT CASE jsonb_typeof($1)
        WHEN 'number' THEN make_interval(secs => ($1 #>> '{}')::double precision)
        ELSE ($1 #>> '{}')::interval
    END
$$;

-- Checks the names and the types of options. Returns those of the message, with absolute times.
CREATE FUNCTION celeriac.call_options(task text, options jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    key text;
    value jsonb;
    kind text;
    accepted text;
    called_at timestamptz := clock_timestamp();
    checked jsonb := '{}';
BEGIN
    IF jsonb_typeof(options) IS DISTINCT FROM 'object' THEN
        PERFORM celeriac.refuse(task, 'options are a JSON object');
    END IF;
    FOR key, value IN SELECT * FROM jsonb_each(options) LOOP
        kind := jsonb_typeof(value);
        accepted := CASE
            WHEN key IN ('task_id', 'queue', 'exchange', 'routing_key', 'worker', 'serializer', 'compression', 'shadow',
                         'ordered_by', 'idempotency_key', 'eta') THEN 'string'
            WHEN key IN ('priority', 'time_limit', 'soft_time_limit') THEN 'number'
            WHEN key IN ('countdown', 'expires') THEN 'number or string'
            WHEN key = 'headers' THEN 'object'
            WHEN key = 'ignore_result' THEN 'boolean'
            WHEN key IN ('link', 'link_error') THEN 'object or array'
        END;
        IF accepted IS NULL THEN
            PERFORM celeriac.refuse(task, format('no such option: `%s`', key), 'options: task_id, queue, exchange, '
                'routing_key, worker, priority, countdown, eta, expires, headers, serializer, compression, time_limit, '
                'soft_time_limit, ignore_result, shadow, link, link_error, ordered_by, idempotency_key');
        END IF;
        CONTINUE WHEN kind = 'null';
        IF position(kind IN accepted) = 0 THEN
            PERFORM celeriac.refuse(task, format('option `%s` is a %s, and should be a JSON %s', key, kind, accepted));
        END IF;
        BEGIN
            value := CASE
                WHEN key = 'eta' THEN to_jsonb((value #>> '{}')::timestamptz)
                WHEN key = 'countdown' THEN to_jsonb(called_at + celeriac.option_interval(value))
                WHEN key = 'expires' AND (value #>> '{}') ~ '^\d{4}-' THEN to_jsonb((value #>> '{}')::timestamptz)
                WHEN key = 'expires' THEN to_jsonb(called_at + celeriac.option_interval(value))
                ELSE value
            END;
        EXCEPTION WHEN data_exception THEN
            PERFORM celeriac.refuse(task, format('option `%s`: %s', key, SQLERRM));
        END;
        checked := checked || jsonb_build_object(key, value);
    END LOOP;
    IF checked ?& '{eta,countdown}' THEN
        PERFORM celeriac.refuse(task, 'options `eta` and `countdown` are two ways to one thing; give one');
    ELSIF (checked ? 'queue')::int + (checked ?| '{exchange,routing_key}')::int + (checked ? 'worker')::int > 1 THEN
        PERFORM celeriac.refuse(task, 'options name more than one destination; give `queue`, `worker`, or `exchange` with `routing_key`');
    ELSIF (checked ? 'priority') AND (checked ->> 'priority') !~ '^(\d|\d\d|1\d\d|2[0-4]\d|25[0-5])$' THEN
        PERFORM celeriac.refuse(task, 'option `priority` is an integer from 0 to 255');
    ELSIF checked ->> 'serializer' NOT IN ('json', 'msgpack') THEN
        PERFORM celeriac.refuse(task, 'option `serializer` is json or msgpack');
    ELSIF octet_length(checked ->> 'task_id') NOT BETWEEN 1 AND 255 OR octet_length(checked ->> 'idempotency_key') NOT BETWEEN 1 AND 255 THEN
        PERFORM celeriac.refuse(task, 'options `task_id` and `idempotency_key` have 1 to 255 bytes');
    END IF;
    IF checked ? 'countdown' THEN
        checked := checked - 'countdown' || jsonb_build_object('eta', checked -> 'countdown');
    END IF;
    IF checked ? 'worker' THEN
        checked := checked - 'worker' || jsonb_build_object('exchange', 'C.dq2', 'routing_key', checked -> 'worker');
    END IF;
    RETURN checked;
END
$$;

-- Adds a call to the outbox, and wakes the relay once in each transaction, unless it is awake.
CREATE FUNCTION celeriac.add_call(task text, id text, call jsonb, order_key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO celeriac.outbox (id, task, exchange, routing_key, order_key, eta, expires, headers, properties, body, call)
    VALUES ($2, $1, '', '', $4, ($3 #>> '{options,eta}')::timestamptz, ($3 #>> '{options,expires}')::timestamptz,
            '{}', '{}', '', $3);
    IF coalesce(current_setting('celeriac.told', true), '') = '' THEN
        PERFORM set_config('celeriac.told', 'relay', true);
        IF pg_try_advisory_lock_shared(7162249965085352299) THEN
            PERFORM pg_advisory_unlock_shared(7162249965085352299), pg_notify('celeriac_outbox', '');
        END IF;
    END IF;
END
$$;

-- Claims an idempotency key in the transaction. Returns the id of an earlier call with the key.
CREATE FUNCTION celeriac.claim_key(of_task text, of_key text, new_id text, of_arguments text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    earlier record;
BEGIN
    LOOP
        INSERT INTO celeriac.idempotency AS kept (task, key, id, fingerprint, sent, expires_at)
        VALUES (of_task, of_key, new_id, of_arguments, true, clock_timestamp() + interval '7 days')
        ON CONFLICT (task, key) DO UPDATE SET
            id = excluded.id, fingerprint = excluded.fingerprint, sent = excluded.sent, created_at = clock_timestamp(),
            claimed_at = clock_timestamp(), expires_at = excluded.expires_at
        WHERE kept.expires_at < clock_timestamp();
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT id, fingerprint INTO earlier FROM celeriac.idempotency WHERE task = of_task AND key = of_key;
        CONTINUE WHEN NOT FOUND;
        IF earlier.fingerprint <> of_arguments THEN
            PERFORM celeriac.refuse(of_task, format('idempotency key `%s` was used with other arguments, or by a program, by task %s',
                                                    of_key, earlier.id));
        END IF;
        RETURN earlier.id;
    END LOOP;
END
$$;

CREATE FUNCTION celeriac.enqueue(task text, args jsonb DEFAULT '[]', kwargs jsonb DEFAULT '{}', options jsonb DEFAULT '{}')
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given jsonb := '{}';
    id text;
    earlier text;
BEGIN
    IF coalesce(task, '') = '' OR jsonb_typeof(args) IS DISTINCT FROM 'array' OR jsonb_typeof(kwargs) IS DISTINCT FROM 'object' THEN
        PERFORM celeriac.refuse(coalesce(task, ''), 'a call has a name, a JSON array of args and a JSON object of kwargs');
    END IF;
    IF options IS DISTINCT FROM '{}' THEN
        given := celeriac.call_options(task, options);
    END IF;
    id := coalesce(given ->> 'task_id', celeriac.new_id());
    IF given ? 'idempotency_key' THEN
        earlier := celeriac.claim_key(task, given ->> 'idempotency_key', id, 'sql:' || md5(args::text || kwargs::text));
        IF earlier IS NOT NULL THEN
            RETURN earlier;
        END IF;
    END IF;
    PERFORM celeriac.add_call(
        task, id, jsonb_build_object('task', task, 'args', args, 'kwargs', kwargs,
                                     'options', given - '{ordered_by,idempotency_key,task_id}'::text[]),
        given ->> 'ordered_by'
    );
    RETURN id;
END
$$;
COMMENT ON FUNCTION celeriac.enqueue(text, jsonb, jsonb, jsonb) IS
    'Sends a task when the transaction commits, and returns its id. Options have the names of Celery.';

-- The audit row of an action in SQL. It commits or rolls back with the action. A program states its
-- operator in a setting of the transaction.
CREATE FUNCTION celeriac.audit_sql(action text, target jsonb, count bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO celeriac.audit (ended_at, action, target, count, os_user, host, program)
    SELECT clock_timestamp(), $1, $2, $3,
           coalesce(operator ->> 'os_user', session_user),
           coalesce(operator ->> 'host', host(inet_client_addr()), 'local'),
           coalesce(operator ->> 'program', 'SQL' || coalesce(' by ' || nullif(current_setting('application_name'), ''), ''))
    FROM (SELECT nullif(current_setting('celeriac.operator', true), '')::jsonb) AS told (operator)
$$;

CREATE FUNCTION celeriac.revoke(ids text[], terminate boolean DEFAULT false, lasting interval DEFAULT '7 days')
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    revoked bigint;
BEGIN
    IF EXISTS (SELECT FROM unnest(ids) AS id WHERE id IS NULL OR octet_length(id) NOT BETWEEN 1 AND 255) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a task id has 1 to 255 bytes';
    END IF;
    -- Held until the commit, so that numbers follow the order of commits.
    PERFORM pg_advisory_xact_lock(32199706694870372);
    INSERT INTO celeriac.revocations AS held (id, terminate, until)
    SELECT DISTINCT id, $2, clock_timestamp() + $3 FROM unnest(ids) AS new (id) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        terminate = held.terminate OR excluded.terminate,
        until = greatest(held.until, excluded.until),
        number = excluded.number,
        revoked_by = excluded.revoked_by;
    GET DIAGNOSTICS revoked = ROW_COUNT;
    PERFORM pg_notify('celeriac_revoked', '');
    PERFORM celeriac.audit_sql('revoke', jsonb_build_object('ids', ids, 'terminate', $2, 'for', $3), revoked);
    RETURN revoked;
END
$$;
COMMENT ON FUNCTION celeriac.revoke(text[], boolean, interval) IS
    'Revokes tasks: half a second after the commit, none of them starts. Writes an audit row.';

CREATE FUNCTION celeriac.revoke(id text, terminate boolean DEFAULT false, lasting interval DEFAULT '7 days')
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT celeriac.revoke(ARRAY[$1], $2, $3)
$$;
COMMENT ON FUNCTION celeriac.revoke(text, boolean, interval) IS 'Revokes one task.';

CREATE FUNCTION celeriac.forget(ids text[]) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM celeriac.tasks WHERE id = ANY (ids);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    PERFORM celeriac.audit_sql('forget', jsonb_build_object('ids', ids), forgotten);
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION celeriac.forget(text[]) IS 'Deletes the rows of tasks with their attempts. Writes an audit row.';

CREATE FUNCTION celeriac.forget(id text) RETURNS bigint LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    SELECT celeriac.forget(ARRAY[$1])
$$;
COMMENT ON FUNCTION celeriac.forget(text) IS 'Deletes the row of one task with its attempts.';

-- Sends a failed task anew with what its row holds. The row becomes PENDING, so a second call is
-- refused until the task has ended again.
CREATE FUNCTION celeriac.retry_row(of_id text) RETURNS void LANGUAGE plpgsql AS $$
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

CREATE FUNCTION celeriac.retry(ids text[]) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    retried bigint;
BEGIN
    PERFORM celeriac.retry_row(id) FROM (SELECT DISTINCT id FROM unnest(ids) AS given (id) ORDER BY id) AS given;
    GET DIAGNOSTICS retried = ROW_COUNT;
    PERFORM celeriac.audit_sql('retry', jsonb_build_object('ids', ids), retried);
    RETURN retried;
END
$$;
COMMENT ON FUNCTION celeriac.retry(text[]) IS
    'Sends tasks that ended without success anew when the transaction commits. Writes an audit row.';

CREATE FUNCTION celeriac.retry(id text) RETURNS bigint LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    SELECT celeriac.retry(ARRAY[$1])
$$;
COMMENT ON FUNCTION celeriac.retry(text) IS 'Sends one task anew.';

CREATE FUNCTION celeriac.replay(id text) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
        MESSAGE = 'the database has no dead letters: they are messages of the broker',
        HINT = format('celeriac dead replay --id %s; celeriac.retry sends the task with what its row holds', id);
END
$$;
COMMENT ON FUNCTION celeriac.replay(text) IS 'Refuses: a dead letter is a message of the broker, which the command line replays.';

-- The internal functions run as their callers above. Rights are granted by the guide.
DO $$
DECLARE
    own regprocedure;
BEGIN
    FOR own IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'celeriac'::regnamespace AND proname IN (
            'new_id', 'refuse', 'option_interval', 'call_options', 'add_call', 'claim_key', 'enqueue', 'audit_sql', 'revoke',
            'forget', 'retry_row', 'retry', 'replay'
        )
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', own);
    END LOOP;
END
$$;
