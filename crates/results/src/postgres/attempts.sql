, failed AS (
    -- Attempts that did not succeed, of the tasks that were written.
    INSERT INTO celeriac.attempts AS known (
        id, replays, attempt, state, worker, started_at, finished_at, runtime, error_kind, error_message, error_trace,
        next_at
    )
    SELECT id, coalesce(replays, 0), attempts, state, worker, started_at, started_at + make_interval(secs => runtime),
           runtime, error_kind, error_message, error_trace, CASE state WHEN 'RETRY' THEN eta END
    FROM unnest(
        $1::text[], $3::text[], $10::text[], $11::text[], $12::text[], $16::text[], $17::bigint[], $21::timestamptz[],
        $25::timestamptz[], $27::double precision[], $29::bigint[], $38::boolean[]
    ) AS new (
        id, state, error_kind, error_message, error_trace, worker, attempts, eta,
        started_at, runtime, replays, has_failed
    )
    WHERE has_failed AND id IN (SELECT id FROM stored)
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
)
