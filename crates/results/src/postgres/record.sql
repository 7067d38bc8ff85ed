-- Writes one batch, by the rules. `attempts.sql` follows if attempts have failed, then `answer.sql`.
WITH stored AS (
    INSERT INTO celeriac.tasks AS kept (
        id, name, state, args, kwargs, result, args_text, kwargs_text, result_text,
        error_kind, error_message, error_trace, queue, exchange, routing_key, worker, attempts,
        root_id, parent_id, group_id, eta, expires, sent_at, received_at, started_at, finished_at, runtime, trace_id,
        replays, next_headers, next_properties, next_body, error_module, error_args, custom_state
    )
    SELECT id, name, state, args::jsonb, kwargs::jsonb, result::jsonb, args_text, kwargs_text, result_text,
           error_kind, error_message, error_trace, queue, exchange, routing_key, worker, attempts,
           root_id, parent_id, group_id, eta, expires, sent_at, received_at, started_at, finished_at, runtime, trace_id,
           coalesce(replays, 0), next_headers, next_properties, next_body, error_module, error_args,
           custom_state
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bigint[],
        $18::text[], $19::text[], $20::text[], $21::timestamptz[], $22::timestamptz[], $23::timestamptz[],
        $24::timestamptz[], $25::timestamptz[], $26::timestamptz[], $27::double precision[], $28::text[],
        $29::bigint[], $32::text[], $33::text[], $34::bytea[], $35::text[], $36::text[], $37::text[]
    ) AS new (
        id, name, state, args, kwargs, result, args_text, kwargs_text, result_text,
        error_kind, error_message, error_trace, queue, exchange, routing_key, worker, attempts,
        root_id, parent_id, group_id, eta, expires, sent_at, received_at, started_at, finished_at, runtime, trace_id,
        replays, next_headers, next_properties, next_body, error_module, error_args, custom_state
    )
    -- A record for a transaction is written inside that one, or not at all.
    WHERE coalesce(current_setting('celeriac.transaction', true), '') = $31
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name,
        state = excluded.state,
        custom_state = excluded.custom_state,
        args = CASE WHEN excluded.args_text IS NULL THEN coalesce(excluded.args, kept.args) END,
        args_text = CASE WHEN excluded.args IS NULL THEN coalesce(excluded.args_text, kept.args_text) END,
        kwargs = CASE WHEN excluded.kwargs_text IS NULL THEN coalesce(excluded.kwargs, kept.kwargs) END,
        kwargs_text = CASE WHEN excluded.kwargs IS NULL THEN coalesce(excluded.kwargs_text, kept.kwargs_text) END,
        result = excluded.result,
        result_text = excluded.result_text,
        error_kind = excluded.error_kind,
        error_message = excluded.error_message,
        error_trace = excluded.error_trace,
        error_module = excluded.error_module,
        error_args = excluded.error_args,
        queue = excluded.queue,
        exchange = excluded.exchange,
        routing_key = excluded.routing_key,
        worker = excluded.worker,
        attempts = excluded.attempts,
        root_id = coalesce(excluded.root_id, kept.root_id),
        parent_id = coalesce(excluded.parent_id, kept.parent_id),
        group_id = coalesce(excluded.group_id, kept.group_id),
        eta = coalesce(excluded.eta, kept.eta),
        expires = coalesce(excluded.expires, kept.expires),
        sent_at = coalesce(excluded.sent_at, kept.sent_at),
        received_at = coalesce(excluded.received_at, kept.received_at),
        started_at = coalesce(excluded.started_at, kept.started_at),
        finished_at = excluded.finished_at,
        runtime = excluded.runtime,
        trace_id = coalesce(excluded.trace_id, kept.trace_id),
        replays = excluded.replays,
        next_headers = excluded.next_headers,
        next_properties = excluded.next_properties,
        next_body = excluded.next_body
    WHERE CASE
        -- The same outcome again, after a commit without an answer.
        WHEN kept.finished_at = excluded.finished_at AND kept.worker = excluded.worker
            AND kept.state = excluded.state AND kept.attempts = excluded.attempts
            AND kept.replays = excluded.replays THEN true
        WHEN kept.state IN ('SUCCESS', 'IGNORED') OR excluded.state = 'SENT' THEN false
        -- In a transaction, a success is too late if the task has ended in another way.
        WHEN excluded.state = 'SUCCESS' AND $31 = '' THEN true
        WHEN kept.replays <> excluded.replays THEN kept.replays < excluded.replays
        WHEN kept.state IN ('FAILURE', 'REVOKED', 'REJECTED') THEN false
        WHEN excluded.state NOT IN ('PENDING', 'STARTED', 'RETRY') THEN true
        WHEN kept.attempts <> excluded.attempts THEN kept.attempts < excluded.attempts
        -- Another run of the same attempt: the first run sends the next attempt.
        WHEN kept.state = 'RETRY' AND excluded.state = 'RETRY'
            THEN kept.worker = excluded.worker AND kept.started_at IS NOT DISTINCT FROM excluded.started_at
        ELSE excluded.state = kept.state OR excluded.state = 'RETRY' OR kept.state = 'PENDING'
    END
    RETURNING id
)
