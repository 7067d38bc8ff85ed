, logged AS (
    -- Log lines of attempts, of the tasks that were written. Those of an attempt that ran twice are the
    -- lines of the run whose outcome was written last.
    INSERT INTO celeriac.attempt_logs (id, replays, attempt, worker, lines, left_out, text)
    SELECT id, coalesce(replays, 0), attempts, worker, lines, left_out, log
    FROM unnest(
        $1::text[], $16::text[], $17::bigint[], $29::bigint[], $39::text[], $40::bigint[], $41::bigint[]
    ) AS new (id, worker, attempts, replays, log, lines, left_out)
    WHERE log IS NOT NULL AND id IN (SELECT id FROM stored)
    ON CONFLICT (id, replays, attempt) DO UPDATE SET
        worker = excluded.worker,
        lines = excluded.lines,
        left_out = excluded.left_out,
        text = excluded.text
)
